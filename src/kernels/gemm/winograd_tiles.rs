//! The sizes in Winograd's algorithm: tiles, points, and the memory between its transforms.

use super::problem::{ConvOptions, ConvProblem, Pass};
use crate::kernels::KernelFamily;
use crate::tensor::{Precision, Shape};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The bytes between the transforms of a slice on processors: they should stay in the last-level cache.
pub(crate) const SLICE_BYTES: u64 = 12 << 20;
/// The bytes between the transforms of a slice on GPUs: a slice must keep the whole GPU busy.
const GPU_SLICE_BYTES: u64 = 48 << 20;
/// The number of tiles of a slice is a multiple of this: the rows of the products that one workgroup computes.
pub(crate) const SLICE_TILES: u64 = 64;

/// Which 3x3 convolutions of stride 1 are computed by Winograd's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WinogradMode {
    /// No convolution.
    Off,
    /// All possible ones, by F(2x2, 3x3): 16 multiplications for four numbers instead of 36.
    F2x2,
    /// All possible ones, by F(4x4, 3x3): 36 multiplications for 16 numbers instead of 144.
    F4x4,
    /// Those for which it was measured to be the fastest. Where nothing was measured, the cost model decides, which
    /// counts loads, stores and multiply-adds. There is no cost model for GPUs, so there it selects none.
    Auto,
}

/// The tile of the result that one set of products computes. Files use the names `two` and `four`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WinogradTile {
    /// F(2x2, 3x3).
    #[serde(rename = "two")]
    F2x2,
    /// F(4x4, 3x3).
    #[serde(rename = "four")]
    F4x4,
}

impl WinogradTile {
    /// The side of a tile of the result in pixels.
    pub(crate) fn side(self) -> usize {
        match self {
            Self::F2x2 => 2,
            Self::F4x4 => 4,
        }
    }

    /// The multiplications of a tile for each pair of channels.
    pub(crate) fn points(self) -> usize {
        (self.side() + 2).pow(2)
    }
}

impl fmt::Display for WinogradTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "winograd {0}x{0}", self.side())
    }
}

/// One of the three products of a convolution, with the shapes that its transforms need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WinogradConv {
    pub(crate) pass: Pass,
    /// The value that overlapping tiles are read from: `x`, or `dy` for the input gradient.
    pub(crate) from: Shape,
    pub(crate) w: Shape,
    /// The value that is divided into tiles: `y`, the gradient of `x` for the input gradient, or `dy` for the weight
    /// gradient.
    pub(crate) to: Shape,
    pub(crate) options: ConvOptions,
}

impl WinogradConv {
    /// The convolution of a problem.
    pub(crate) fn of(problem: &ConvProblem) -> Self {
        let ([n, h, w, c], [r, s, group_c, k], [p, q]) = (problem.x, problem.w, problem.map());
        let (x, y) = (Shape::image(n, h, w, c), Shape::image(n, p, q, k));
        let (from, to) = if problem.pass == Pass::InputGrad { (y, x) } else { (x, y) };
        let options = ConvOptions { stride: problem.stride, pad: problem.pad, groups: problem.groups };
        Self { pass: problem.pass, from, w: Shape::filter(r, s, group_c, k), to, options }
    }

    /// Whether the mode allows this tile for the convolution, and its buffers have at most `max_bytes` bytes.
    pub(crate) fn fits(&self, mode: WinogradMode, tile: WinogradTile, max_bytes: u64) -> bool {
        let allowed = match mode {
            WinogradMode::Off => false,
            WinogradMode::F2x2 => tile == WinogradTile::F2x2,
            WinogradMode::F4x4 => tile == WinogradTile::F4x4,
            WinogradMode::Auto => true,
        };
        allowed && self.is_possible() && {
            let [v, products] = self.tile_bytes(tile);
            v.max(products).max(self.filter_bytes(tile)) <= max_bytes
        }
    }

    pub(crate) fn is_dx(&self) -> bool {
        self.pass == Pass::InputGrad
    }

    pub(crate) fn is_possible(&self) -> bool {
        let [r, s, ..] = self.w.dims();
        let ConvOptions { stride, pad, groups } = self.options;
        [r, s] == [3, 3] && stride == [1, 1] && groups == 1 && (!self.is_dx() || pad.iter().all(|p| *p <= 2))
    }

    /// The channels of the input and of the result, with padding.
    pub(crate) fn channels(&self) -> [usize; 2] {
        let [_, _, c, k] = self.w.padded();
        if self.is_dx() { [k, c] } else { [c, k] }
    }

    /// The tiles of an image, down and across.
    pub(crate) fn grid(&self, tile: WinogradTile) -> [usize; 2] {
        let [_, p, q, _] = self.to.dims();
        [p, q].map(|side| side.div_ceil(tile.side()))
    }

    /// The tiles of all images.
    pub(crate) fn tiles(&self, tile: WinogradTile) -> u64 {
        let [images, ..] = self.to.dims();
        let [down, across] = self.grid(tile);
        (images * down * across) as u64
    }

    /// The bytes of the transformed weights, or of the sums of the weight gradient.
    pub(crate) fn filter_bytes(&self, tile: WinogradTile) -> u64 {
        let [c, k] = self.channels().map(|c| c as u64);
        4 * tile.points() as u64 * c * k
    }

    /// The bytes of a tile after the input transform and before the output transform; for the weight gradient, after
    /// the transform of each operand.
    pub(crate) fn tile_bytes(&self, tile: WinogradTile) -> [u64; 2] {
        self.channels().map(|c| (4 * tile.points() * c) as u64)
    }

    /// The number of tiles of a slice, chosen so that the data between the transforms stays small.
    pub(crate) fn usual_slice(&self, tile: WinogradTile, family: KernelFamily) -> u64 {
        let bytes = if family == KernelFamily::Tiled { GPU_SLICE_BYTES } else { SLICE_BYTES };
        // Each slice loads and stores the sums of the weight gradient.
        let sums = if self.pass == Pass::WeightGrad { self.filter_bytes(tile) } else { 0 };
        let [v, products] = self.tile_bytes(tile);
        let most = (bytes.max(sums) / (v + products).max(1)).max(SLICE_TILES);
        most - most % SLICE_TILES
    }

    /// The products of all points as one problem: a 1x1 convolution of a row of pixels, one for each tile, with one
    /// group for each point.
    pub(crate) fn products(&self, tile: WinogradTile, tiles: usize) -> ConvProblem {
        let points = tile.points();
        let [c, k] = self.channels();
        ConvProblem {
            pass: if self.pass == Pass::WeightGrad { Pass::WeightGrad } else { Pass::Forward },
            x: [1, 1, tiles, points * c],
            w: [1, 1, c, points * k],
            stride: [1, 1],
            pad: [0, 0],
            groups: points,
            precision: Precision::F32,
        }
    }
}
