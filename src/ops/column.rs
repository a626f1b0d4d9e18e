//! What a kernel sees of the columns of its result while it stores them, for the operation that sums over them: batch norm need not read
//! again what a convolution has just computed.

use super::{Buf, Epilogue, Recorder};

const UNSEEN: &str = include_str!("../../shaders/column_unseen.wgsl");
const STATISTICS: &str = include_str!("../../shaders/column_statistics.wgsl");
const SUMS: &str = include_str!("../../shaders/column_sums.wgsl");
const MAP: &str = include_str!("../../shaders/epilogue_map.wgsl");

/// What an operation sums over all pixels of an input: it does so itself unless that was seen already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Mean and squared deviations.
    Statistics,
    /// The sum, and that weighted by what another input is away from its mean. Positions of the operation's inputs.
    Sums {
        /// The weights.
        x: usize,
        /// Their statistics.
        statistics: usize,
    },
}

/// What a kernel looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    Statistics,
    Sums,
}

/// The same with what it needs for that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) sought: Sought,
    /// Of sums the weights and their statistics.
    pub(crate) by: Option<[Buf; 2]>,
}

/// What was seen: sums of some rows each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) buf: Buf,
    pub(crate) count: u32,
}

/// `vec4`s of a part of statistics of `c4` `vec4`s of channels: mean, squared deviations, count.
pub(super) fn statistics_pitch4(c4: u32) -> u32 {
    2 * c4 + 1
}

/// `vec4`s of a part of sums.
pub(super) fn sums_pitch4(c4: u32) -> u32 {
    2 * c4
}

impl Look {
    /// For [`Wants::Statistics`].
    pub(crate) const STATISTICS: Self = Self { sought: Sought::Statistics, by: None };

    /// For [`Wants::Sums`].
    pub(crate) fn sums(x: Buf, statistics: Buf) -> Self {
        Self { sought: Sought::Sums, by: Some([x, statistics]) }
    }

    /// Whether a kernel can look for it that adds a bias and does what follows: the operands of sums take the place of those of a bias and of an
    /// affine map.
    pub(super) fn goes_with(&self, bias: Option<Buf>, epilogue: &Epilogue) -> bool {
        self.sought == Sought::Statistics || (bias.is_none() && epilogue.affine.is_none())
    }

    /// Memory for so many parts.
    pub(super) fn parts(self, r: &mut Recorder, count: u32, c4: u32) -> Parts {
        let pitch4 = match self.sought {
            Sought::Statistics => statistics_pitch4(c4),
            Sought::Sums => sums_pitch4(c4),
        };
        Parts { buf: r.workspace(u64::from(count) * u64::from(pitch4) * 16), count }
    }
}

/// What a kernel that stores the numbers of a result is joined with: what comes first of what follows, and who looks.
pub(super) fn texts(sought: Option<Sought>) -> &'static [&'static str] {
    match sought {
        None => &[MAP, UNSEEN],
        Some(Sought::Statistics) => &[MAP, STATISTICS],
        // It has its own instead of a bias and an affine map.
        Some(Sought::Sums) => &[SUMS],
    }
}

/// For a kernel that stores nothing.
pub(super) const NOBODY_LOOKS: &str = UNSEEN;

/// The first operands of what follows, a bias and an affine map, or what takes their place.
pub(super) fn operands(look: Option<Look>, [a, bias, affine, residual, mask, b]: [Buf; 6]) -> [Buf; 6] {
    match look.and_then(|look| look.by) {
        Some([x, statistics]) => [a, statistics, x, residual, mask, b],
        None => [a, bias, affine, residual, mask, b],
    }
}
