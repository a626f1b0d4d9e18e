//! A network with trained weights on the visitor's GPU.

use crate::device::Device;
use crate::failure::{Kind, failure, thrown};
use crate::kernels;
use crate::weights::{Known, Weights};
use ocelli::data::Picture;
use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::infer::transfer::Loading;
use ocelli::weights::{Source, StreamEvent, StreamReader};
use ocelli::{Classifier, ClassifierOptions};
use std::cell::RefCell;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// The largest picture that is accepted, in pixels, as in files.
const MAX_PIXELS: u64 = 64 << 20;

/// A network, ready to classify one picture at a time.
#[wasm_bindgen]
pub struct Network {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) classifier: Classifier,
    info: String,
    /// Weights that are not on the GPU yet. A cell, since they are loaded while the kernels are compiled.
    missing: RefCell<Option<Missing>>,
}

/// Weights that are not on the GPU yet.
enum Missing {
    /// The rest of a file that is still arriving.
    Rest(Box<Rest>),
    /// All weights of a complete file.
    Whole(Arc<dyn Source>),
}

struct Rest {
    arriving: Box<StreamReader>,
    tensors: Arc<dyn Source>,
    loading: Loading,
}

#[wasm_bindgen]
impl Network {
    /// Makes the network of a file for which [`Weights::push`] has returned true, or which has ended. Weights that have arrived are
    /// written to the GPU now, the others by [`Network::push`] and [`Network::finish`]. `arch` names the variant if the file does not
    /// and several fit. Throws `BadWeights` and `TooLarge`.
    pub fn open(device: &Device, weights: Weights, arch: Option<String>) -> Result<Network, JsValue> {
        let gpu = device.gpu.clone();
        let known = weights.known()?;
        let made = Self::make(&gpu, known, arch.as_deref());
        made.map_err(|e| thrown(&e, Some(&gpu), Kind::BadWeights))
    }

    fn make(gpu: &Arc<Gpu>, known: Known, arch: Option<&str>) -> ocelli::Result<Self> {
        let options = OpenOptions { arch, ..OpenOptions::default() };
        let (opened, on_its_way) = match known {
            Known::Whole(bytes) => (ModelFile::parse(bytes, options)?, None),
            Known::Header { arriving, file, rest } => {
                (ModelFile::of_safetensors(file, options)?, Some((arriving, rest)))
            }
        };
        let options = ClassifierOptions { plan: Some(kernels::options(gpu)), ..ClassifierOptions::default() };
        let classifier = Classifier::unloaded(gpu, &opened, options)?;
        let ModelFile { format, model, named, assumed, tensors, .. } = opened;
        // Names of classes that the file does not give are those of the card.
        let card = classifier.card();
        let (metadata, notes) = (card.metadata(), card.notes());
        let cost = classifier.cost();
        let info = serde_json::json!({
            "arch": model.name(),
            "format": format.to_string(),
            "parameters": cost.parameters,
            "macs": cost.macs,
            "input": metadata.input,
            "classes": metadata.classes,
            "named": named,
            "preprocessing": metadata.preprocessing.to_string(),
            "preprocessingAssumed": assumed,
            "notes": notes,
            "gpuBytes": cost.gpu_bytes,
            "kernels": cost.kernels,
            "precision": "f32",
            "software": gpu.info().kind == AdapterKind::Cpu,
        });
        let missing = RefCell::default();
        let made = Self { gpu: gpu.clone(), classifier, info: info.to_string(), missing };
        match on_its_way {
            None => {
                made.missing.replace(Some(Missing::Whole(tensors)));
            }
            Some((arriving, rest)) => {
                let loading = made.classifier.loading(tensors.as_ref())?;
                made.missing.replace(Some(Missing::Rest(Box::new(Rest { arriving, tensors, loading }))));
                made.take(&rest)?;
            }
        }
        Ok(made)
    }

    /// Waits until the kernels are compiled. The file may be pushed meanwhile. Throws `DeviceLost`, and `TooLarge` if the memory does
    /// not suffice.
    pub async fn compiled(&self) -> Result<(), JsValue> {
        let compiled = self.classifier.compiled_async().await;
        compiled.map_err(|e| thrown(&e, Some(&self.gpu), Kind::Internal))
    }

    /// Takes more of the file. Throws `BadWeights`, `TooLarge` and `DeviceLost`.
    pub fn push(&self, chunk: &[u8]) -> Result<(), JsValue> {
        self.take(chunk).map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }

    fn take(&self, mut chunk: &[u8]) -> ocelli::Result<()> {
        let mut missing = self.missing.borrow_mut();
        let Some(Missing::Rest(rest)) = missing.as_mut() else { return Ok(()) };
        let Rest { arriving, tensors, loading } = rest.as_mut();
        while !chunk.is_empty() {
            if let StreamEvent::Rows(name, rows) = arriving.take(&mut chunk)? {
                self.classifier.load_rows(loading, tensors.as_ref(), &name, rows)?;
            }
        }
        Ok(())
    }

    /// Writes the rest of the file to the GPU: it has ended. Throws `BadWeights` if the file is incomplete or holds NaN or infinity.
    pub fn finish(&self) -> Result<(), JsValue> {
        let whole = match self.missing.take() {
            None => Ok(()),
            Some(Missing::Whole(tensors)) => self.classifier.load(tensors.as_ref()),
            Some(Missing::Rest(rest)) => {
                let Rest { arriving, loading, .. } = *rest;
                arriving.finish().and_then(|()| loading.finish())
            }
        };
        whole.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))
    }

    /// Description of the network, as JSON.
    pub fn info(&self) -> String {
        self.info.clone()
    }

    /// Scales and cuts a picture of any size, RGBA row by row, to the height x width RGBA pixels of the input. Throws `BadPicture`.
    pub fn prepare(&self, rgba: Vec<u8>, width: u32, height: u32) -> Result<Vec<u8>, JsValue> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS || rgba.len() as u64 != 4 * pixels {
            return Err(failure(
                Kind::BadPicture,
                &format!(
                    "a picture of {width}x{height} in {} bytes; it must have 1 pixel to 64 megapixels",
                    rgba.len()
                ),
            ));
        }
        let picture = Picture::from_rgba(height as usize, width as usize, rgba);
        let mut picture = picture.map_err(|e| thrown(&e, None, Kind::BadPicture))?;
        // Transparency is dropped, as from files.
        picture.rgba_mut().as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel[3] = 255);
        self.classifier.prepare(picture).map_err(|e| thrown(&e, None, Kind::BadPicture))
    }

    /// The logits of a picture from [`Network::prepare`], in the order of the classes. Throws `BadPicture` for anything but one picture,
    /// `DeviceLost`, and `BadWeights` if the logits overflow.
    pub async fn logits(&self, input: Vec<u8>) -> Result<Vec<f32>, JsValue> {
        let [height, width, _] = self.classifier.metadata().input;
        if input.len() != 4 * height * width {
            let text = format!("{} bytes are not one prepared picture of {height}x{width}", input.len());
            return Err(failure(Kind::BadPicture, &text));
        }
        let logits = self.classifier.logits_of_prepared_async(&input).await;
        let logits = logits.map_err(|e| thrown(&e, Some(&self.gpu), Kind::BadWeights))?;
        Ok(logits.into_iter().next().unwrap_or_default())
    }

    /// The `count` most probable classes of logits, most probable first, as JSON. Throws `BadWeights` for NaN and infinity.
    pub fn top(&self, logits: &[f32], count: usize) -> Result<String, JsValue> {
        let top = self.classifier.top(logits, count);
        let top = top.map_err(|e| thrown(&e, None, Kind::BadWeights))?;
        Ok(serde_json::to_string(&top).unwrap_or_else(|_| "[]".to_owned()))
    }
}
