//! Bytes that are read by range, so that a file is never in memory as a whole.

use crate::data::open_regular;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The part of a streamed file that is in memory.
#[derive(Debug, Default)]
pub struct Window {
    /// The offset in the file of the first byte.
    pub start: u64,
    pub bytes: Vec<u8>,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    // Behind a lock because reading moves the position in the file.
    File(Mutex<File>),
    Stream(Arc<Mutex<Window>>),
}

/// A known number of bytes.
#[derive(Debug)]
pub struct Bytes {
    place: Place,
    length: u64,
}

impl Bytes {
    /// The bytes of a regular file. Pipes and folders are refused before they are opened.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, length) = open_regular(path)?;
        Ok(Self::file(file, length))
    }

    /// The bytes of an open file of this length.
    pub fn file(file: File, length: u64) -> Self {
        Self { place: Place::File(Mutex::new(file)), length }
    }

    /// Bytes in memory.
    pub fn memory(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    /// The bytes of a streamed file of this length. Only those in the window can be read.
    pub const fn stream(window: Arc<Mutex<Window>>, length: u64) -> Self {
        Self { place: Place::Stream(window), length }
    }

    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Reads a range. If the range exceeds the bytes, it is an error and nothing is allocated.
    pub fn read(&self, start: u64, length: usize) -> Result<Vec<u8>> {
        self.with(start, length, <[u8]>::to_vec)
    }

    /// Calls `then` with a range. Bytes that are in memory already are not copied.
    pub fn with<T>(&self, start: u64, length: usize, then: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| {
            Error::data(format!("it ends at byte {} within something that starts at {start}", self.length))
                .hint("it may be damaged; get it again")
        })?;
        match &self.place {
            Place::Memory(bytes) => {
                // Both fit into usize because the length of the vector does.
                let range = start as usize..end as usize;
                Ok(then(bytes.get(range).unwrap_or_default()))
            }
            Place::File(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; length];
                let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
                read.map_err(|e| {
                    Error::io(format!("cannot read {length} bytes at {start}: {e}")).with_source(e)
                })?;
                Ok(then(&bytes))
            }
            Place::Stream(window) => {
                let window = window.lock().unwrap_or_else(PoisonError::into_inner);
                let first = start.checked_sub(window.start).and_then(|first| usize::try_from(first).ok());
                let range = first.and_then(|first| Some(first..first.checked_add(length)?));
                let there = range.and_then(|range| window.bytes.get(range));
                let gone = || Error::internal(format!("byte {start} is not here, but still to come or gone"));
                there.map(then).ok_or_else(gone)
            }
        }
    }
}
