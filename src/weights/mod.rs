//! Files of trained weights: safetensors, PyTorch's and ONNX. Tensors have PyTorch's layout.

mod bytes;
mod checksums;
mod format;
mod layout;
#[allow(missing_docs)]
pub mod onnx;
#[cfg(feature = "pth")]
pub mod pth;
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
#[cfg(feature = "train")]
pub(crate) use safetensors::read_summed;
#[cfg(feature = "train")]
pub(crate) use safetensors::write_tensors_if;
pub use safetensors::{Safetensors, read_tensors, write_source, write_tensors};
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

/// What a weights file says of itself, so that nothing else is needed to classify a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The variant of the network.
    pub arch: String,
    /// Names of the classes in the order of the logits.
    pub classes: Vec<String>,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// What becomes of a picture before the network sees it.
    pub preprocessing: Preprocessing,
}

/// The content of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// `None` for a file that was not written by Ocelli.
    pub metadata: Option<Metadata>,
}

/// The longest side of an input that a file may speak of, in pixels.
const MAX_INPUT: usize = 1 << 14;

const ARCH: &str = "ocelli.arch";
const CLASSES: &str = "ocelli.classes";
const OUTPUTS: &str = "ocelli.outputs";
/// The most classes without names that a file may speak of.
const MAX_OUTPUTS: usize = 1 << 20;
const INPUT: &str = "ocelli.input";
const NORMALIZATION: &str = "ocelli.normalization";
const PREPROCESSING: &str = "ocelli.preprocessing";

/// Reads a weights file. f32, f16, bf16 and f64 become f32; integers, such as PyTorch's `num_batches_tracked`, are
/// left out.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it is no safetensors file, is damaged, holds
/// NaN or infinity, or its metadata contradicts itself.
pub fn read(path: &Path) -> Result<Weights> {
    let (tensors, strings) = read_tensors(path)?;
    let metadata = Metadata::read(&strings).map_err(|e| e.at(path.display().to_string()))?;
    Ok(Weights { tensors, metadata })
}

impl Metadata {
    /// What the strings of a file say; `None` if it was not written by Ocelli.
    ///
    /// # Errors
    /// [`Error::Data`] if they contradict themselves.
    pub fn read(strings: &BTreeMap<String, String>) -> Result<Option<Self>> {
        let Some(arch) = strings.get(ARCH) else { return Ok(None) };
        let preprocessing: Preprocessing = match strings.contains_key(PREPROCESSING) {
            true => json(strings, PREPROCESSING)?,
            // The first versions scaled all pictures so that they cover the input.
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

    /// Whether the strings of a file name the classes. A file that does not says how many there are, and they are numbered.
    pub fn names_classes(strings: &BTreeMap<String, String>) -> bool {
        strings.contains_key(CLASSES)
    }

    /// The strings of a file whose classes have no names.
    ///
    /// # Errors
    /// As [`Metadata::strings`].
    pub fn strings_without_names(&self) -> Result<BTreeMap<String, String>> {
        let mut strings = self.strings()?;
        strings.remove(CLASSES);
        strings.insert(OUTPUTS.to_owned(), self.classes.len().to_string());
        Ok(strings)
    }

    /// The strings of a file that say it.
    ///
    /// # Errors
    /// [`Error::Internal`] if something cannot be written as JSON.
    pub fn strings(&self) -> Result<BTreeMap<String, String>> {
        let text = |value: std::result::Result<String, serde_json::Error>| {
            value.map_err(|e| Error::internal(format!("the metadata cannot be written: {e}")))
        };
        Ok(BTreeMap::from([
            (ARCH.to_owned(), self.arch.clone()),
            (CLASSES.to_owned(), text(serde_json::to_string(&self.classes))?),
            (INPUT.to_owned(), text(serde_json::to_string(&self.input))?),
            (PREPROCESSING.to_owned(), text(serde_json::to_string(&self.preprocessing))?),
        ]))
    }
}

/// Classes without names. The only output of a network is that of class 1 of two.
pub fn numbered(classes: usize) -> Vec<String> {
    let first = usize::from(classes == 1);
    (first..first + classes).map(|i| format!("class {i}")).collect()
}

fn outputs(strings: &BTreeMap<String, String>) -> Result<usize> {
    // A file whose classes have no names says only how many there are.
    let key = if strings.contains_key(OUTPUTS) { OUTPUTS } else { CLASSES };
    let outputs: usize = json(strings, key)?;
    if outputs > MAX_OUTPUTS {
        return Err(Error::data(format!("its metadata speaks of {outputs} classes")));
    }
    Ok(outputs)
}

fn json<T: DeserializeOwned>(raw: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let text = raw.get(key).ok_or_else(|| Error::data(format!("its metadata lacks {key}")))?;
    serde_json::from_str(text).map_err(|e| Error::data(format!("its metadata {key} cannot be read: {e}")))
}

/// Writes a weights file, as a whole or not at all. The same content gives the same bytes.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write(path: &Path, weights: &Weights) -> Result<()> {
    write_tensors(path, &weights.tensors, &weights.strings()?)
}

impl Weights {
    /// The strings of the file.
    pub(crate) fn strings(&self) -> Result<BTreeMap<String, String>> {
        let mut strings = match &self.metadata {
            Some(metadata) => metadata.strings()?,
            None => BTreeMap::new(),
        };
        // What PyTorch's readers look for.
        strings.insert("format".to_owned(), "pt".to_owned());
        Ok(strings)
    }
}
