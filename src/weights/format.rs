//! The format of a file of weights, by its first bytes or by its name.

use super::onnx::is_onnx;
use super::open_file::{OpenFile, START};
#[cfg(feature = "pth")]
use super::pth::is_pth;
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
    /// The format of a file.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it has none of these formats. The message says what
    /// the file is, if that can be recognised.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        OpenFile::open(path.as_ref()).map(|file| file.format())
    }

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

/// Recognises what a failed download often leaves in place of a file of weights.
pub(super) fn other_content(start: &[u8]) -> Option<Error> {
    let text = String::from_utf8_lossy(start.get(..64).unwrap_or(start)).trim_start().to_lowercase();
    let (what, hint) = if start.is_empty() {
        ("this file is empty", "get it again")
    } else if text.starts_with("version https://git-lfs") {
        ("this is a pointer of git-lfs, not the file itself", "fetch it with `git lfs pull`")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        ("this is a web page, not weights", "the download went wrong; get the file again")
    } else {
        return None;
    };
    Some(Error::data(what).hint(hint))
}

/// Recognises the zip archives of PyTorch where their reader is not built in.
#[cfg(not(feature = "pth"))]
fn is_pth(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}
