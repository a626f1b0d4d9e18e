//! A file that is read by range, so that it is never in memory as a whole.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Where bytes come from.
#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    // Behind a lock because reading moves the position of the file.
    File(Mutex<File>),
}

/// Bytes of a known number.
#[derive(Debug)]
pub struct Bytes {
    place: Place,
    length: u64,
}

impl Bytes {
    /// The bytes of a regular file; pipes and folders are refused before they are opened.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e| Error::from_io(&e, "read", path);
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::data("this is no file"));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self { place: Place::File(Mutex::new(file)), length })
    }

    /// Bytes that are there already.
    pub fn memory(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    pub const fn len(&self) -> u64 {
        self.length
    }

    /// A range, which must be there as a whole: nothing is allocated for one that is not.
    pub fn read(&self, start: u64, length: usize) -> Result<Vec<u8>> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| {
            Error::data(format!("it ends at byte {} within something that starts at {start}", self.length))
                .cure(super::DAMAGED)
        })?;
        match &self.place {
            Place::Memory(bytes) => {
                // Both fit into usize because the vector does.
                let range = start as usize..end as usize;
                Ok(bytes.get(range).unwrap_or_default().to_vec())
            }
            Place::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; length];
                let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|e| Error::io(format!("cannot read {length} bytes at {start}: {e}")))?;
                Ok(bytes)
            }
        }
    }
}

/// A position in [`Bytes`] for those who read step by step. It gives out a limited number of bytes, so that a
/// file with a directory of endless length costs neither time nor memory.
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

    /// From the start, with a limit for what is read in all.
    pub const fn new(bytes: &'a Bytes, limit: u64) -> Self {
        Self { bytes, at: 0, left: limit, held: Vec::new(), held_at: 0 }
    }

    /// What is held from the position on.
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
