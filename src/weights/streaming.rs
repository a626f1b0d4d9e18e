//! A safetensors file that arrives piece by piece, as over a network: what it holds is known when its header is there, and of
//! its numbers there are no more in memory than some rows.

use super::bytes::{Bytes, Window};
use super::checksums::Checksums;
use super::layout::rows_together;
use super::safetensors::{Parsed, Safetensors, broken, header_bytes};
use super::source::no_memory;
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// What has come to its end among the bytes that were taken.
pub enum StreamEvent {
    /// Nothing; all bytes were taken.
    Nothing,
    /// The header: names and shapes of all tensors. Rows can be read from [`StreamEvent::Rows`] on until more is taken.
    Header(Safetensors),
    /// Rows of the tensor of this name, which come in order. Those of integers pass without a word: no network is made of them.
    Rows(String, Range<usize>),
}

/// A file on its way. The tensors may lie in any order; integers are passed over.
pub struct StreamReader {
    length: Option<u64>,
    state: State,
}

enum State {
    /// The bytes of the header so far, those of its length among them.
    Header(Vec<u8>),
    Tensors {
        header: Parsed,
        /// The tensors that are not over, the last in the file first.
        left: Vec<Left>,
        window: Arc<Mutex<Window>>,
        arrived: u64,
    },
}

/// A tensor that is not over.
struct Left {
    /// What is not over of it.
    place: Range<u64>,
    /// `None` for integers, and what is empty.
    rows: Option<Rows>,
}

/// The rows of a tensor.
struct Rows {
    name: String,
    /// Bytes of one.
    bytes: u64,
    /// How many come at a time.
    together: usize,
    /// Those that have not come.
    left: Range<usize>,
    /// Of those that have come, if the file has a checksum of the tensor.
    checksum: Option<crc32fast::Hasher>,
}

impl Left {
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

impl StreamReader {
    /// A file of which nothing is there yet; `length` are its bytes, where that is known.
    pub const fn new(length: Option<u64>) -> Self {
        Self { length, state: State::Header(Vec::new()) }
    }

    /// Takes bytes from the front of these until something has come to its end, or all of them; to be called until there are
    /// none left.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Safetensors::open`], if the file goes on after its last tensor, and with the last rows of a tensor whose
    /// checksum is wrong; [`Error::Io`] if there is no memory for a tensor.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<StreamEvent> {
        match &mut self.state {
            State::Header(header) => {
                take_until(header, 8, false, bytes)?;
                let Some(Ok(prefix)) = header.get(..8).map(<[u8; 8]>::try_from) else {
                    return Ok(StreamEvent::Nothing);
                };
                // Of a file of unknown length anything may be to come.
                let length = self.length.unwrap_or(u64::MAX).max(8);
                let wanted = 8 + header_bytes(u64::from_le_bytes(prefix), length)?;
                take_until(header, wanted, false, bytes)?;
                if header.len() < wanted {
                    return Ok(StreamEvent::Nothing);
                }
                let parsed = Parsed::of(header.get(8..).unwrap_or_default())?;
                if let Some(length) = self.length {
                    parsed.must_end_at(length)?;
                }
                let window = Arc::new(Mutex::new(Window::default()));
                let mut left: Vec<Left> =
                    parsed.places.iter().map(|(name, place)| Left::of(&parsed, name, place)).collect();
                left.sort_by_key(|left| std::cmp::Reverse(left.place.start));
                // Rows are held against the checksums here, where all of them pass.
                let mut unchecked = parsed.clone();
                unchecked.checksums = Checksums::default();
                let file = unchecked.with(Bytes::passing(window.clone(), parsed.end));
                self.state = State::Tensors { header: parsed, left, window, arrived: wanted as u64 };
                Ok(StreamEvent::Header(file))
            }
            State::Tensors { header, left, window, arrived } => {
                let sure = self.length.is_some();
                let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                while let Some(Left { place, rows }) = left.last_mut() {
                    let Some(rows) = rows else {
                        let now = place.end.saturating_sub(*arrived).min(bytes.len() as u64);
                        *bytes = bytes.split_at(now as usize).1;
                        *arrived += now;
                        if *arrived < place.end {
                            return Ok(StreamEvent::Nothing);
                        }
                        left.pop();
                        continue;
                    };
                    if window.start != place.start {
                        // The memory of the last rows serves the next ones.
                        window.bytes.clear();
                        window.start = place.start;
                    }
                    let count = rows.together.min(rows.left.len());
                    let length = rows.bytes.saturating_mul(count as u64);
                    let before = window.bytes.len();
                    let wanted =
                        usize::try_from(length).map_err(|_| no_memory(length).at(rows.name.clone()))?;
                    take_until(&mut window.bytes, wanted, sure, bytes)
                        .map_err(|e| e.at(rows.name.clone()))?;
                    *arrived += (window.bytes.len() - before) as u64;
                    if window.bytes.len() < wanted {
                        return Ok(StreamEvent::Nothing);
                    }
                    let first = rows.left.start;
                    let come = first..first + count;
                    let name = rows.name.clone();
                    rows.left.start = come.end;
                    if let Some(checksum) = &mut rows.checksum {
                        checksum.update(&window.bytes);
                        if rows.left.is_empty() {
                            header.checksums.compare(&name, checksum.clone().finalize())?;
                        }
                    }
                    place.start += length;
                    if rows.left.is_empty() {
                        left.pop();
                    }
                    return Ok(StreamEvent::Rows(name, come));
                }
                if bytes.is_empty() {
                    return Ok(StreamEvent::Nothing);
                }
                header.must_end_at(arrived.saturating_add(bytes.len() as u64)).map(|()| StreamEvent::Nothing)
            }
        }
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Safetensors::open`] if the file is not whole.
    pub fn finish(self) -> Result<()> {
        match self.state {
            State::Header(header) => match header.get(..8).map(<[u8; 8]>::try_from) {
                Some(Ok(prefix)) => {
                    header_bytes(u64::from_le_bytes(prefix), header.len() as u64)?;
                    Err(Error::internal("a header that is there has not been read"))
                }
                _ => Err(broken("it has less than 8 bytes")),
            },
            State::Tensors { header, arrived, .. } => header.must_end_at(arrived),
        }
    }
}

/// Moves bytes until there are so many, or no more. Room for all of them is made at once only where they are sure to come.
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
