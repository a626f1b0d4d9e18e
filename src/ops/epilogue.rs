//! Operations that a kernel does on the way out: fewer passes over memory.

use super::Buf;
use super::sgd::Update;
use crate::error::Result;
use std::ops::Range;

/// An operation that can follow another one in the same kernel, in the order in which they may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `(v - mean) * scale + shift` of each channel: batch norm with fixed statistics.
    Affine,
    /// Adds another activation of the same shape.
    Residual,
    /// `max(v, 0)`.
    Relu,
    /// Keeps v where another activation of the same shape is positive, else 0: the gradient of ReLU.
    Mask,
    /// The step of SGD with v as the gradient, which then is not written.
    Update,
}

/// What a kernel does with each number of its result before it writes it: first the affine map, then the sum, then ReLU or the
/// mask; or what it changes by it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue {
    /// Mean, scale and shift, `(3, C)`.
    pub affine: Option<Buf>,
    /// What is added.
    pub residual: Option<Buf>,
    /// Whether ReLU comes last.
    pub relu: bool,
    /// What must be positive where a number is kept.
    pub mask: Option<Buf>,
    /// What changes by the result, which itself is not written.
    pub update: Option<Update>,
}

impl Epilogue {
    /// The activations that it reads.
    pub(crate) fn activations(&self) -> impl Iterator<Item = Buf> {
        self.residual.into_iter().chain(self.mask)
    }

    /// The same for some pictures.
    ///
    /// # Errors
    /// As [`Buf::images`].
    pub(crate) fn images(&self, images: &Range<usize>) -> Result<Self> {
        let part = |buf: Option<Buf>| buf.map(|b| b.images(images.clone())).transpose();
        Ok(Self { residual: part(self.residual)?, mask: part(self.mask)?, ..*self })
    }
}
