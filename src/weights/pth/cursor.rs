//! A file as a stream, for the reader of zip archives.

use crate::weights::bytes::Bytes;
use std::io::{self, Read, Seek, SeekFrom};

/// A position in [`Bytes`]. It reads a limited number of bytes in all, so that a hostile directory costs neither time nor memory.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a Bytes,
    at: u64,
    left: u64,
    held: Vec<u8>,
    held_at: u64,
}

impl<'a> Cursor<'a> {
    const CHUNK: u64 = 4096;

    /// A cursor at the start, with a limit for all reads together.
    pub const fn new(bytes: &'a Bytes, limit: u64) -> Self {
        Self { bytes, at: 0, left: limit, held: Vec::new(), held_at: 0 }
    }

    /// The buffered bytes from the position on.
    fn held(&self) -> &[u8] {
        let skip = self.at.checked_sub(self.held_at).and_then(|n| usize::try_from(n).ok());
        skip.and_then(|n| self.held.get(n..)).unwrap_or_default()
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.held().is_empty() {
            let length = self.bytes.len().saturating_sub(self.at).min(Self::CHUNK);
            if length > self.left {
                return Err(io::Error::other("its directory is too long"));
            }
            self.left -= length;
            self.held = self.bytes.read(self.at, length as usize).map_err(io::Error::other)?;
            self.held_at = self.at;
        }
        let n = out.len().min(self.held().len());
        for (to, from) in out.iter_mut().zip(self.held()) {
            *to = *from;
        }
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
