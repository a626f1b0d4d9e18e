//! A tensor of an ONNX file. It is checked when the file is opened, and decoded in ranges.

use super::external::External;
use super::proto::{self, tensor as kind};
use crate::error::{Error, Result, Untrusted};
use crate::weights::{Dtype, Entry};
use prost::bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

/// The most dimensions of a tensor. A hostile file may have millions.
const MOST_DIMENSIONS: usize = 8;

/// A tensor. Its shape fits the number of its elements.
#[derive(Debug)]
pub struct Stored {
    name: String,
    entry: Entry,
    /// The size of an element in the file, in bytes.
    width: usize,
    numbers: Numbers,
}

/// Where the elements are.
#[derive(Debug)]
enum Numbers {
    /// Little-endian, in the file.
    Raw(Bytes),
    Floats(Vec<f32>),
    Doubles(Vec<f64>),
    /// Integers of up to 32 bits, or the bits of 16-bit floating-point numbers.
    Short(Vec<i32>),
    Long(Vec<i64>),
    External(External),
}

/// The type of a tensor, and the size of an element in bytes.
fn dtype(data_type: i32) -> Option<(Dtype, usize)> {
    Some(match data_type {
        kind::FLOAT => (Dtype::F32, 4),
        kind::FLOAT16 => (Dtype::F16, 2),
        kind::BFLOAT16 => (Dtype::Bf16, 2),
        kind::DOUBLE => (Dtype::F64, 8),
        kind::INT64 => (Dtype::Integer("int64"), 8),
        kind::INT32 => (Dtype::Integer("int32"), 4),
        kind::BOOL => (Dtype::Integer("bool"), 1),
        kind::UINT8 => (Dtype::Integer("uint8"), 1),
        kind::INT8 => (Dtype::Integer("int8"), 1),
        _ => return None,
    })
}

/// The name of a type that cannot be read.
fn unread(data_type: i32) -> String {
    const NAMES: [(i32, &str); 12] = [
        (0, "no type"),
        (4, "uint16"),
        (5, "int16"),
        (kind::STRING, "strings"),
        (12, "uint32"),
        (13, "uint64"),
        (14, "complex64"),
        (15, "complex128"),
        (17, "float8"),
        (18, "float8"),
        (21, "uint4"),
        (22, "int4"),
    ];
    let name = NAMES.iter().find(|(number, _)| *number == data_type);
    name.map_or_else(|| format!("type {data_type}"), |(_, name)| (*name).to_owned())
}

impl Stored {
    /// Checks a tensor. `folder` is where other files may be, if they are allowed.
    ///
    /// # Errors
    /// [`Error::Data`] if the shape is invalid or does not fit the number of elements, or the type cannot be read.
    pub fn new(tensor: proto::Tensor, folder: Option<&Path>) -> Result<Self> {
        let name = tensor.name.clone();
        Self::take(tensor, folder).map_err(|e| e.at(format!("tensor {}", Untrusted::short(&name))))
    }

    fn take(tensor: proto::Tensor, folder: Option<&Path>) -> Result<Self> {
        let absurd = || {
            Error::data(format!("its sizes {:?} make no sense", brief(&tensor.dims)))
                .hint("get the file again")
        };
        let shape: Vec<usize> =
            tensor.dims.iter().map(|d| usize::try_from(*d).map_err(|_| absurd())).collect::<Result<_>>()?;
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or_else(absurd)?;
        let Some((dtype, width)) = dtype(tensor.data_type) else {
            return Err(Error::data(format!("it holds {}, which is not read", unread(tensor.data_type)))
                .hint("export the network with f32, f16, bf16 or f64 weights"));
        };
        let bytes = elements.checked_mul(width).ok_or_else(absurd)?;
        if shape.len() > MOST_DIMENSIONS {
            return Err(Error::data(format!("it has {} dimensions", shape.len()))
                .hint("weights of images have at most four"));
        }
        let (numbers, given) = if tensor.data_location == 1 || !tensor.external_data.is_empty() {
            (Numbers::External(External::find(&tensor.external_data, folder, bytes as u64)?), elements)
        } else if !tensor.raw_data.is_empty() {
            if tensor.raw_data.len() != bytes {
                let what =
                    format!("its shape {shape:?} takes {bytes} bytes, but it has {}", tensor.raw_data.len());
                return Err(Error::data(what).hint("the file is damaged; get it again"));
            }
            (Numbers::Raw(tensor.raw_data), elements)
        } else {
            match dtype {
                Dtype::F32 => {
                    let n = tensor.float_data.len();
                    (Numbers::Floats(tensor.float_data), n)
                }
                Dtype::F64 => {
                    let n = tensor.double_data.len();
                    (Numbers::Doubles(tensor.double_data), n)
                }
                Dtype::Integer("int64") => {
                    let n = tensor.int64_data.len();
                    (Numbers::Long(tensor.int64_data), n)
                }
                _ => {
                    let n = tensor.int32_data.len();
                    (Numbers::Short(tensor.int32_data), n)
                }
            }
        };
        if given != elements {
            let what = format!("its shape {shape:?} takes {elements} numbers, but it has {given}");
            return Err(Error::data(what).hint("the file is damaged; get it again"));
        }
        Ok(Self { name: tensor.name, entry: Entry { shape, dtype }, width, numbers })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape and the type.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Decodes some elements as f32, in row-major order. For integers the result is empty.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has fewer elements, [`Error::Io`] if another file cannot be read.
    pub fn read(&self, part: Range<usize>) -> Result<Vec<f32>> {
        let beyond = || Error::internal("numbers beyond those of a tensor").at(&self.name);
        if part.start > part.end || part.end > self.entry.elements() {
            return Err(beyond());
        }
        let dtype = self.entry.dtype;
        Ok(match &self.numbers {
            Numbers::Floats(all) => all.get(part).ok_or_else(beyond)?.to_vec(),
            Numbers::Doubles(all) => all.get(part).ok_or_else(beyond)?.iter().map(|x| *x as f32).collect(),
            Numbers::Short(all) => {
                let bits: Vec<u8> = all
                    .get(part)
                    .ok_or_else(beyond)?
                    .iter()
                    .flat_map(|x| (*x as u16).to_le_bytes())
                    .collect();
                dtype.decode(&bits)
            }
            Numbers::Long(_) => Vec::new(),
            Numbers::Raw(_) | Numbers::External(_) => dtype.decode(&self.bytes(part)?),
        })
    }

    /// Whether single elements can be decoded in any order.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.numbers, Numbers::Raw(_) | Numbers::Floats(_))
    }

    /// Decodes the elements at these positions, in any order, as f32.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub fn gather(&self, places: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let whole;
        let (dtype, all) = (self.entry.dtype, 0..self.entry.elements());
        let from: &dyn Fn(usize) -> Option<f32> = match &self.numbers {
            Numbers::Floats(all) => &|i| all.get(i).copied(),
            // Without a copy: the weights of a layer may be as large as the file.
            Numbers::Raw(bytes) if dtype == Dtype::F32 => {
                &|i: usize| bytes.get(i.checked_mul(4)?..)?.first_chunk::<4>().map(|b| f32::from_le_bytes(*b))
            }
            Numbers::Raw(bytes) => {
                let width = self.width;
                &move |i: usize| {
                    let at = i.checked_mul(width)?;
                    dtype.decode(bytes.get(at..at.checked_add(width)?)?).first().copied()
                }
            }
            _ => {
                whole = self.read(all)?;
                &|i| whole.get(i).copied()
            }
        };
        places
            .map(|i| {
                from(i).ok_or_else(|| Error::internal("a number beyond those of a tensor").at(&self.name))
            })
            .collect()
    }

    /// All elements as integers.
    ///
    /// # Errors
    /// [`Error::Data`] if they are not integers or more than `most`; otherwise as [`Stored::read`].
    pub fn integers(&self, most: usize) -> Result<Vec<i64>> {
        let (elements, width) = (self.entry.elements(), self.width);
        let Dtype::Integer(name) = self.entry.dtype else {
            return Err(
                Error::data(format!("it holds {}, not integers", self.entry.dtype.name())).at(&self.name)
            );
        };
        if elements > most {
            return Err(
                Error::data(format!("{elements} integers are more than a shape takes")).at(&self.name)
            );
        }
        Ok(match &self.numbers {
            Numbers::Long(all) => all.clone(),
            Numbers::Short(all) => all.iter().map(|x| i64::from(*x)).collect(),
            Numbers::Floats(_) | Numbers::Doubles(_) => Vec::new(),
            Numbers::Raw(_) | Numbers::External(_) => {
                let bytes = self.bytes(0..elements)?;
                let signed = name != "uint8" && name != "bool";
                bytes.chunks_exact(width.max(1)).map(|b| integer(b, signed)).collect()
            }
        })
    }

    /// The bytes of some elements; empty for elements that were decoded with the file.
    fn bytes(&self, part: Range<usize>) -> Result<Cow<'_, [u8]>> {
        // This cannot overflow: the bytes of all elements were counted.
        let part = part.start * self.width..part.end * self.width;
        match &self.numbers {
            Numbers::Raw(bytes) => Ok(Cow::Borrowed(bytes.get(part).unwrap_or_default())),
            Numbers::External(external) => Ok(Cow::Owned(external.read(part)?)),
            _ => Ok(Cow::Borrowed(&[])),
        }
    }
}

/// A little-endian integer of up to eight bytes.
fn integer(bytes: &[u8], signed: bool) -> i64 {
    let negative = signed && bytes.last().is_some_and(|b| b & 0x80 != 0);
    bytes.iter().rev().fold(if negative { -1 } else { 0 }, |n, b| n << 8 | i64::from(*b))
}

/// The first of a list of numbers.
fn brief(numbers: &[i64]) -> &[i64] {
    numbers.get(..8).unwrap_or(numbers)
}
