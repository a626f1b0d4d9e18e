//! Operations that a kernel does on the way out: fewer passes over memory.

use super::Buf;

/// An operation that can follow another one in the same kernel, in the order in which they may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `(v - mean) * scale + shift` of each channel: batch norm with fixed statistics.
    Affine,
    /// Adds another activation of the same shape.
    Residual,
    /// `max(v, 0)`.
    Relu,
}

/// What a kernel does with each number of its result before it writes it: first the affine map, then the sum, then ReLU.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue {
    /// Mean, scale and shift, `(3, C)`.
    pub affine: Option<Buf>,
    /// What is added.
    pub residual: Option<Buf>,
    /// Whether ReLU comes last.
    pub relu: bool,
}
