//! Reads all tensors of a file at once.

use super::open_file::OpenFile;
use super::{Dtype, Entry, Source, Tensor, not_finite};
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors by name, and the metadata strings of the header.
pub type Content = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// Reads all floating-point tensors of a file as f32, and its strings.
///
/// # Errors
/// As [`super::Safetensors::open`]; [`crate::Error::Data`] naming a tensor whose checksum is wrong, or the tensors that hold NaN or infinity.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Content> {
    read_summed(path.as_ref()).map(|(content, _)| content)
}

/// Reads a file as [`read_tensors`] does. The second value is whether there are tensors and all have a checksum.
///
/// # Errors
/// As [`read_tensors`].
pub(crate) fn read_summed(path: &Path) -> Result<(Content, bool)> {
    let place = || path.display().to_string();
    let file = OpenFile::open(path)?;
    file.format().must_be_safetensors().map_err(|e| e.at(place()))?;
    let file = file.safetensors()?;
    let mut tensors = BTreeMap::new();
    let mut bad = Vec::new();
    for (name, Entry { shape, dtype }) in file.entries() {
        if matches!(dtype, Dtype::Integer(_)) {
            continue;
        }
        let data = file.rows(name, 0..shape.first().copied().unwrap_or(1)).map_err(|e| e.at(place()))?;
        if data.iter().any(|x| !x.is_finite()) {
            bad.push(name.clone());
        }
        tensors.insert(name.clone(), Tensor { shape: shape.clone(), data });
    }
    if let Some(error) = not_finite(&bad) {
        return Err(error.at(place()));
    }
    let is_summed = !file.entries().is_empty() && file.entries().keys().all(|name| file.has_checksum(name));
    Ok(((tensors, file.strings().clone()), is_summed))
}
