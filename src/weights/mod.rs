//! Files of trained weights: safetensors, PyTorch's and ONNX. Tensors have PyTorch's layout.

mod bytes;
mod checksums;
mod detect;
mod format;
mod layout;
#[allow(missing_docs)]
pub mod onnx;
mod open_file;
mod other_content;
#[cfg(feature = "pth")]
pub mod pth;
mod read;
mod safetensors;
mod source;
mod streaming;
mod survey;

#[cfg(feature = "train")]
pub(crate) use crate::atomic::rename;
pub(crate) use crate::atomic::write_atomically_if;
pub use crate::atomic::{WriteSeek, remove_temporary, write_atomically};
pub use format::Format;
pub use layout::{export, import, import_rows, rows_together};
pub(crate) use open_file::OpenFile;
#[cfg(feature = "train")]
pub(crate) use read::read_summed;
pub use read::read_tensors;
#[cfg(feature = "train")]
pub(crate) use safetensors::write_tensors_if;
pub use safetensors::{Safetensors, write_source, write_tensors};
pub use source::{Dtype, Entry, InMemory, Source, entry, no_memory, not_finite};
pub use streaming::{StreamEvent, StreamReader};

use crate::data::Preprocessing;
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor in PyTorch's layout: OIHW for convolutions, `[out, in]` for linear layers, `[C]` for vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Sizes, slowest first.
    pub shape: Vec<usize>,
    /// Content in row-major order.
    pub data: Vec<f32>,
}

/// The metadata of a weights file: all that is needed to classify a picture, besides the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The variant of the network.
    pub arch: String,
    /// Names of the classes in the order of the logits.
    pub classes: Vec<String>,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// The preprocessing of pictures.
    pub preprocessing: Preprocessing,
}

/// The content of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The metadata; `None` for a file that Ocelli has not written.
    pub metadata: Option<Metadata>,
}

/// The longest side of an input that a file may have, in pixels.
const MAX_INPUT: usize = 1 << 14;

const ARCH: &str = "ocelli.arch";
const CLASSES: &str = "ocelli.classes";
const OUTPUTS: &str = "ocelli.outputs";
/// The most classes without names that a file may have.
const MAX_OUTPUTS: usize = 1 << 20;
const INPUT: &str = "ocelli.input";
const NORMALIZATION: &str = "ocelli.normalization";
const PREPROCESSING: &str = "ocelli.preprocessing";

/// Reads a safetensors file. Numbers of type f16, bf16 and f64 become f32. Integers, such as PyTorch's `num_batches_tracked`, are
/// left out.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it is no safetensors file, is damaged, holds
/// NaN or infinity, or has contradictory metadata.
pub fn read(path: impl AsRef<Path>) -> Result<Weights> {
    let path = path.as_ref();
    let (tensors, strings) = read_tensors(path)?;
    let metadata = Metadata::read(&strings).map_err(|e| e.at(path.display().to_string()))?;
    Ok(Weights { tensors, metadata })
}

impl Metadata {
    /// Reads the metadata from the strings of a file; `None` if Ocelli has not written it.
    ///
    /// # Errors
    /// [`Error::Data`] if the metadata is contradictory.
    pub fn read(strings: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let Some(arch) = strings.get(ARCH) else { return Ok(None) };
        let preprocessing: Preprocessing = match strings.contains_key(PREPROCESSING) {
            true => json(strings, PREPROCESSING)?,
            // The first versions had no other preprocessing.
            false => Preprocessing::covering(json(strings, NORMALIZATION)?),
        };
        preprocessing.check().map_err(|e| e.at("its metadata"))?;
        let metadata = Self {
            arch: arch.clone(),
            classes: if strings.contains_key(CLASSES) {
                json(strings, CLASSES)?
            } else {
                numbered(outputs(strings)?)
            },
            input: json(strings, INPUT)?,
            preprocessing,
        };
        let [h, w, c] = metadata.input;
        if metadata.classes.is_empty() || h == 0 || w == 0 || h.max(w) > MAX_INPUT || c != 3 {
            return Err(Error::data(format!(
                "its metadata speaks of {} classes and an input of {h}x{w}x{c}",
                metadata.classes.len()
            )));
        }
        Ok(Some(metadata))
    }

    /// Whether the strings of a file name the classes. A file without names has the number of classes.
    pub fn names_classes(strings: &BTreeMap<String, String>) -> bool {
        strings.contains_key(CLASSES)
    }

    /// The metadata as strings of a file whose classes have no names.
    ///
    /// # Errors
    /// As [`Metadata::strings`].
    pub fn strings_without_names(&self) -> Result<BTreeMap<String, String>> {
        let mut strings = self.strings()?;
        strings.remove(CLASSES);
        strings.insert(OUTPUTS.to_owned(), self.classes.len().to_string());
        Ok(strings)
    }

    /// The metadata as strings of a file.
    ///
    /// # Errors
    /// [`Error::Internal`] if something cannot be written as JSON.
    pub fn strings(&self) -> Result<BTreeMap<String, String>> {
        let text = |value: std::result::Result<String, serde_json::Error>| {
            value.map_err(|e| Error::internal(format!("the metadata cannot be written: {e}")).with_source(e))
        };
        Ok(BTreeMap::from([
            (ARCH.to_owned(), self.arch.clone()),
            (CLASSES.to_owned(), text(serde_json::to_string(&self.classes))?),
            (INPUT.to_owned(), text(serde_json::to_string(&self.input))?),
            (PREPROCESSING.to_owned(), text(serde_json::to_string(&self.preprocessing))?),
        ]))
    }
}

/// Names for classes without names: `class 0` and so on. The only output of a network is that of `class 1` of two.
pub fn numbered(classes: usize) -> Vec<String> {
    let first = usize::from(classes == 1);
    (first..first + classes).map(|i| format!("class {i}")).collect()
}

fn outputs(strings: &BTreeMap<String, String>) -> Result<usize> {
    // A file whose classes have no names has only their number.
    let key = if strings.contains_key(OUTPUTS) { OUTPUTS } else { CLASSES };
    let outputs: usize = json(strings, key)?;
    if outputs > MAX_OUTPUTS {
        return Err(Error::data(format!("its metadata speaks of {outputs} classes")));
    }
    Ok(outputs)
}

fn json<T: DeserializeOwned>(raw: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let text = raw.get(key).ok_or_else(|| Error::data(format!("its metadata lacks {key}")))?;
    serde_json::from_str(text)
        .map_err(|e| Error::data(format!("its metadata {key} cannot be read: {e}")).with_source(e))
}

/// Writes a safetensors file. The file is written completely or not at all. The same content gives the same bytes.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write(path: impl AsRef<Path>, weights: &Weights) -> Result<()> {
    write_tensors(path, &weights.tensors, &weights.strings()?)
}

impl Weights {
    /// The metadata strings of the file.
    pub(crate) fn strings(&self) -> Result<BTreeMap<String, String>> {
        let mut strings = match &self.metadata {
            Some(metadata) => metadata.strings()?,
            None => BTreeMap::new(),
        };
        // PyTorch's readers require this entry.
        strings.insert("format".to_owned(), "pt".to_owned());
        Ok(strings)
    }
}
