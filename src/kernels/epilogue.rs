//! Epilogue fusion: elementwise operations that a kernel applies before it stores its result. They save passes over
//! memory.

use super::Buf;
use crate::error::Result;
use std::ops::Range;

/// The operands of an SGD step besides the gradient.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The vector of four step parameters of [`crate::graph::Graph::sgd`].
    pub step: Buf,
    /// The weights, updated in place.
    pub w: Buf,
    /// The velocity of the weights, updated in place.
    pub v: Buf,
    /// Whether the momentum is Nesterov's.
    pub nesterov: bool,
}

impl Update {
    /// The `override` constants of a kernel that takes the step.
    pub(crate) fn constants(&self) -> Vec<(&'static str, i32)> {
        if self.nesterov { vec![("NESTEROV", 1)] } else { Vec::new() }
    }
}

/// An operation that can run in the epilogue of another one. The variants are in the order in which the stages may
/// follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `(v - mean) * scale + shift` for each channel: batch norm with fixed statistics.
    Affine,
    /// Adds another activation of the same shape.
    Residual,
    /// `max(v, 0)`.
    Relu,
    /// Keeps v where another activation of the same shape is positive, otherwise 0: the gradient of ReLU.
    Mask,
    /// The SGD step with v as the gradient. v itself is not stored.
    Update,
}

/// The stages that a kernel applies to each number of its result before it stores the number: the affine map, then the
/// residual, then ReLU or the mask. With an update it changes the weights instead.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue {
    /// Mean, scale and shift of the affine map, `(3, C)`.
    pub affine: Option<Buf>,
    /// The activation that is added.
    pub residual: Option<Buf>,
    /// Whether ReLU is applied as the last stage.
    pub relu: bool,
    /// The activation that selects the numbers to keep: those where it is positive.
    pub mask: Option<Buf>,
    /// The SGD step that uses the result as its gradient. The result is not stored.
    pub update: Option<Update>,
}

impl Epilogue {
    /// The activations that the epilogue reads.
    pub(crate) fn activations(&self) -> impl Iterator<Item = Buf> {
        self.residual.into_iter().chain(self.mask)
    }

    /// The inputs of a kernel that includes `epilogue/stages.wgsl`: `a`, bias, affine, residual, mask, `b`. An unused
    /// stage still needs a buffer in its binding; `b` serves for it.
    pub(crate) fn reads(&self, a: Buf, bias: Option<Buf>, b: Buf) -> [Buf; 6] {
        let [bias, affine, residual, mask] =
            [bias, self.affine, self.residual, self.mask].map(|buf| buf.unwrap_or(b));
        [a, bias, affine, residual, mask, b]
    }

    /// The `override` constants of such a kernel.
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

    /// The epilogue for a range of images.
    ///
    /// # Errors
    /// As [`Buf::images`].
    pub(crate) fn images(&self, images: &Range<usize>) -> Result<Self> {
        let part = |buf: Option<Buf>| buf.map(|b| b.images(images.clone())).transpose();
        Ok(Self { residual: part(self.residual)?, mask: part(self.mask)?, ..*self })
    }
}
