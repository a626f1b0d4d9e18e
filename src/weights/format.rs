//! The formats of files of weights.

use crate::error::{Error, Result};
use std::fmt;
use std::path::Path;

/// A format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The safetensors format.
    Safetensors,
    /// PyTorch's `torch.save`.
    Pth,
    /// ONNX.
    Onnx,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Pth => "PyTorch",
            Self::Onnx => "ONNX",
        })
    }
}

impl Format {
    /// Refuses every format but safetensors.
    ///
    /// # Errors
    /// [`Error::Data`] for another format.
    pub(super) fn must_be_safetensors(self) -> Result<()> {
        match self {
            Self::Safetensors => Ok(()),
            other => Err(Error::data(format!("this is a file of {other}"))
                .hint("`ocelli convert` makes a safetensors file of it")),
        }
    }

    /// The format that the name of a file asks for: `.safetensors`, `.pth` or `.pt`, `.onnx`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none of these.
    pub fn of_name(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("safetensors") => Ok(Self::Safetensors),
            Some("pth" | "pt") => Ok(Self::Pth),
            Some("onnx") => Ok(Self::Onnx),
            _ => Err(Error::usage("the name does not say which format is wanted")
                .at(path.display().to_string())
                .hint("end it in .safetensors, .pth or .onnx")),
        }
    }
}
