//! A parameter of an imported network: a constant in PyTorch's layout, with the changes that were folded into it.

use super::constant::{Constant, Numbers};
use crate::error::{Error, Result};
use crate::weights::{Dtype, Entry, Source, entry};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How the numbers of a parameter are computed from those of the file: `scale * (constant with padding) + add -
/// minus`.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    constant: Constant,
    /// The shape in PyTorch. Its first size is that of the constant.
    shape: Vec<usize>,
    /// The rows and columns of zeros around each filter.
    pad: [[usize; 2]; 2],
    scale: f32,
    add: f32,
    minus: Option<Arc<Weight>>,
}

impl Weight {
    pub(super) fn new(constant: Constant) -> Self {
        let shape = constant.shape.clone();
        Self { constant, shape, pad: [[0; 2]; 2], scale: 1.0, add: 0.0, minus: None }
    }

    /// `count` times the same number.
    pub(super) fn repeated(value: f32, count: usize) -> Self {
        Self::new(Constant { name: String::new(), shape: vec![count], numbers: Numbers::Fill(value) })
    }

    pub(super) fn scaled(self, scale: f32) -> Self {
        Self { scale: self.scale * scale, ..self }
    }

    pub(super) fn plus(self, add: f32) -> Self {
        Self { add: self.add + add, ..self }
    }

    pub(super) fn less(self, other: Self) -> Self {
        Self { minus: Some(Arc::new(other)), ..self }
    }

    /// Pads filters of rank four with zeros.
    pub(super) fn padded(self, pad: [[usize; 2]; 2]) -> Self {
        let mut shape = self.constant.shape.clone();
        for (size, [before, after]) in shape.iter_mut().skip(2).zip(pad) {
            *size = size.saturating_add(before).saturating_add(after);
        }
        Self { pad, shape, ..self }
    }

    /// Reshapes each row.
    pub(super) fn shaped(self, shape: Vec<usize>) -> Self {
        Self { shape, ..self }
    }

    /// The name of the constant.
    pub(super) fn name(&self) -> &str {
        &self.constant.name
    }

    /// The shape in PyTorch.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn entry(&self) -> Entry {
        Entry { shape: self.shape.clone(), dtype: self.constant.entry().dtype }
    }

    /// Whether two are the same. No numbers are compared.
    pub(super) fn is(&self, other: &Self) -> bool {
        let numbers = match (&self.constant.numbers, &other.constant.numbers) {
            (Numbers::Stored(a, s), Numbers::Stored(b, t)) => Arc::ptr_eq(a, b) && s == t,
            (Numbers::Floats(a), Numbers::Floats(b)) => Arc::ptr_eq(a, b) || a == b,
            (Numbers::Fill(a), Numbers::Fill(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        };
        let minus = match (&self.minus, &other.minus) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.is(b),
            _ => false,
        };
        numbers
            && minus
            && self.constant.shape == other.constant.shape
            && (&self.shape, self.pad) == (&other.shape, other.pad)
            && [self.scale, self.add].map(f32::to_bits) == [other.scale, other.add].map(f32::to_bits)
    }

    /// Reads some rows in row-major order.
    ///
    /// # Errors
    /// [`Error::Data`] with the name of the tensor if there is NaN or infinity; otherwise the errors of reading the file.
    pub(super) fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let beyond = || Error::internal("rows beyond those of a parameter").at(self.name());
        let all = self.constant.shape.first().copied().unwrap_or(1);
        if rows.start > rows.end || rows.end > all {
            return Err(beyond());
        }
        let row = self.constant.elements()?.checked_div(all).unwrap_or(0);
        let mut values = self.constant.part(row * rows.start, row * rows.len())?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::data(format!("NaN or infinity in {}", self.name()))
                .hint("the training that made it had diverged; use an earlier file"));
        }
        if self.pad != [[0; 2]; 2] {
            values = self.widened(&values).ok_or_else(beyond)?;
        }
        if self.scale != 1.0 || self.add != 0.0 {
            values.iter_mut().for_each(|x| *x = self.scale * *x + self.add);
        }
        if let Some(minus) = &self.minus {
            for (value, other) in values.iter_mut().zip(minus.rows(rows)?) {
                *value -= other;
            }
        }
        Ok(values)
    }

    /// Whether reading some rows costs only their share, see [`Source::reads_by_rows`].
    fn reads_by_rows(&self) -> bool {
        let of_constant = match &self.constant.numbers {
            Numbers::Stored(stored, _) => stored.is_in_memory(),
            _ => true,
        };
        of_constant && self.minus.as_ref().is_none_or(|minus| minus.reads_by_rows())
    }

    /// Adds the zeros around filters.
    fn widened(&self, values: &[f32]) -> Option<Vec<f32>> {
        let [_, _, height, width] = *self.constant.shape.as_slice() else { return None };
        let [[top, bottom], [left, right]] = self.pad;
        let mut wide = Vec::new();
        for filter in values.chunks_exact((height * width).max(1)) {
            wide.resize(wide.len() + top * (left + width + right), 0.0);
            for line in filter.chunks_exact(width.max(1)) {
                wide.resize(wide.len() + left, 0.0);
                wide.extend_from_slice(line);
                wide.resize(wide.len() + right, 0.0);
            }
            wide.resize(wide.len() + bottom * (left + width + right), 0.0);
        }
        Some(wide)
    }

    /// Whether the numbers are floating-point.
    pub(super) fn is_float(&self) -> bool {
        !matches!(self.constant.entry().dtype, Dtype::Integer(_))
    }
}

/// The parameters of an imported network by name, in PyTorch's layout.
#[derive(Debug)]
pub struct Tensors {
    weights: BTreeMap<String, Weight>,
    entries: BTreeMap<String, Entry>,
}

impl Tensors {
    pub(super) fn new(weights: BTreeMap<String, Weight>) -> Self {
        let entries = weights.iter().map(|(name, w)| (name.clone(), w.entry())).collect();
        Self { weights, entries }
    }
}

impl Source for Tensors {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        entry(&self.entries, name, &rows)?;
        let weight =
            self.weights.get(name).ok_or_else(|| Error::internal("there is no such tensor").at(name))?;
        weight.rows(rows)
    }

    fn reads_by_rows(&self, name: &str) -> bool {
        self.weights.get(name).is_some_and(Weight::reads_by_rows)
    }
}
