//! The interface of files of tensors. Tensors are read one by one or by rows, so a file is never in memory as a whole.

use super::Tensor;
use crate::error::{Error, Result, Untrusted};
use std::collections::BTreeMap;
use std::ops::Range;

/// The type of the numbers of a tensor in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64; becomes the nearest f32.
    F64,
    /// Integers and truth values, which are not weights, with the name of the type in the format.
    Integer(&'static str),
}

impl Dtype {
    /// The size of a number in bytes; 0 for integers, which are not read.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Integer(_) => 0,
        }
    }

    /// The name of the type: `f16`, `bf16`, `f32`, `f64`, `int64`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Integer(name) => name,
        }
    }

    /// Decodes little-endian numbers to f32. An incomplete number at the end is ignored.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            // All machines that wgpu supports are little-endian.
            Self::F32 => bytemuck::pod_collect_to_vec(bytes.as_chunks::<4>().0),
            Self::F64 => bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            Self::Bf16 => {
                bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()
            }
            Self::F16 => {
                bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
            }
            Self::Integer(_) => Vec::new(),
        }
    }

    /// Encodes some numbers of the tensor `name` as little-endian numbers of this type, rounded to the nearest, ties to even.
    ///
    /// # Errors
    /// [`Error::Data`] with the name of the tensor if a number is NaN or infinite, or becomes infinite in this type.
    pub fn encode(self, name: &str, numbers: &[f32]) -> Result<Vec<u8>> {
        if numbers.iter().any(|x| !x.is_finite()) {
            return not_finite(&[name.to_owned()]).map_or_else(|| Ok(Vec::new()), Err);
        }
        let mut fits = true;
        let mut narrow = |finite: bool, bytes: [u8; 2]| {
            fits &= finite;
            bytes
        };
        let bytes: Vec<u8> = match self {
            Self::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64 => numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
            Self::Bf16 => {
                let halves = numbers.iter().map(|x| half::bf16::from_f32(*x));
                halves.flat_map(|x| narrow(x.is_finite(), x.to_le_bytes())).collect()
            }
            Self::F16 => {
                let halves = numbers.iter().map(|x| half::f16::from_f32(*x));
                halves.flat_map(|x| narrow(x.is_finite(), x.to_le_bytes())).collect()
            }
            Self::Integer(_) => Vec::new(),
        };
        if fits {
            return Ok(bytes);
        }
        let largest = numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        Err(Error::data(format!(
            "numbers up to {largest:e} in {} are too large for {}",
            Untrusted::short(name),
            self.name()
        ))
        .hint("nothing was written; write f32"))
    }
}

/// The error that names tensors with NaN or infinity; `None` if there are no names.
pub fn not_finite(bad: &[String]) -> Option<Error> {
    let few =
        bad.iter().take(5).map(|name| Untrusted::short(name).to_string()).collect::<Vec<_>>().join(", ");
    let what = match bad.len() {
        0 => return None,
        1 => format!("NaN or infinity in {few}"),
        n => format!("NaN or infinity in {n} tensors, among them {few}"),
    };
    Some(Error::data(what).hint("the training that made it had diverged; use an earlier file"))
}

/// The error of a tensor that does not fit into the memory of the host.
pub fn no_memory(bytes: u64) -> Error {
    Error::io(format!("there is no memory for {} MiB of a tensor", bytes >> 20))
        .hint("close other programs, or take a smaller network")
}

/// The description of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Sizes, slowest first; their product does not overflow.
    pub shape: Vec<usize>,
    /// The type of its numbers in the file.
    pub dtype: Dtype,
}

impl Entry {
    /// How many numbers it has; `usize::MAX` on overflow.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, size| n.saturating_mul(*size))
    }

    /// Whether it holds weights: it is not empty, and its numbers are not integers.
    pub fn is_weights(&self) -> bool {
        !matches!(self.dtype, Dtype::Integer(_)) && self.elements() > 0
    }

    /// How many rows it has: its first size, or 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// A file of named tensors.
pub trait Source: Send + Sync {
    /// The tensors by name.
    fn entries(&self) -> &BTreeMap<String, Entry>;

    /// Reads some rows of a tensor as f32, in row-major order. A row is an index of the first dimension. May be called from several
    /// threads.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no such tensor, it has fewer rows or holds integers;
    /// [`Error::Io`] and [`Error::Data`] if the file cannot be read.
    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>>;

    /// The names in the order in which the tensors were saved, if the file has kept it.
    fn order(&self) -> Option<&[String]> {
        None
    }

    /// Whether reading some rows of a tensor costs only their share of the whole tensor.
    fn reads_by_rows(&self, _name: &str) -> bool {
        false
    }

    /// The name of a tensor in the file. It differs from `name` if the tensors were renamed.
    fn original<'a>(&'a self, name: &'a str) -> &'a str {
        name
    }
}

impl<T: Source + ?Sized> Source for std::sync::Arc<T> {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        self.as_ref().entries()
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.as_ref().rows(name, rows)
    }

    fn order(&self) -> Option<&[String]> {
        self.as_ref().order()
    }

    fn reads_by_rows(&self, name: &str) -> bool {
        self.as_ref().reads_by_rows(name)
    }

    fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.as_ref().original(name)
    }
}

/// Finds a tensor, and checks that it has these rows.
///
/// # Errors
/// As [`Source::rows`].
pub fn entry<'a>(entries: &'a BTreeMap<String, Entry>, name: &str, rows: &Range<usize>) -> Result<&'a Entry> {
    let wrong = |what: &str| Error::internal(what.to_owned()).at(name);
    let entry = entries.get(name).ok_or_else(|| wrong("there is no such tensor"))?;
    if rows.start > rows.end || rows.end > entry.rows() {
        return Err(wrong("the tensor has not so many rows"));
    }
    if matches!(entry.dtype, Dtype::Integer(_)) {
        return Err(wrong("the tensor holds integers"));
    }
    Ok(entry)
}

/// Tensors in memory.
pub struct InMemory<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    entries: BTreeMap<String, Entry>,
}

impl<'a> InMemory<'a> {
    /// A source of these tensors.
    pub fn new(tensors: &'a BTreeMap<String, Tensor>) -> Self {
        let entry = |t: &Tensor| Entry { shape: t.shape.clone(), dtype: Dtype::F32 };
        let entries = tensors.iter().map(|(name, tensor)| (name.clone(), entry(tensor))).collect();
        Self { tensors, entries }
    }
}

impl Source for InMemory<'_> {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let found = entry(&self.entries, name, &rows)?;
        let tensor = self.tensors.get(name);
        let wanted = found.shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
        if tensor.is_some_and(|tensor| wanted != Some(tensor.data.len())) {
            let given = tensor.map_or(0, |tensor| tensor.data.len());
            return Err(Error::data(format!("{given} numbers for the shape {:?}", found.shape)).at(name));
        }
        let row = found.elements() / found.rows().max(1);
        let data = self.tensors.get(name).and_then(|t| t.data.get(rows.start * row..rows.end * row));
        data.map(<[f32]>::to_vec).ok_or_else(|| Error::internal("fewer numbers than its shape says").at(name))
    }

    fn reads_by_rows(&self, _name: &str) -> bool {
        true
    }
}
