//! Trained weights: safetensors files with PyTorch's tensor names and layout.

mod layout;
#[allow(missing_docs)]
pub mod onnx;
#[cfg(feature = "pth")]
pub mod pth;
mod source;
mod tensors;

pub use crate::atomic::{remove_temporary, write_atomically};
pub use layout::{export, import};
pub use source::{Dtype, Entry, Source, entry};
pub use tensors::{read_tensors, write_tensors};

use crate::data::Normalization;
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
    /// How pixels become numbers.
    pub normalization: Normalization,
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
const INPUT: &str = "ocelli.input";
const NORMALIZATION: &str = "ocelli.normalization";

/// Reads a weights file. f32, f16, bf16 and f64 become f32; integers, such as PyTorch's `num_batches_tracked`, are
/// left out.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it is no safetensors file, is damaged, holds
/// NaN or infinity, or its metadata contradicts itself.
pub fn read(path: &Path) -> Result<Weights> {
    let (tensors, raw) = read_tensors(path)?;
    let metadata = metadata(&raw).map_err(|e| e.at(path.display().to_string()))?;
    Ok(Weights { tensors, metadata })
}

fn metadata(raw: &BTreeMap<String, String>) -> Result<Option<Metadata>> {
    let Some(arch) = raw.get(ARCH) else { return Ok(None) };
    let metadata = Metadata {
        arch: arch.clone(),
        classes: json(raw, CLASSES)?,
        input: json(raw, INPUT)?,
        normalization: json(raw, NORMALIZATION)?,
    };
    let [h, w, c] = metadata.input;
    if metadata.classes.is_empty() || h == 0 || w == 0 || h.max(w) > MAX_INPUT || c != 3 {
        return Err(Error::data(format!(
            "its metadata speaks of {} classes and an input of {h}x{w}x{c}",
            metadata.classes.len()
        )));
    }
    let Normalization { mean, std } = metadata.normalization;
    if mean.iter().chain(&std).any(|x| !x.is_finite()) || std.iter().any(|x| *x <= 0.0) {
        return Err(Error::data(format!(
            "its metadata speaks of pictures with mean {mean:?} and deviation {std:?}"
        )));
    }
    Ok(Some(metadata))
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
    let mut raw = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    if let Some(metadata) = &weights.metadata {
        let text = |value: std::result::Result<String, serde_json::Error>| {
            value.map_err(|e| Error::internal(format!("the metadata cannot be written: {e}")))
        };
        raw.insert(ARCH.to_owned(), metadata.arch.clone());
        raw.insert(CLASSES.to_owned(), text(serde_json::to_string(&metadata.classes))?);
        raw.insert(INPUT.to_owned(), text(serde_json::to_string(&metadata.input))?);
        raw.insert(NORMALIZATION.to_owned(), text(serde_json::to_string(&metadata.normalization))?);
    }
    write_tensors(path, &weights.tensors, &raw)
}
