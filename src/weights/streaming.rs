//! A safetensors file that is read in pieces, for example from a network. Names and shapes are known after the header. Only some rows
//! of a tensor are in memory at a time.

use super::bytes::{Bytes, Window};
use super::checksums::Checksums;
use super::layout::rows_together;
use super::safetensors::{Parsed, Safetensors, broken, header_bytes};
use super::source::no_memory;
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// What is complete after some bytes were taken. The enum is exhaustive, because a reader must handle every event.
pub enum StreamEvent {
    /// Nothing new; all bytes were taken.
    Nothing,
    /// The header: names and shapes of all tensors. From the first [`StreamEvent::Rows`] on, the rows of the last event can be
    /// read, until more bytes are taken.
    Header(Safetensors),
    /// Rows of the tensor of this name. The rows of a tensor come in order. Tensors of integers are skipped without an event.
    Rows(String, Range<usize>),
}

/// Reads a safetensors file in pieces. The tensors may lie in any order.
pub struct StreamReader {
    /// The length of the file, if it is known.
    length: Option<u64>,
    state: State,
}

enum State {
    Header(HeaderReader),
    Tensors(TensorStream),
}

impl StreamReader {
    /// A reader before the first byte. `length` is the size of the file in bytes, if it is known.
    pub const fn new(length: Option<u64>) -> Self {
        Self { length, state: State::Header(HeaderReader { bytes: Vec::new() }) }
    }

    /// Takes bytes from the front of `bytes` until an event occurs or all are taken. Call it until `bytes` is empty.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Safetensors::open`], if the file goes on after its last tensor, and at the last rows of a tensor whose
    /// checksum is wrong; [`Error::Io`] if there is no memory for a tensor.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<StreamEvent> {
        match &mut self.state {
            State::Header(reader) => {
                let Some(header) = reader.take(bytes, self.length)? else {
                    return Ok(StreamEvent::Nothing);
                };
                let (tensors, file) =
                    TensorStream::new(header, reader.bytes.len() as u64, self.length.is_some());
                self.state = State::Tensors(tensors);
                Ok(StreamEvent::Header(file))
            }
            State::Tensors(tensors) => tensors.take(bytes),
        }
    }

    /// Checks that the file is complete, after the last byte.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Safetensors::open`] if the file is not complete.
    pub fn finish(self) -> Result<()> {
        match self.state {
            State::Header(reader) => reader.finish(),
            State::Tensors(tensors) => tensors.header.must_end_at(tensors.position),
        }
    }
}

/// The header, as far as it has been read.
struct HeaderReader {
    /// The bytes so far. The first 8 are the length of the rest.
    bytes: Vec<u8>,
}

impl HeaderReader {
    /// The length of the header after the prefix, once the prefix is complete.
    fn prefix(&self) -> Option<u64> {
        self.bytes.first_chunk().map(|prefix| u64::from_le_bytes(*prefix))
    }

    /// Takes bytes; the parsed header once it is complete. `length` is that of the file, if it is known.
    fn take(&mut self, bytes: &mut &[u8], length: Option<u64>) -> Result<Option<Parsed>> {
        take_until(&mut self.bytes, 8, false, bytes)?;
        let Some(prefix) = self.prefix() else { return Ok(None) };
        // A file of unknown length may be of any length.
        let wanted = 8 + header_bytes(prefix, length.unwrap_or(u64::MAX).max(8))?;
        take_until(&mut self.bytes, wanted, false, bytes)?;
        if self.bytes.len() < wanted {
            return Ok(None);
        }
        let parsed = Parsed::of(self.bytes.get(8..).unwrap_or_default())?;
        if let Some(length) = length {
            parsed.must_end_at(length)?;
        }
        Ok(Some(parsed))
    }

    /// The error of a file that ends within its header.
    fn finish(&self) -> Result<()> {
        let prefix = self.prefix().ok_or_else(|| broken("it has less than 8 bytes"))?;
        header_bytes(prefix, self.bytes.len() as u64)?;
        Err(Error::internal("a complete header has not been read"))
    }
}

/// The tensors behind the header. Rows are taken in the order of the file; each row is in memory once.
struct TensorStream {
    header: Parsed,
    /// The tensors that are not complete, the last in the file first.
    left: Vec<Section>,
    /// The rows of the last event, or the start of the next ones.
    window: Arc<Mutex<Window>>,
    /// How many bytes of the file have been taken.
    position: u64,
    /// Whether the length of the file is known, so that all bytes of a tensor will come.
    is_sized: bool,
}

/// The part of the file that a tensor takes.
struct Section {
    /// The bytes that are still to come.
    place: Range<u64>,
    /// `None` for tensors that are skipped: integers, and empty ones.
    rows: Option<Rows>,
}

/// The rows of a tensor.
struct Rows {
    name: String,
    /// The bytes of one row.
    bytes: u64,
    /// How many rows make an event.
    together: usize,
    /// The rows that are still to come.
    left: Range<usize>,
    /// The checksum of the rows so far, if the file has one of the tensor.
    checksum: Option<crc32fast::Hasher>,
}

impl Section {
    fn of(header: &Parsed, name: &str, place: &Range<u64>) -> Self {
        let rows = header.weights(name).map(|entry| Rows {
            name: name.to_owned(),
            bytes: (place.end - place.start) / entry.rows().max(1) as u64,
            together: rows_together(entry.elements() / entry.rows().max(1)),
            left: 0..entry.rows(),
            checksum: header.checksums.unseen(name).map(|_| crc32fast::Hasher::new()),
        });
        Self { place: place.clone(), rows }
    }
}

impl TensorStream {
    /// The tensors of a header, and the file that reads from the window. `position` is the end of the header.
    fn new(header: Parsed, position: u64, is_sized: bool) -> (Self, Safetensors) {
        let window = Arc::new(Mutex::new(Window::default()));
        let mut left: Vec<Section> =
            header.places.iter().map(|(name, place)| Section::of(&header, name, place)).collect();
        left.sort_by_key(|section| std::cmp::Reverse(section.place.start));
        // The stream compares the checksums, because it sees all rows. The file sees only some of them.
        let mut unchecked = header.clone();
        unchecked.checksums = Checksums::default();
        let file = unchecked.with(Bytes::stream(window.clone(), header.end));
        (Self { header, left, window, position, is_sized }, file)
    }

    fn take(&mut self, bytes: &mut &[u8]) -> Result<StreamEvent> {
        while let Some(section) = self.left.last_mut() {
            let Some(rows) = &mut section.rows else {
                if !skip(&mut self.position, section.place.end, bytes) {
                    return Ok(StreamEvent::Nothing);
                }
                self.left.pop();
                continue;
            };
            let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
            let count = rows.together.min(rows.left.len());
            let length = rows.bytes.saturating_mul(count as u64);
            let filled = window.fill(section.place.start, length, self.is_sized, bytes);
            let (taken, complete) = filled.map_err(|e| e.at(rows.name.clone()))?;
            self.position += taken;
            if !complete {
                return Ok(StreamEvent::Nothing);
            }
            section.place.start += length;
            let read = rows.left.start..rows.left.start + count;
            rows.left.start = read.end;
            let name = rows.name.clone();
            rows.check(&window.bytes, &self.header.checksums)?;
            if rows.left.is_empty() {
                self.left.pop();
            }
            return Ok(StreamEvent::Rows(name, read));
        }
        if bytes.is_empty() {
            return Ok(StreamEvent::Nothing);
        }
        let end = self.position.saturating_add(bytes.len() as u64);
        self.header.must_end_at(end).map(|()| StreamEvent::Nothing)
    }
}

impl Window {
    /// Takes bytes until `length` bytes from `start` are here: how many were taken, and whether that is complete.
    fn fill(&mut self, start: u64, length: u64, is_sized: bool, bytes: &mut &[u8]) -> Result<(u64, bool)> {
        if self.start != start {
            // The memory is used again for the next rows.
            self.bytes.clear();
            self.start = start;
        }
        let wanted = usize::try_from(length).map_err(|_| no_memory(length))?;
        let before = self.bytes.len();
        take_until(&mut self.bytes, wanted, is_sized, bytes)?;
        Ok(((self.bytes.len() - before) as u64, self.bytes.len() >= wanted))
    }
}

impl Rows {
    /// Adds rows to the checksum of the tensor. After the last rows, compares it with that of the file.
    fn check(&mut self, bytes: &[u8], checksums: &Checksums) -> Result<()> {
        let Some(checksum) = &mut self.checksum else { return Ok(()) };
        checksum.update(bytes);
        if !self.left.is_empty() {
            return Ok(());
        }
        checksums.compare(&self.name, checksum.clone().finalize())
    }
}

/// Skips bytes up to the offset `end` of the file; whether it is reached.
fn skip(position: &mut u64, end: u64, bytes: &mut &[u8]) -> bool {
    let now = end.saturating_sub(*position).min(bytes.len() as u64);
    *bytes = bytes.split_at(now as usize).1;
    *position += now;
    *position >= end
}

/// Moves bytes into a vector until it has `wanted` bytes or none are left. The whole memory is reserved at once only if all bytes are
/// sure to come.
fn take_until(into: &mut Vec<u8>, wanted: usize, sure: bool, bytes: &mut &[u8]) -> Result<()> {
    let missing = wanted.saturating_sub(into.len());
    let (now, rest) = bytes.split_at(bytes.len().min(missing));
    if into.capacity() - into.len() < now.len() {
        let room = if sure { missing } else { into.len().max(now.len()).min(missing) };
        into.try_reserve_exact(room).map_err(|_| no_memory(wanted as u64))?;
    }
    into.extend_from_slice(now);
    *bytes = rest;
    Ok(())
}
