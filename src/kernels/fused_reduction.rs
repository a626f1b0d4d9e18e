//! Reductions of each channel in the epilogue of the kernel that stores a tensor: batch norm need not read again what a convolution has
//! just computed. cuDNN's fused batch-norm statistics do the same.

use super::{Buf, Epilogue};

const NONE: &str = include_str!("../../shaders/epilogue/reduce_none.wgsl");
const MEAN_M2: &str = include_str!("../../shaders/epilogue/reduce_mean_m2.wgsl");
const SUM_DOT: &str = include_str!("../../shaders/epilogue/reduce_sum_dot.wgsl");
const AFFINE: &str = include_str!("../../shaders/epilogue/affine.wgsl");

/// What is reduced over all pixels of each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReductionKind {
    /// Mean, and sum of squared deviations (M2).
    MeanM2,
    /// Sum of dy, and of dy (x - mean).
    SumAndDot,
}

/// A reduction with its operands.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ChannelReduction {
    /// [`ReductionKind::MeanM2`].
    MeanM2,
    /// [`ReductionKind::SumAndDot`].
    SumAndDot {
        /// What the tensor is multiplied with.
        x: Buf,
        /// Mean and variance of x.
        statistics: Buf,
    },
}

/// Partial results that a consumer adds up or merges instead of reading a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partials {
    /// Where they lie, one after the other.
    pub buf: Buf,
    /// How many there are.
    pub count: u32,
    /// Where the first one begins, in `vec4`s.
    pub from4: u32,
}

impl Partials {
    /// `count` partials from the start of a buffer on.
    pub(crate) fn new(buf: Buf, count: u32) -> Self {
        Self { buf, count, from4: 0 }
    }
}

/// `vec4`s of a partial of [`ReductionKind::MeanM2`] of `c4` `vec4`s of channels: mean, M2, count.
pub(crate) fn mean_m2_pitch4(c4: u32) -> u32 {
    2 * c4 + 1
}

/// `vec4`s of a partial of [`ReductionKind::SumAndDot`].
pub(crate) fn sum_dot_pitch4(c4: u32) -> u32 {
    2 * c4
}

impl ChannelReduction {
    /// What it reduces.
    pub(crate) fn kind(&self) -> ReductionKind {
        match self {
            Self::MeanM2 => ReductionKind::MeanM2,
            Self::SumAndDot { .. } => ReductionKind::SumAndDot,
        }
    }

    /// Whether a kernel with this bias and epilogue can do it: the operands of [`ReductionKind::SumAndDot`] take the bindings of a bias
    /// and of an affine map.
    pub(crate) fn goes_with(&self, bias: Option<Buf>, epilogue: &Epilogue) -> bool {
        *self == Self::MeanM2 || (bias.is_none() && epilogue.affine.is_none())
    }

    /// Bytes of one partial of `c4` `vec4`s of channels.
    pub(crate) fn partial_bytes(&self, c4: u32) -> u64 {
        let pitch4 = match self.kind() {
            ReductionKind::MeanM2 => mean_m2_pitch4(c4),
            ReductionKind::SumAndDot => sum_dot_pitch4(c4),
        };
        16 * u64::from(pitch4)
    }
}

/// The WGSL texts of the first stage of an epilogue and of its reduction.
pub(crate) fn texts(kind: Option<ReductionKind>) -> &'static [&'static str] {
    match kind {
        None => &[AFFINE, NONE],
        Some(ReductionKind::MeanM2) => &[AFFINE, MEAN_M2],
        // It has a first stage of its own, without bias and affine map.
        Some(ReductionKind::SumAndDot) => &[SUM_DOT],
    }
}

/// The WGSL text for a kernel that stores nothing.
pub(crate) const NO_REDUCTION: &str = NONE;

/// The operands of a kernel and its epilogue, with those of the reduction in the bindings of bias and affine map.
pub(crate) fn operands(
    reduction: Option<ChannelReduction>,
    [a, bias, affine, residual, mask, b]: [Buf; 6],
) -> [Buf; 6] {
    match reduction {
        Some(ChannelReduction::SumAndDot { x, statistics }) => [a, statistics, x, residual, mask, b],
        Some(ChannelReduction::MeanM2) | None => [a, bias, affine, residual, mask, b],
    }
}
