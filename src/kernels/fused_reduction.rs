//! Fused reductions: the kernel that stores a tensor also reduces each channel in its epilogue. Batch norm then need
//! not read the result of a convolution again, like cuDNN's fused batch-norm statistics.

use super::{Buf, Epilogue};

const NONE: &str = include_str!("../../shaders/epilogue/reduce_none.wgsl");
const MEAN_M2: &str = include_str!("../../shaders/epilogue/reduce_mean_m2.wgsl");
const SUM_DOT: &str = include_str!("../../shaders/epilogue/reduce_sum_dot.wgsl");
const AFFINE: &str = include_str!("../../shaders/epilogue/affine.wgsl");

/// The quantity that is reduced over all pixels of each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReductionKind {
    /// The mean, and the sum of squared deviations (M2).
    MeanM2,
    /// The sum of dy, and of dy (x - mean).
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
        /// The other factor of the dot product.
        x: Buf,
        /// The mean and variance of x.
        statistics: Buf,
    },
}

/// Partial results. A consumer adds or merges them instead of reading a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partials {
    /// The buffer that contains the partials consecutively.
    pub buf: Buf,
    /// The number of partials.
    pub count: u32,
    /// The offset of the first partial in `vec4`s.
    pub from4: u32,
}

impl Partials {
    /// `count` partials that start at the beginning of a buffer.
    pub(crate) fn new(buf: Buf, count: u32) -> Self {
        Self { buf, count, from4: 0 }
    }
}

/// The size of a [`ReductionKind::MeanM2`] partial in `vec4`s, for `c4` `vec4`s of channels: mean, M2, count.
pub(crate) fn mean_m2_pitch4(c4: u32) -> u32 {
    2 * c4 + 1
}

/// The size of a [`ReductionKind::SumAndDot`] partial in `vec4`s, for `c4` `vec4`s of channels.
pub(crate) fn sum_dot_pitch4(c4: u32) -> u32 {
    2 * c4
}

impl ChannelReduction {
    /// The quantity that is reduced.
    pub(crate) fn kind(&self) -> ReductionKind {
        match self {
            Self::MeanM2 => ReductionKind::MeanM2,
            Self::SumAndDot { .. } => ReductionKind::SumAndDot,
        }
    }

    /// Whether a kernel with this bias and epilogue can compute the reduction. The operands of
    /// [`ReductionKind::SumAndDot`] use the bindings of the bias and of the affine map.
    pub(crate) fn goes_with(&self, bias: Option<Buf>, epilogue: &Epilogue) -> bool {
        *self == Self::MeanM2 || (bias.is_none() && epilogue.affine.is_none())
    }

    /// The size of one partial in bytes, for `c4` `vec4`s of channels.
    pub(crate) fn partial_bytes(&self, c4: u32) -> u64 {
        let pitch4 = match self.kind() {
            ReductionKind::MeanM2 => mean_m2_pitch4(c4),
            ReductionKind::SumAndDot => sum_dot_pitch4(c4),
        };
        16 * u64::from(pitch4)
    }
}

/// The WGSL texts of the first epilogue stage and of the reduction.
pub(crate) fn texts(kind: Option<ReductionKind>) -> &'static [&'static str] {
    match kind {
        None => &[AFFINE, NONE],
        Some(ReductionKind::MeanM2) => &[AFFINE, MEAN_M2],
        // Its text contains a first stage without bias and affine map.
        Some(ReductionKind::SumAndDot) => &[SUM_DOT],
    }
}

/// The WGSL text for a kernel without a reduction, such as one that stores no result.
pub(crate) const NO_REDUCTION: &str = NONE;

/// The inputs of a kernel, with the operands of the reduction in the bindings of bias and affine map.
pub(crate) fn operands(
    reduction: Option<ChannelReduction>,
    [a, bias, affine, residual, mask, b]: [Buf; 6],
) -> [Buf; 6] {
    match reduction {
        Some(ChannelReduction::SumAndDot { x, statistics }) => [a, statistics, x, residual, mask, b],
        Some(ChannelReduction::MeanM2) | None => [a, bias, affine, residual, mask, b],
    }
}
