//! The classifier for callers that are not asynchronous, and for files.

#[cfg(feature = "resize")]
use super::Prediction;
use super::{Activations, Classifier, Filters, ModelCard, transfer};
#[cfg(feature = "resize")]
use crate::data::Picture;
use crate::error::{Error, Result};
use crate::weights::{Dtype, InMemory, write_source};
use std::collections::BTreeMap;
#[cfg(feature = "resize")]
use std::ops::ControlFlow;
use std::path::Path;

impl Classifier {
    /// As [`Classifier::logits_of_prepared_async`].
    ///
    /// # Errors
    /// As [`Classifier::logits_of_prepared_async`].
    pub fn logits_of_prepared(&self, pixels: &[u8]) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.logits_of_prepared_async(pixels))
    }

    /// As [`Classifier::activations_of_prepared_async`].
    ///
    /// # Errors
    /// As [`Classifier::activations_of_prepared_async`].
    pub fn activations_of_prepared(&self, pixels: &[u8], layer: &str) -> Result<Activations> {
        pollster::block_on(self.activations_of_prepared_async(pixels, layer))
    }

    /// As [`Classifier::filters_async`].
    ///
    /// # Errors
    /// As [`Classifier::filters_async`].
    pub fn filters(&self) -> Result<Option<Filters>> {
        pollster::block_on(self.filters_async())
    }

    /// Saves the weights as a safetensors file with its metadata, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::Usage`] for an ONNX graph that is none of the networks here, [`Error::Gpu`] if the device failed, [`Error::Io`] if
    /// the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let strings = strings(self.card())?;
        let tensors = {
            let running = self.lock()?;
            transfer::save(running.step.session(), running.step.parameters().iter())?
        };
        write_source(path.as_ref(), &InMemory::new(&tensors), &strings, Dtype::F32)
    }

    /// The bytes that [`Classifier::save`] writes.
    ///
    /// # Errors
    /// As [`Classifier::save`]: the bytes pass through a temporary file.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let place = std::env::temp_dir();
        let folder = tempfile::tempdir().map_err(|e| Error::from_io(e, "create a folder in", &place))?;
        let path = folder.path().join("weights.safetensors");
        self.save(&path)?;
        std::fs::read(&path).map_err(|e| Error::from_io(e, "read", &path))
    }
}

/// Pictures of any size.
#[cfg(feature = "resize")]
impl Classifier {
    /// The logits of pictures, of each in the order of the classes. Any number of pictures will do.
    ///
    /// # Errors
    /// As [`Classifier::logits_async`].
    pub fn logits(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.logits_async(pictures))
    }

    /// The logits of pictures. `progress` hears after each batch how many pictures are done, and may stop the rest.
    ///
    /// # Errors
    /// As [`Classifier::logits_with_progress_async`].
    pub fn logits_with_progress(
        &self,
        pictures: &[Picture],
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        pollster::block_on(self.logits_with_progress_async(pictures, progress))
    }

    /// The `top` most probable classes of a picture, most probable first.
    ///
    /// # Errors
    /// As [`Classifier::logits_async`].
    pub fn classify(&self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        pollster::block_on(self.classify_async(picture, top))
    }

    /// The `top` most probable classes of each picture. `progress` hears after each batch how many pictures are done, and may stop
    /// the rest.
    ///
    /// # Errors
    /// As [`Classifier::classify_all_async`].
    pub fn classify_all(
        &self,
        pictures: &[Picture],
        top: usize,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Prediction>>> {
        pollster::block_on(self.classify_all_async(pictures, top, progress))
    }

    /// What a layer computes for a picture: `classifier.activations(&picture, "layer1.0.relu1")`.
    ///
    /// # Errors
    /// As [`Classifier::activations_async`].
    pub fn activations(&self, picture: &Picture, layer: &str) -> Result<Activations> {
        pollster::block_on(self.activations_async(picture, layer))
    }
}

/// The strings of a safetensors file with the weights of a network. Numbered classes are not written as names.
fn strings(card: &ModelCard) -> Result<BTreeMap<String, String>> {
    if card.arch().is_none() {
        return Err(Error::usage(
            "this ONNX graph is none of the networks here, so its weights would be saved without it",
        )
        .hint("keep the ONNX file"));
    }
    let metadata = card.metadata();
    let mut strings = if card.is_named() { metadata.strings()? } else { metadata.strings_without_names()? };
    // PyTorch's readers look for it.
    strings.insert("format".to_owned(), "pt".to_owned());
    Ok(strings)
}
