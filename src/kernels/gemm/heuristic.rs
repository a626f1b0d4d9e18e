//! The heuristic: the algorithm of a product that was not measured.

use super::algorithm::Algorithm;
use super::problem::{ConvProblem, Pass};
use super::tiles::GemmKernel;
use super::winograd_tiles::{SLICE_BYTES, WinogradConv, WinogradMode, WinogradTile};
use crate::kernels::{KernelFamily, RecordOptions};
use crate::tensor::pad4;

/// The number of workgroups that keep a GPU busy: two for each of 64 multiprocessors.
const ENOUGH_WORKGROUPS: u64 = 128;
/// The most rows of a result that count as few: four workgroups of `gemm/subgroup.wgsl`.
const FEW_ROWS: u32 = 256;
/// Half of the smallest second-level cache that a core of current processors has, in bytes.
const CACHE_BYTES: u64 = 512 << 10;
/// The least and the most bytes of both operands in a k chunk of a weight gradient. The sums are loaded and stored
/// after each chunk, so larger sums need a longer chunk, even if only half of it fits the second-level cache and a part
/// is read twice.
const K_CHUNK_BYTES: [u64; 2] = [1 << 20, 2 << 20];
/// The least ratio of the bytes of a k chunk to the bytes of the sums.
const K_CHUNK_PER_SUMS: u64 = 8;
/// The least number of pixels of a split.
const SPLIT_PIXELS: u64 = 64;
/// The cost of a load or store in one of Winograd's transforms, with its arithmetic, in the cycles of [`cycles`].
const ACCESS_CYCLES: u64 = 150;

impl RecordOptions {
    /// Selects the algorithm of a problem: the cached one if the adapter supports it, otherwise the heuristic's.
    pub fn select(&self, problem: &ConvProblem) -> Algorithm {
        let cached = self.algorithms.get(problem).filter(|algorithm| self.supports(*algorithm, problem));
        cached.unwrap_or_else(|| self.heuristic(problem))
    }

    /// Whether the adapter can compute a problem by an algorithm.
    pub fn supports(&self, algorithm: Algorithm, problem: &ConvProblem) -> bool {
        let is_dw = problem.pass == Pass::WeightGrad;
        match algorithm {
            Algorithm::Gemm(kernel) => !is_dw && self.has(kernel, problem),
            Algorithm::SplitK { kernel, splits, k_chunk } => {
                is_dw && splits > 0 && k_chunk > 0 && self.has(kernel, problem)
            }
            Algorithm::Winograd { tile } => self.has_winograd(tile, problem),
        }
    }

    /// Whether a kernel can compute a problem on the adapter.
    pub(crate) fn has(&self, kernel: GemmKernel, problem: &ConvProblem) -> bool {
        let lanes = kernel.cooperative_lanes();
        (lanes.is_none() || lanes == self.cooperative)
            && kernel.fits(self.family, problem)
            && !self.excludes(&kernel, problem.pass, problem.precision)
    }

    /// Whether Winograd's algorithm with this tile can compute a problem on the adapter.
    fn has_winograd(&self, tile: WinogradTile, problem: &ConvProblem) -> bool {
        let conv = WinogradConv::of(problem);
        conv.fits(self.winograd, tile, self.limits.bindable_bytes())
            && (self.excluded.is_empty() || !self.excludes_winograd(&conv, tile, problem))
    }

    /// The heuristic's algorithm of a problem. For processors the heuristic is derived from measurements on llvmpipe,
    /// for GPUs from published ones: a larger tile needs fewer loads for a multiply-add, as long as all multiprocessors
    /// have work.
    pub fn heuristic(&self, problem: &ConvProblem) -> Algorithm {
        match self.winograd_tile(problem) {
            Some(tile) => Algorithm::Winograd { tile },
            None => self.gemm(problem),
        }
    }

    /// The heuristic's algorithm without Winograd's.
    pub(crate) fn gemm(&self, problem: &ConvProblem) -> Algorithm {
        let kernel = self.gemm_kernel(problem);
        match problem.pass {
            Pass::Forward | Pass::InputGrad => Algorithm::Gemm(kernel),
            Pass::WeightGrad => self.split_k(problem, kernel),
        }
    }

    /// The split-K algorithm of a weight gradient. Its result is small and its depth is large, so one workgroup for
    /// each tile would be too few.
    pub(crate) fn split_k(&self, problem: &ConvProblem, kernel: GemmKernel) -> Algorithm {
        let wanted = u64::from(self.busy_workgroups).div_ceil(workgroups(problem, kernel).max(1));
        let splits = wanted.min(problem.pixels().div_ceil(SPLIT_PIXELS)).max(1) as u32;
        Algorithm::SplitK { kernel, splits, k_chunk: k_chunk(problem, kernel, splits) }
    }

    /// The heuristic's kernel of a GEMM. If it computes wrongly on the adapter, the most similar kernel that does not.
    pub(crate) fn gemm_kernel(&self, problem: &ConvProblem) -> GemmKernel {
        self.gemm_kernel_in(problem, problem.pass)
    }

    /// Like [`RecordOptions::gemm_kernel`], for a product in a pass of a convolution by Winograd's algorithm.
    pub(super) fn gemm_kernel_in(&self, problem: &ConvProblem, pass: Pass) -> GemmKernel {
        let first = self.usual_kernel(problem);
        if self.excluded.is_empty() { first } else { self.instead_of(first, problem, pass) }
    }

    fn usual_kernel(&self, problem: &ConvProblem) -> GemmKernel {
        match self.family {
            KernelFamily::Tiled => tiled(problem),
            KernelFamily::Direct => self.direct(problem),
            KernelFamily::Subgroup => {
                let cost = |kernel: GemmKernel| workgroups(problem, kernel).saturating_mul(kernel.cost());
                let (direct, shared) = (self.direct(problem), subgroup(problem));
                if cost(shared) >= cost(direct) { direct } else { narrower(problem, shared) }
            }
        }
    }

    /// The tile of `gemm/direct.wgsl` with the fewest loads.
    fn direct(&self, problem: &ConvProblem) -> GemmKernel {
        let is_small = |kernel: &GemmKernel| matches!(kernel, GemmKernel::Direct { rows, cols4 } if rows * cols4 <= self.largest_tile);
        let possible = GemmKernel::DIRECT.into_iter().filter(|k| is_small(k) && k.fits(self.family, problem));
        possible.min_by_key(|kernel| direct_loads(problem, *kernel)).unwrap_or(GemmKernel::REFERENCE)
    }

    /// The heuristic's tile of Winograd's algorithm; `None` where it cannot or should not be used.
    fn winograd_tile(&self, problem: &ConvProblem) -> Option<WinogradTile> {
        let conv = WinogradConv::of(problem);
        let tile = match self.winograd {
            WinogradMode::Off => return None,
            WinogradMode::F2x2 => WinogradTile::F2x2,
            WinogradMode::F4x4 => WinogradTile::F4x4,
            WinogradMode::Auto => self.fastest_tile(&conv, problem)?,
        };
        self.has_winograd(tile, problem).then_some(tile)
    }

    /// The tile that [`WinogradMode::Auto`] selects. On processors a cost model in cycles selects it. For GPUs there is
    /// no such model, so it selects none.
    fn fastest_tile(&self, conv: &WinogradConv, problem: &ConvProblem) -> Option<WinogradTile> {
        if self.family == KernelFamily::Tiled || !conv.is_possible() {
            return None;
        }
        let tiles = [WinogradTile::F2x2, WinogradTile::F4x4].into_iter();
        let possible = tiles.filter(|tile| self.excluded.is_empty() || self.has_winograd(*tile, problem));
        let costs = possible.map(|tile| (self.winograd_cycles(conv, tile), tile));
        let (least, tile) = costs.min_by_key(|(cycles, _)| *cycles)?;
        // The gain must exceed the cost of the memory traffic between the transforms, which is not counted.
        (10 * least < 9 * cycles(problem, self.gemm_kernel(problem))).then_some(tile)
    }

    /// The cost of the transforms and the products of Winograd's algorithm, in the cycles of [`cycles`].
    fn winograd_cycles(&self, conv: &WinogradConv, tile: WinogradTile) -> u64 {
        let tiles = conv.tiles(tile);
        let products = conv.products(tile, tiles as usize);
        let [c4, k4] = conv.channels().map(|c| (c / 4) as u64);
        let (points, outputs) = (tile.points() as u64, tile.side().pow(2) as u64);
        let of_weights = match conv.pass {
            // Each slice but the first loads and stores the sums. The last transform loads them once more. The first
            // store is counted with the products.
            Pass::WeightGrad => {
                let slices = tiles.div_ceil(conv.usual_slice(tile, self.family)).max(1);
                // Sums that exceed the last-level cache are read from memory, which counts double.
                let far = if conv.filter_bytes(tile) > 2 * SLICE_BYTES { 2 } else { 1 };
                9 + far * points * (2 * slices - 1)
            }
            Pass::Forward | Pass::InputGrad => 9 + points,
        };
        let accesses = tiles * (c4 * 2 * points + k4 * (points + outputs)) + 4 * c4 * k4 * of_weights;
        cycles(&products, self.gemm_kernel(&products))
            + accesses * ACCESS_CYCLES / u64::from(KernelFamily::SUBGROUP_LANES)
    }
}

/// The number of workgroups of a GEMM without split-K.
fn workgroups(problem: &ConvProblem, kernel: GemmKernel) -> u64 {
    let [rows, cols] = kernel.blocks(problem.rows(), problem.cols4()).map(u64::from);
    rows * cols * problem.groups as u64
}

/// The cost of a GEMM on a software adapter, in the cycles of [`GemmKernel::cost`].
fn cycles(problem: &ConvProblem, kernel: GemmKernel) -> u64 {
    let [r, s, c, k] = problem.w;
    let channels = if problem.pass == Pass::InputGrad { pad4(k) / problem.groups.max(1) } else { pad4(c) };
    let depth4 = match problem.pass {
        Pass::WeightGrad => problem.pixels().div_ceil(4),
        Pass::Forward | Pass::InputGrad => (r * s * channels / 4) as u64,
    };
    let each = depth4.saturating_mul(kernel.cost()).saturating_add(kernel.store_cost());
    workgroups(problem, kernel).saturating_mul(each)
}

/// The largest tile that wastes little in its last blocks and leaves enough workgroups.
fn tiled(problem: &ConvProblem) -> GemmKernel {
    let family = KernelFamily::Tiled;
    if let Some(kernel) = GemmKernel::ROWS.into_iter().find(|kernel| kernel.fits(family, problem)) {
        return kernel;
    }
    // The depth of a weight gradient can be divided into many splits.
    let is_dw = problem.pass == Pass::WeightGrad;
    let splits = if is_dw { problem.pixels().div_ceil(SPLIT_PIXELS) } else { 1 };
    let padded = |kernel: GemmKernel| match kernel {
        GemmKernel::Tiled { rows, cols4 } => workgroups(problem, kernel) * u64::from(rows * cols4),
        _ => u64::MAX,
    };
    let least = GemmKernel::TILED.into_iter().map(padded).min().unwrap_or(0);
    let [.., small] = GemmKernel::TILED;
    let wasteful = |kernel: &GemmKernel| 4 * padded(*kernel) > 5 * least;
    let busy = |kernel: &GemmKernel| workgroups(problem, *kernel) * splits >= ENOUGH_WORKGROUPS;
    GemmKernel::TILED.into_iter().find(|kernel| busy(kernel) && !wasteful(kernel)).unwrap_or(small)
}

fn subgroup(problem: &ConvProblem) -> GemmKernel {
    GemmKernel::Subgroup { cols4: if problem.cols4() <= 4 { 4 } else { 8 } }
}

/// Where few workgroups share the same weights and each of them reads many, tiles with half as many columns were faster
/// in every measurement, though they need more loads. The rule excludes the input gradient, which reads the weights
/// transposed.
fn narrower(problem: &ConvProblem, shared: GemmKernel) -> GemmKernel {
    let [r, s, c, _] = problem.w;
    let weights = (4 * 32 * r * s * pad4(c)) as u64;
    let narrow = problem.pass == Pass::Forward && problem.rows() <= FEW_ROWS && weights > CACHE_BYTES / 2;
    if narrow { GemmKernel::Subgroup { cols4: 4 } } else { shared }
}

/// The `vec4`s that all lanes of `gemm/direct.wgsl` load for four k.
pub(crate) fn direct_loads(problem: &ConvProblem, kernel: GemmKernel) -> u64 {
    let GemmKernel::Direct { rows, cols4 } = kernel else { return u64::MAX };
    let [row_blocks, col_blocks] = kernel.blocks(problem.rows(), problem.cols4()).map(u64::from);
    row_blocks * col_blocks * u64::from(GemmKernel::direct_loads(rows, cols4))
}

/// The pixels of a k chunk: as many as keep both operands in a processor's cache.
fn k_chunk(problem: &ConvProblem, kernel: GemmKernel, splits: u32) -> u32 {
    if !kernel.is_for_processors() {
        return u32::MAX;
    }
    // The channels of one group in a pixel of dy, and in the pixels of x that correspond to it.
    let [stride_h, stride_w] = problem.stride;
    let floats = u64::from(4 * problem.cols4()) + (pad4(problem.w[2]) * stride_h * stride_w) as u64;
    // If c is larger than x and dy, adding to c costs more than reading x and dy again.
    let c = u64::from(problem.rows()) * u64::from(4 * problem.cols4());
    let split = problem.pixels().div_ceil(u64::from(splits));
    let [least, most] = K_CHUNK_BYTES;
    let chunk = ((K_CHUNK_PER_SUMS * 4 * c).clamp(least, most) / (4 * floats).max(1)).max(256);
    if c > split * floats || chunk >= split { u32::MAX } else { chunk as u32 }
}
