//! The safetensors format: named tensors and a map of strings. A file is untrusted input.

use super::bytes::Bytes;
use super::checksums::{self, Checksums};
use super::survey::survey;
use super::{Dtype, Entry, InMemory, Source, Tensor, entry, write_atomically_if};
use crate::error::{Error, Result, Untrusted};
use safetensors::tensor::Metadata as Header;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// The largest header that is read, in bytes. That of ResNet-1202 has a tenth of a megabyte.
const MAX_HEADER: u64 = 16 << 20;

/// How many numbers are written at a time.
const AT_ONCE: usize = 1 << 20;

/// A safetensors file. Its header has been read; its tensors are read one by one.
pub struct Safetensors {
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
    /// The offset of each tensor in the file.
    starts: BTreeMap<String, u64>,
    strings: BTreeMap<String, String>,
    checksums: Checksums,
}

impl Safetensors {
    /// Reads the header of a file and checks it against the file's length.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file, [`Error::Data`] if it cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // An error of opening the file already names it.
        let bytes = Bytes::open(path)?;
        Self::from_bytes(bytes).map_err(|e| e.at(path.display().to_string()))
    }

    /// Reads the header of a file that is in memory.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Safetensors::open`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        Self::from_bytes(Bytes::memory(bytes))
    }

    pub(super) fn from_bytes(bytes: Bytes) -> Result<Self> {
        let length = bytes.len();
        let prefix = if length < 8 { Vec::new() } else { bytes.read(0, 8)? };
        let Ok(prefix) = <[u8; 8]>::try_from(prefix) else {
            return Err(broken("it has less than 8 bytes"));
        };
        let header = u64::from_le_bytes(prefix);
        let json = bytes.read(8, header_bytes(header, length)?)?;
        let header = Parsed::of(&json)?;
        header.must_end_at(length)?;
        Ok(header.with(bytes))
    }

    /// Compares the checksum of a tensor, unless that has been done. Reads the whole tensor.
    fn verify(&self, name: &str, start: u64, length: usize) -> Result<()> {
        if self.checksums.unseen(name).is_none() {
            return Ok(());
        }
        let mut hasher = crc32fast::Hasher::new();
        for first in (0..length).step_by(AT_ONCE) {
            let count = AT_ONCE.min(length - first);
            self.bytes.with(start + first as u64, count, |bytes| hasher.update(bytes))?;
        }
        self.checksums.compare(name, hasher.finalize())
    }

    /// Whether a tensor has a checksum.
    pub(super) fn has_checksum(&self, name: &str) -> bool {
        self.checksums.has(name)
    }

    /// The metadata strings of the header, without the checksums.
    pub fn strings(&self) -> &BTreeMap<String, String> {
        &self.strings
    }
}

pub(super) fn broken(why: &str) -> Error {
    Error::data(format!("this is no usable safetensors file: {why}")).hint("it may be damaged; get it again")
}

/// Checks the length of a header against that of the file.
pub(super) fn header_bytes(header: u64, length: u64) -> Result<usize> {
    if header > MAX_HEADER || header > length - 8 {
        return Err(broken(&format!("it speaks of a header of {header} bytes")));
    }
    Ok(header as usize)
}

/// A parsed header.
#[derive(Clone)]
pub(super) struct Parsed {
    entries: BTreeMap<String, Entry>,
    /// The bytes of each tensor in the file, integers included.
    pub(super) places: BTreeMap<String, Range<u64>>,
    strings: BTreeMap<String, String>,
    pub(super) checksums: Checksums,
    /// The length of the file.
    pub(super) end: u64,
}

impl Parsed {
    pub(super) fn of(json: &[u8]) -> Result<Self> {
        survey(json)?;
        // The crate checks that the tensors follow each other without gaps and that their sizes fit their shapes.
        let header: Header =
            serde_json::from_slice(json).map_err(|e| broken(&e.to_string()).with_source(e))?;
        let data = 8 + json.len() as u64;
        let mut strings = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = header.tensors();
        let tensors = tensors.iter().map(|(name, t)| (name.as_str(), t.dtype.to_string(), &t.shape[..]));
        let checksums = Checksums::take(&mut strings, tensors)?;
        let (mut entries, mut places, mut end) = (BTreeMap::new(), BTreeMap::new(), data);
        for (name, info) in header.tensors() {
            let dtype = dtype(info.dtype).ok_or_else(|| {
                Error::data(format!("its numbers are of type {}", info.dtype))
                    .at(Untrusted::short(&name))
                    .hint("convert it to f32, f16 or bf16")
            })?;
            if info.shape.contains(&0) {
                return Err(broken(&format!("the tensor {} has no numbers", Untrusted::short(&name))));
            }
            let at = |offset: usize| data.saturating_add(offset as u64);
            let place = at(info.data_offsets.0)..at(info.data_offsets.1);
            end = end.max(place.end);
            places.insert(name.clone(), place);
            entries.insert(name, Entry { shape: info.shape.clone(), dtype });
        }
        Ok(Self { entries, places, strings, checksums, end })
    }

    /// The tensor of this name, if it holds weights.
    pub(super) fn weights(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).filter(|entry| entry.is_weights())
    }

    /// Refuses a file of another length than the header says.
    pub(super) fn must_end_at(&self, length: u64) -> Result<()> {
        if self.end == length {
            return Ok(());
        }
        Err(broken(&format!("it has {length} bytes, and its header speaks of {}", self.end)))
    }

    pub(super) fn with(self, bytes: Bytes) -> Safetensors {
        let starts = self.places.into_iter().map(|(name, place)| (name, place.start)).collect();
        let Self { entries, strings, checksums, .. } = self;
        Safetensors { bytes, entries, starts, strings, checksums }
    }
}

fn dtype(dtype: safetensors::Dtype) -> Option<Dtype> {
    use safetensors::Dtype as D;
    Some(match dtype {
        D::F16 => Dtype::F16,
        D::BF16 => Dtype::Bf16,
        D::F32 => Dtype::F32,
        D::F64 => Dtype::F64,
        D::BOOL => Dtype::Integer("bool"),
        D::I8 => Dtype::Integer("int8"),
        D::I16 => Dtype::Integer("int16"),
        D::I32 => Dtype::Integer("int32"),
        D::I64 => Dtype::Integer("int64"),
        D::U8 => Dtype::Integer("uint8"),
        D::U16 => Dtype::Integer("uint16"),
        D::U32 => Dtype::Integer("uint32"),
        D::U64 => Dtype::Integer("uint64"),
        _ => return None,
    })
}

impl Source for Safetensors {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let found = entry(&self.entries, name, &rows)?;
        let row = found.elements() / found.rows().max(1) * found.dtype.bytes();
        let start = self.starts.get(name).copied().unwrap_or_default();
        if rows.len() < found.rows() {
            // The checksum is that of the whole tensor.
            self.verify(name, start, found.rows() * row)?;
        }
        let sum = self.checksums.unseen(name);
        let (numbers, sum) =
            self.bytes.with(start + (rows.start * row) as u64, rows.len() * row, |bytes| {
                (found.dtype.decode(bytes), sum.map(|_| crc32fast::hash(bytes)))
            })?;
        sum.map_or(Ok(()), |sum| self.checksums.compare(name, sum))?;
        Ok(numbers)
    }

    fn reads_by_rows(&self, _name: &str) -> bool {
        true
    }
}

/// Writes tensors, metadata strings and checksums to a file. The file is written completely or not at all. The same content gives the
/// same bytes.
///
/// # Errors
/// As [`write_source`].
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &BTreeMap<String, Tensor>,
    strings: &BTreeMap<String, String>,
) -> Result<()> {
    write_tensors_if(path.as_ref(), &mut || Ok(()), tensors, strings)
}

/// Writes a file as [`write_tensors`] does. `ready` is called just before the file gets its name; its error leaves no file.
///
/// # Errors
/// As [`write_tensors`], and those of `ready`.
pub(crate) fn write_tensors_if(
    path: &Path,
    ready: &mut dyn FnMut() -> Result<()>,
    tensors: &BTreeMap<String, Tensor>,
    strings: &BTreeMap<String, String>,
) -> Result<()> {
    write(path, ready, &InMemory::new(tensors), strings, Dtype::F32)
}

/// Writes the tensors of a source one after the other as numbers of type `dtype`, with checksums. Integers are left out. The file is
/// written completely or not at all.
///
/// # Errors
/// [`Error::Data`] naming a tensor if there is NaN or infinity in it, [`Error::Usage`] for another type than f32, f16 or
/// bf16, [`Error::Io`] if it cannot be written.
pub fn write_source(
    path: impl AsRef<Path>,
    source: &dyn Source,
    strings: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<()> {
    write(path.as_ref(), &mut || Ok(()), source, strings, dtype)
}

fn write(
    path: &Path,
    ready: &mut dyn FnMut() -> Result<()>,
    source: &dyn Source,
    strings: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<()> {
    // The checksums are known after the last tensor. Until then the header has zeros in their place.
    let mut sums: BTreeMap<&str, u32> = list(source).map(|(name, _)| (name.as_str(), 0)).collect();
    let head = header(source, strings, &sums, dtype)?;
    let mut failed = None;
    let written = write_atomically_if(path, ready, |out| {
        let mut fail = |e: Error| {
            let said = e.to_string();
            failed = Some(e);
            std::io::Error::other(said)
        };
        out.write_all(&head)?;
        for (name, entry) in list(source) {
            let mut hasher = crc32fast::Hasher::new();
            // Some rows at a time: a tensor may be half of the file.
            let row = entry.elements() / entry.rows().max(1);
            let step = (AT_ONCE / row.max(1)).max(1);
            for first in (0..entry.rows()).step_by(step) {
                let rows = first..(first + step).min(entry.rows());
                let bytes = source.rows(name, rows).and_then(|numbers| dtype.encode(name, &numbers));
                let bytes = bytes.map_err(&mut fail)?;
                hasher.update(&bytes);
                out.write_all(&bytes)?;
            }
            sums.insert(name, hasher.finalize());
        }
        let whole = header(source, strings, &sums, dtype).map_err(&mut fail)?;
        if whole.len() != head.len() {
            return Err(fail(Error::internal("the checksums have another length than their place")));
        }
        out.rewind()?;
        out.write_all(&whole)
    });
    match failed {
        // The error is that of the source. The new file does not exist.
        Some(error) => Err(error),
        None => written,
    }
}

/// The tensors that are written.
fn list(source: &dyn Source) -> impl Iterator<Item = (&String, &Entry)> {
    source.entries().iter().filter(|(_, e)| e.is_weights())
}

/// The bytes before the first tensor: the length of the header, and the header.
fn header(
    source: &dyn Source,
    strings: &BTreeMap<String, String>,
    sums: &BTreeMap<&str, u32>,
    dtype: Dtype,
) -> Result<Vec<u8>> {
    let name_of_type = match dtype {
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::Bf16 => "BF16",
        other => {
            return Err(
                Error::usage(format!("weights of type {}", other.name())).hint("choose f32, f16 or bf16")
            );
        }
    };
    let mut strings = strings.clone();
    let tensors = list(source).map(|(name, e)| (name.as_str(), name_of_type.to_owned(), &e.shape[..]));
    checksums::add(&mut strings, sums, tensors)?;
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(strings));
    let mut end = 0;
    for (name, entry) in list(source) {
        let start = end;
        end = entry.elements().saturating_mul(dtype.bytes()).saturating_add(end);
        header.insert(
            name.clone(),
            serde_json::json!({ "dtype": name_of_type, "shape": entry.shape, "data_offsets": [start, end] }),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // The data starts at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([&length[..], &header].concat())
}
