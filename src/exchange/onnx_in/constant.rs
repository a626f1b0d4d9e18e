//! Values that do not depend on the input: views of tensors of the file, and small computed values.

use super::budget::{Budget, MOST_REPEATED};
use super::node::DAMAGED;
use crate::error::{Error, Result};
use crate::weights::onnx::Stored;
use crate::weights::{Dtype, Entry};
use std::sync::Arc;

/// A constant with a shape.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    /// The name of the tensor in the file, or of the computed value.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Numbers,
}

/// Where the numbers of a constant are.
#[derive(Debug, Clone)]
pub(super) enum Numbers {
    /// In the file, with the stride along each axis.
    Stored(Arc<Stored>, Vec<usize>),
    Ints(Arc<[i64]>),
    Floats(Arc<[f32]>),
    /// One number, repeated.
    Fill(f32),
    FillInt(i64),
}

/// The number of elements of a shape.
///
/// # Errors
/// [`Error::Data`] if it overflows.
pub(super) fn elements(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .ok_or_else(|| Error::data(format!("a constant of the sizes {shape:?}")).hint(DAMAGED))
}

/// The strides of a shape in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        if let (Some(next), Some(size)) = (strides.get(i).copied(), shape.get(i))
            && let Some(stride) = strides.get_mut(i - 1)
        {
            *stride = next.saturating_mul(*size);
        }
    }
    strides
}

/// The offsets of elements of a shape with these strides, from the element `from` on in row-major order.
pub(super) fn places(
    shape: &[usize],
    strides: &[usize],
    from: usize,
    count: usize,
) -> impl Iterator<Item = usize> {
    let order = row_major(shape);
    // The index along each axis, innermost first. It is incremented rather than computed anew, because there may be a hundred million.
    let mut axes: Vec<(usize, usize, usize)> = shape
        .iter()
        .zip(strides)
        .zip(order)
        .map(|((size, stride), row)| (*size, *stride, (from / row.max(1)) % (*size).max(1)))
        .rev()
        .collect();
    let mut place: usize = axes.iter().map(|(_, stride, at)| at * stride).sum();
    (0..count).map(move |_| {
        let this = place;
        for (size, stride, at) in &mut axes {
            *at += 1;
            place += *stride;
            if at < size {
                break;
            }
            place -= *at * *stride;
            *at = 0;
        }
        this
    })
}

impl Constant {
    pub(super) fn stored(tensor: &Arc<Stored>) -> Self {
        let shape = tensor.entry().shape.clone();
        let strides = row_major(&shape);
        Self { name: tensor.name().to_owned(), shape, numbers: Numbers::Stored(Arc::clone(tensor), strides) }
    }

    pub(super) fn ints(name: &str, shape: Vec<usize>, values: Vec<i64>) -> Self {
        Self { name: name.to_owned(), shape, numbers: Numbers::Ints(values.into()) }
    }

    pub(super) fn floats(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name: name.to_owned(), shape, numbers: Numbers::Floats(values.into()) }
    }

    /// Gives it the name of the value, unless it has the name of a tensor.
    pub(super) fn called(mut self, name: &str) -> Self {
        if self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
        self
    }

    /// A constant that repeats one number.
    ///
    /// # Errors
    /// [`Error::Data`] if the shape has too many numbers.
    pub(super) fn repeated(name: &str, shape: Vec<usize>, numbers: Numbers) -> Result<Self> {
        let count = elements(&shape)?;
        if count > MOST_REPEATED {
            let what = format!("a constant of {count} numbers is more than any layer here has");
            return Err(Error::data(what).hint(DAMAGED));
        }
        Ok(Self { name: name.to_owned(), shape, numbers })
    }

    pub(super) fn is_integer(&self) -> bool {
        match &self.numbers {
            Numbers::Stored(tensor, _) => matches!(tensor.entry().dtype, Dtype::Integer(_)),
            Numbers::Ints(_) | Numbers::FillInt(_) => true,
            Numbers::Floats(_) | Numbers::Fill(_) => false,
        }
    }

    pub(super) fn elements(&self) -> Result<usize> {
        elements(&self.shape)
    }

    /// The shape and the type.
    pub(super) fn entry(&self) -> Entry {
        let dtype = match &self.numbers {
            Numbers::Stored(tensor, _) => tensor.entry().dtype,
            Numbers::Ints(_) | Numbers::FillInt(_) => Dtype::Integer("int64"),
            Numbers::Floats(_) | Numbers::Fill(_) => Dtype::F32,
        };
        Entry { shape: self.shape.clone(), dtype }
    }

    /// The numbers as integers.
    ///
    /// # Errors
    /// [`Error::Data`] if they are not integers, or too many.
    pub(super) fn to_ints(&self, budget: &Budget) -> Result<Vec<i64>> {
        let count = self.elements()?;
        budget.take(count)?;
        match &self.numbers {
            Numbers::Ints(values) => Ok(values.to_vec()),
            Numbers::FillInt(value) => Ok(vec![*value; count]),
            Numbers::Stored(tensor, strides) => {
                let all = tensor.integers(tensor.entry().elements())?;
                let at = |i: usize| {
                    all.get(i).copied().ok_or_else(|| Error::internal("a place beyond a constant"))
                };
                places(&self.shape, strides, 0, count).map(at).collect()
            }
            Numbers::Floats(_) | Numbers::Fill(_) => {
                Err(Error::data(format!("{} holds no integers", self.name)).hint(DAMAGED))
            }
        }
    }

    /// The numbers as f32.
    ///
    /// # Errors
    /// As [`Constant::to_ints`]; [`Error::Data`] with the name if there is NaN or infinity.
    pub(super) fn to_floats(&self, budget: &Budget) -> Result<Vec<f32>> {
        let count = self.elements()?;
        budget.take(count)?;
        let values = self.part(0, count)?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::data(format!("NaN or infinity in {}", self.name))
                .hint("the training that made it had diverged; use an earlier file"));
        }
        Ok(values)
    }

    /// Some numbers as f32, in row-major order.
    ///
    /// # Errors
    /// [`Error::Data`] if it holds integers, otherwise as [`Stored::read`].
    pub(super) fn part(&self, from: usize, count: usize) -> Result<Vec<f32>> {
        match &self.numbers {
            Numbers::Floats(values) => {
                let part = values.get(from..from.saturating_add(count));
                Ok(part.ok_or_else(|| Error::internal("numbers beyond a constant"))?.to_vec())
            }
            Numbers::Fill(value) => Ok(vec![*value; count]),
            Numbers::Stored(tensor, strides) if !self.is_integer() => {
                if *strides == row_major(&self.shape) {
                    return tensor.read(from..from.saturating_add(count));
                }
                tensor.gather(places(&self.shape, strides, from, count))
            }
            _ => Err(Error::data(format!("{} holds {}", self.name, self.entry().dtype.name()))
                .hint("quantised networks are not read; give the one with floating-point weights")),
        }
    }

    /// Reshapes it.
    pub(super) fn reshaped(&self, shape: Vec<usize>, budget: &Budget) -> Result<Self> {
        if elements(&shape)? != self.elements()? {
            let what = format!("{} of the sizes {:?} cannot have the sizes {shape:?}", self.name, self.shape);
            return Err(Error::data(what).hint(DAMAGED));
        }
        let numbers = match &self.numbers {
            Numbers::Stored(tensor, strides) if *strides == row_major(&self.shape) => {
                Numbers::Stored(Arc::clone(tensor), row_major(&shape))
            }
            Numbers::Stored(..) if self.is_integer() => Numbers::Ints(self.to_ints(budget)?.into()),
            Numbers::Stored(..) => Numbers::Floats(self.to_floats(budget)?.into()),
            other => other.clone(),
        };
        Ok(Self { name: self.name.clone(), shape, numbers })
    }

    /// Transposes its axes.
    pub(super) fn transposed(&self, order: &[usize], budget: &Budget) -> Result<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.shape.len()) {
            let what = format!("the order {order:?} for {} sizes", self.shape.len());
            return Err(Error::data(what).hint(DAMAGED));
        }
        let moved = |sizes: &[usize]| order.iter().filter_map(|i| sizes.get(*i).copied()).collect::<Vec<_>>();
        let shape = moved(&self.shape);
        let numbers = match &self.numbers {
            Numbers::Stored(tensor, strides) => Numbers::Stored(Arc::clone(tensor), moved(strides)),
            Numbers::Fill(_) | Numbers::FillInt(_) => self.numbers.clone(),
            Numbers::Ints(_) | Numbers::Floats(_) => {
                let strides = moved(&row_major(&self.shape));
                let places: Vec<usize> = places(&shape, &strides, 0, self.elements()?).collect();
                return self.picked(shape, &places, budget);
            }
        };
        Ok(Self { name: self.name.clone(), shape, numbers })
    }

    /// Reorders the rows of a matrix, which are maps with channels last, to `[K, C, H, W]`.
    pub(super) fn channels_first(&self, [h, w, c]: [usize; 3], budget: &Budget) -> Result<Self> {
        let rows = self.shape.first().copied().unwrap_or(0);
        let split = match &self.numbers {
            // The strides within a row are known, whatever those of the whole are.
            Numbers::Stored(tensor, strides)
                if strides.len() == 2 && self.elements()? == elements(&[rows, h, w, c])? =>
            {
                let (row, one) =
                    (strides.first().copied().unwrap_or(0), strides.get(1).copied().unwrap_or(0));
                let line = one.saturating_mul(c);
                let strides = vec![row, line.saturating_mul(w), line, one];
                let numbers = Numbers::Stored(Arc::clone(tensor), strides);
                Self { name: self.name.clone(), shape: vec![rows, h, w, c], numbers }
            }
            _ => self.reshaped(vec![rows, h, w, c], budget)?,
        };
        split.transposed(&[0, 3, 1, 2], budget)
    }

    /// The numbers at these positions in row-major order.
    pub(super) fn picked(&self, shape: Vec<usize>, places: &[usize], budget: &Budget) -> Result<Self> {
        let beyond =
            || Error::data(format!("a place beyond the {:?} of {}", self.shape, self.name)).hint(DAMAGED);
        let numbers = if self.is_integer() {
            let all = self.to_ints(budget)?;
            budget.take(places.len())?;
            Numbers::Ints(
                places.iter().map(|i| all.get(*i).copied().ok_or_else(beyond)).collect::<Result<_>>()?,
            )
        } else {
            let all = self.to_floats(budget)?;
            budget.take(places.len())?;
            Numbers::Floats(
                places.iter().map(|i| all.get(*i).copied().ok_or_else(beyond)).collect::<Result<_>>()?,
            )
        };
        // The numbers are others, so the result must not have the name of the tensor.
        Ok(Self { name: String::new(), shape, numbers })
    }
}
