//! An open file of weights. It is opened once; the reader of its format then takes it.

#[cfg(feature = "pth")]
use super::pth::Pth;
use super::{Format, Safetensors, bytes::Bytes, onnx};
use crate::data::open_regular;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// How many bytes at the start of a file show its format.
pub(super) const START: usize = 4096;

impl Format {
    /// The format of a file.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it has none of these formats. The message says what
    /// the file is, if that can be recognised.
    pub fn of(path: impl AsRef<Path>) -> Result<Self> {
        OpenFile::open(path.as_ref()).map(|file| file.format())
    }
}

/// An open file and its format.
pub(crate) struct OpenFile<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    format: Format,
}

impl<'a> OpenFile<'a> {
    /// Opens a file and finds out its format by its first bytes.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        let io = |e| Error::from_io(e, "read", path);
        let (mut file, length) = open_regular(path)?;
        let mut start = Vec::new();
        (&mut file).take(START as u64).read_to_end(&mut start).map_err(io)?;
        let format = Format::of_start(&start).map_err(|e| e.at(path.display().to_string()))?;
        file.rewind().map_err(io)?;
        Ok(Self { path, file, length, format })
    }

    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The size of the file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads the header of a safetensors file.
    ///
    /// # Errors
    /// As [`Safetensors::open`].
    pub(crate) fn safetensors(self) -> Result<Safetensors> {
        Safetensors::from_bytes(Bytes::file(self.file, self.length))
            .map_err(|e| e.at(self.path.display().to_string()))
    }

    /// Reads the pickle of a file of PyTorch.
    ///
    /// # Errors
    /// As [`Pth::open`].
    #[cfg(feature = "pth")]
    pub(crate) fn pth(self, averaged: Option<bool>) -> Result<Pth> {
        Pth::from_bytes(Bytes::file(self.file, self.length), averaged)
            .map_err(|e| e.at(self.path.display().to_string()))
    }

    /// Decodes an ONNX file.
    ///
    /// # Errors
    /// As [`onnx::File::open`].
    pub(crate) fn onnx(self, options: onnx::ReadOptions) -> Result<onnx::File> {
        onnx::File::read(self.path, self.file, self.length, options)
    }
}
