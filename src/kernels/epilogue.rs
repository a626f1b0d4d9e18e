//! Operations that a kernel does on the way out: fewer passes over memory.

use super::Buf;
use crate::error::Result;
use std::ops::Range;

/// What a step of SGD works on besides the gradient.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The vector of four of [`crate::graph::Graph::sgd`].
    pub step: Buf,
    /// The weights, changed in place.
    pub w: Buf,
    /// Their velocity, changed in place.
    pub v: Buf,
}

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

    /// What a kernel that `epilogue/stages.wgsl` is joined to reads: `a`, what follows it, a bias first, and `b`. A stage that is
    /// none still has its binding, for which any buffer will do.
    pub(crate) fn reads(&self, a: Buf, bias: Option<Buf>, b: Buf) -> [Buf; 6] {
        let [bias, affine, residual, mask] =
            [bias, self.affine, self.residual, self.mask].map(|buf| buf.unwrap_or(b));
        [a, bias, affine, residual, mask, b]
    }

    /// The constants of such a kernel.
    pub(crate) fn constants(&self, bias: Option<Buf>) -> Vec<(&'static str, i32)> {
        let stages = [
            ("BIAS", bias.is_some()),
            ("AFFINE", self.affine.is_some()),
            ("RESIDUAL", self.residual.is_some()),
            ("RELU", self.relu),
            ("MASK", self.mask.is_some()),
        ];
        stages.into_iter().filter(|s| s.1).map(|(name, _)| (name, 1)).collect()
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
