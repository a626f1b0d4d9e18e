//! A data set in one file (`.ocelli-pack`). All numbers are little-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0..64 | the header: magic bytes, version (u32), CRC-32 of the index (u32), offset and length of the index (u64 each), zeros, and in the last four bytes the CRC-32 of the others |
//! | .. | the pictures, one right behind the other: files of any format, or red, green and blue of each pixel |
//! | .. | the index, up to the end of the file: the length of a JSON object (u32), that object ([`Facts`]), and the entries of the pictures, split by split |
//!
//! An entry has the offset (u64), length, CRC-32, label, height and width of a picture and the length of its name (u32 each), and the name
//! in UTF-8. Height and width are 0 for a picture that is a file.
//!
//! Every picture begins where the one before it ends, and the index begins where the last one ends. So no offset or length can lie
//! without being noticed when the file is opened.

mod read;
mod write;

pub use read::Pack;
pub use write::{PackFormat, PackOptions, Packed, pack};

use super::Normalization;
use serde::{Deserialize, Serialize};

/// The end of the file's name.
pub const PACK_ENDING: &str = "ocelli-pack";

const MAGIC: &[u8; 8] = b"\x89OCPACK\n";
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// The bytes of an entry without the name.
const ENTRY: usize = 32;

/// What the index says about all pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    classes: Vec<String>,
    /// The names of the splits, and how many pictures they have.
    splits: Vec<(String, u64)>,
    native_size: Option<[usize; 2]>,
    normalization: Normalization,
}

/// Where a picture lies and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: u64,
    length: u32,
    crc: u32,
    label: u32,
    /// Height and width of red, green and blue; zeros for a file.
    size: [u32; 2],
    /// The length of the name.
    name: u32,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let Self { offset, length, crc, label, size: [height, width], name } = self;
        let mut bytes = [0; ENTRY];
        let (first, rest) = bytes.split_at_mut(8);
        first.copy_from_slice(&offset.to_le_bytes());
        let fields = [length, crc, label, height, width, name];
        rest.chunks_exact_mut(4).zip(fields).for_each(|(to, field)| to.copy_from_slice(&field.to_le_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY]) -> Self {
        let (first, rest) = bytes.split_at(8);
        let offset = first.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
        let mut fields = rest.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let mut next = || fields.next().unwrap_or_default();
        let [length, crc, label, height, width, name] = [next(), next(), next(), next(), next(), next()];
        Self { offset, length, crc, label, size: [height, width], name }
    }
}
