//! Recognises the format of a file of weights by its first bytes.

use super::Format;
use super::onnx::is_onnx;
use super::open_file::START;
use super::other_content::other_content;
#[cfg(feature = "pth")]
use super::pth::is_pth;
use crate::error::{Error, Result};

impl Format {
    /// The format of a file that is in memory.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Format::of`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self> {
        Self::of_start(bytes.get(..START).unwrap_or(bytes))
    }

    /// The format of a file with these first bytes.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub(super) fn of_start(start: &[u8]) -> Result<Self> {
        if let Some(error) = other_content(start) {
            return Err(error);
        }
        if is_pth(start) {
            Ok(Self::Pth)
        } else if matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
            Ok(Self::Safetensors)
        } else if is_onnx(start) {
            Ok(Self::Onnx)
        } else {
            Err(Error::data("these are no weights").hint("give a safetensors, PyTorch or ONNX file"))
        }
    }
}

/// Recognises the zip archives of PyTorch where their reader is not built in.
#[cfg(not(feature = "pth"))]
fn is_pth(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}
