//! Which format a file has, by its first bytes.

use super::onnx::is_onnx;
#[cfg(feature = "pth")]
use super::pth::is_pth;
use crate::data::open_regular;
use crate::error::{Error, Result};
use std::fmt;
use std::io::Read;
use std::path::Path;

/// A format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
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
    /// Looks at a file.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it is none of these, which says what it is where
    /// that can be seen.
    pub fn of(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let io = |e| Error::from_io(&e, "read", path);
        let mut start = Vec::new();
        open_regular(path)?.0.take(4096).read_to_end(&mut start).map_err(io)?;
        Self::of_start(&start).map_err(|e| e.at(place()))
    }

    /// Looks at a file that is in memory.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Format::of`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self> {
        Self::of_start(bytes.get(..4096).unwrap_or(bytes))
    }

    /// The format of a file that begins so.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub(super) fn of_start(start: &[u8]) -> Result<Self> {
        if let Some(error) = stranger(start) {
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

    /// For files that are read as safetensors and nothing else.
    ///
    /// # Errors
    /// [`Error::Data`] if it is another format.
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
    pub fn of_name(path: &Path) -> Result<Self> {
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

/// Names the usual things that come in place of a file of weights.
pub(super) fn stranger(start: &[u8]) -> Option<Error> {
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

/// The reader is not built in: enough to say what the file is.
#[cfg(not(feature = "pth"))]
fn is_pth(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}
