//! The GEMM kernels, and how each of them divides c into tiles.

use super::problem::{ConvProblem, Pass};
use crate::gpu::Kernel;
use crate::kernels::KernelFamily;
use crate::kernels::fused_reduction::{self, ReductionKind};
use crate::kernels::shader::linked_kernel;
use crate::tensor::Precision;
use serde::{Deserialize, Serialize};
use std::fmt;

const STORE: &str = include_str!("../../../shaders/gemm/output_store.wgsl");
const SGD: &str = include_str!("../../../shaders/gemm/output_sgd.wgsl");
const TILED: &str = include_str!("../../../shaders/gemm/tiled.wgsl");
const TILED_PIXELS: &str = include_str!("../../../shaders/gemm/tiled_pixels.wgsl");
const TILED_TRANSPOSED: &str = include_str!("../../../shaders/gemm/tiled_transposed.wgsl");
const TILED_REDUCE: &str = include_str!("../../../shaders/gemm/tiled_reduce.wgsl");
const COOPERATIVE: &str = include_str!("../../../shaders/gemm/cooperative.wgsl");
const ROWS: &str = include_str!("../../../shaders/gemm/rows.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/gemm/subgroup.wgsl");
const SUBGROUP_REDUCE: &str = include_str!("../../../shaders/gemm/subgroup_reduce.wgsl");
const DIRECT: &str = include_str!("../../../shaders/gemm/direct.wgsl");
const DIRECT_16: &str = include_str!("../../../shaders/gemm/direct_rows_16.wgsl");
const DIRECT_4: &str = include_str!("../../../shaders/gemm/direct_rows_4.wgsl");
const DIRECT_1: &str = include_str!("../../../shaders/gemm/direct_rows_1.wgsl");
const DIRECT_REDUCE: &str = include_str!("../../../shaders/gemm/direct_reduce.wgsl");

/// The lanes of a workgroup of `gemm/direct.wgsl`: the width of a processor's vector registers.
const DIRECT_LANES: u32 = 8;
/// The rows that a lane of `gemm/subgroup.wgsl` computes.
const SUBGROUP_ROWS: u32 = 8;
/// The most rows of c that `gemm/rows.wgsl` computes.
const FEW_ROWS: u32 = 4;

/// A GEMM kernel with the size of the tile that a workgroup or a lane computes. Columns are counted in `vec4`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GemmKernel {
    /// Tiles of c in workgroup memory (`gemm/tiled.wgsl`).
    Tiled {
        /// Rows of a tile.
        rows: u32,
        /// Columns of a tile.
        cols4: u32,
    },
    /// Cooperative matrices, which are matrix instructions, for activations in half precision
    /// (`gemm/cooperative.wgsl`).
    Cooperative {
        /// Rows of a workgroup.
        rows: u32,
        /// Columns of a workgroup.
        cols4: u32,
        /// Invocations of a workgroup: the adapter's largest subgroup.
        lanes: u32,
    },
    /// At most four rows; the depth is divided among the invocations of a workgroup (`gemm/rows.wgsl`).
    Rows {
        /// Columns of a workgroup.
        cols4: u32,
    },
    /// No workgroup memory and no barriers (`gemm/direct.wgsl`).
    Direct {
        /// Rows of a lane: 16, 4 or 1.
        rows: u32,
        /// Columns of a lane.
        cols4: u32,
    },
    /// Lanes of a subgroup share their loads (`gemm/subgroup.wgsl`).
    Subgroup {
        /// Columns of a lane.
        cols4: u32,
    },
}

/// What a GEMM kernel does with its result.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GemmOutput {
    /// Stores the result, and optionally reduces its columns.
    Store(Option<ReductionKind>),
    /// Uses the result as the gradient of an SGD step.
    SgdUpdate,
}

impl GemmKernel {
    /// The tiles of `gemm/tiled.wgsl`, by increasing loads for a multiply-add.
    pub(crate) const TILED: [Self; 5] = [
        Self::Tiled { rows: 128, cols4: 32 },
        Self::Tiled { rows: 128, cols4: 16 },
        Self::Tiled { rows: 64, cols4: 16 },
        Self::Tiled { rows: 128, cols4: 8 },
        Self::Tiled { rows: 32, cols4: 8 },
    ];
    /// The tile of `gemm/cooperative.wgsl` for each size of a subgroup.
    pub(crate) const COOPERATIVE: [Self; 2] = [
        Self::Cooperative { rows: 64, cols4: 8, lanes: 32 },
        Self::Cooperative { rows: 64, cols4: 8, lanes: 64 },
    ];
    pub(crate) const ROWS: [Self; 2] = [Self::Rows { cols4: 16 }, Self::Rows { cols4: 8 }];
    /// The tiles of a lane of `gemm/direct.wgsl`, the largest first: it needs the fewest loads for a multiply-add.
    pub(crate) const DIRECT: [Self; 9] = [
        Self::Direct { rows: 16, cols4: 4 },
        Self::Direct { rows: 16, cols4: 2 },
        Self::Direct { rows: 16, cols4: 1 },
        Self::Direct { rows: 4, cols4: 4 },
        Self::Direct { rows: 4, cols4: 2 },
        Self::Direct { rows: 4, cols4: 1 },
        Self::Direct { rows: 1, cols4: 4 },
        Self::Direct { rows: 1, cols4: 2 },
        Self::Direct { rows: 1, cols4: 1 },
    ];
    pub(crate) const SUBGROUP: [Self; 2] = [Self::Subgroup { cols4: 8 }, Self::Subgroup { cols4: 4 }];
    /// The simplest kernel. It runs on every adapter, and the results of the others are compared with it.
    pub(crate) const REFERENCE: Self = Self::Direct { rows: 4, cols4: 1 };

    /// All kernels in all of their tile sizes.
    pub fn all() -> impl Iterator<Item = Self> {
        let lists: [&[Self]; 5] =
            [&Self::TILED, &Self::COOPERATIVE, &Self::ROWS, &Self::DIRECT, &Self::SUBGROUP];
        lists.into_iter().flatten().copied()
    }

    /// Whether the kernel can compute a problem on adapters of a family.
    pub fn fits(self, family: KernelFamily, problem: &ConvProblem) -> bool {
        let is_dw = problem.pass == Pass::WeightGrad;
        let here = match self {
            Self::Tiled { .. } => true,
            Self::Cooperative { .. } => problem.precision == Precision::F16,
            // The rows of the weight gradient are computed in fours.
            Self::Direct { rows, .. } => rows > 1 || !is_dw,
            Self::Rows { .. } => !is_dw && problem.rows() <= FEW_ROWS,
            Self::Subgroup { .. } => family == KernelFamily::Subgroup,
        };
        here && Self::all().any(|kernel| kernel == self)
    }

    /// The number of blocks of rows and of columns. Each pair is one workgroup.
    pub(crate) fn blocks(self, rows: u32, cols4: u32) -> [u32; 2] {
        let [block_rows, block_cols4] = match self {
            Self::Tiled { rows, cols4 } | Self::Cooperative { rows, cols4, .. } => [rows, cols4],
            Self::Rows { cols4 } => [FEW_ROWS, cols4],
            Self::Direct { rows, cols4: of_lane } => {
                let lanes = direct_lanes(of_lane, cols4);
                [rows * DIRECT_LANES / lanes, lanes * of_lane]
            }
            Self::Subgroup { cols4 } => [SUBGROUP_ROWS * KernelFamily::SUBGROUP_LANES, cols4],
        };
        [rows.div_ceil(block_rows), cols4.div_ceil(block_cols4)]
    }

    /// The cost of a workgroup for four k on a software adapter, in cycles as measured on llvmpipe. A load of eight
    /// lanes costs a hundred cycles. A multiply-add costs one, or two where c is read and written for each of them.
    pub(crate) fn cost(self) -> u64 {
        match self {
            Self::Direct { rows, cols4 } => {
                u64::from(100 * Self::direct_loads(rows, cols4) + 2 * 16 * rows * cols4)
            }
            Self::Subgroup { cols4 } => u64::from(100 * (SUBGROUP_ROWS + cols4 / 2) + 128 * cols4),
            // These kernels are for GPUs.
            Self::Tiled { .. } | Self::Cooperative { .. } | Self::Rows { .. } => u64::MAX,
        }
    }

    /// The cost of the stores of a workgroup, in the cycles of [`GemmKernel::cost`].
    pub(crate) fn store_cost(self) -> u64 {
        match self {
            Self::Direct { rows, cols4 } => u64::from(100 * rows * cols4),
            Self::Subgroup { cols4 } => u64::from(100 * SUBGROUP_ROWS * cols4),
            Self::Tiled { .. } | Self::Cooperative { .. } | Self::Rows { .. } => u64::MAX,
        }
    }

    /// The `vec4`s that a lane of `gemm/direct.wgsl` loads for four k: its rows of a, and four times its columns of b.
    pub(crate) fn direct_loads(rows: u32, cols4: u32) -> u32 {
        rows + 4 * cols4
    }

    /// Whether the kernel is for processors, where operands that are read repeatedly should stay in the cache.
    pub(crate) fn is_for_processors(self) -> bool {
        matches!(self, Self::Direct { .. } | Self::Subgroup { .. })
    }

    /// The largest subgroup of the adapters that the kernel is for, if it needs cooperative matrices.
    pub(crate) fn cooperative_lanes(self) -> Option<u32> {
        match self {
            Self::Cooperative { lanes, .. } => Some(lanes),
            _ => None,
        }
    }

    /// The depth of the blocks that a workgroup stages; `None` for kernels without such blocks.
    pub(crate) fn tile_k(self) -> Option<u32> {
        match self {
            Self::Tiled { rows, .. } => Some(if rows < 64 { 32 } else { 16 }),
            Self::Cooperative { .. } => Some(16),
            Self::Rows { .. } | Self::Direct { .. } | Self::Subgroup { .. } => None,
        }
    }

    /// The number of rows that its epilogue reduces to one partial; `None` if it cannot reduce.
    pub(crate) fn reduced_rows(self) -> Option<u32> {
        match self {
            Self::Tiled { rows, .. } => Some(rows),
            Self::Direct { rows: 16, .. } => Some(16),
            Self::Subgroup { .. } => Some(SUBGROUP_ROWS * KernelFamily::SUBGROUP_LANES),
            // With few rows the partials would be as large as the result. What a cooperative matrix holds where is not known.
            Self::Rows { .. } | Self::Direct { .. } | Self::Cooperative { .. } => None,
        }
    }

    /// The kernel with this name for a product with `cols4` columns.
    pub(crate) fn kernel(self, name: &'static str, pass: Pass, cols4: u32, output: GemmOutput) -> Kernel {
        let (texts, reduce, entry) = self.texts(pass);
        let mut texts = texts.to_vec();
        match output {
            GemmOutput::Store(kind) => {
                texts.push(STORE);
                texts.extend(fused_reduction::texts(kind));
                texts.extend(reduce.filter(|_| kind.is_some()));
            }
            GemmOutput::SgdUpdate => texts.extend([SGD, fused_reduction::NO_REDUCTION]),
        }
        let mut kernel = linked_kernel(name, &texts, entry);
        kernel.constants = self.constants(pass, cols4);
        kernel
    }

    /// The WGSL texts, the text that merges the lanes' reductions, and the entry point.
    fn texts(self, pass: Pass) -> (&'static [&'static str], Option<&'static str>, &'static str) {
        let transposed = pass == Pass::WeightGrad;
        match self {
            Self::Tiled { .. } if transposed => (&[TILED, TILED_TRANSPOSED], None, "tiled_transposed"),
            Self::Tiled { .. } => (&[TILED, TILED_PIXELS], Some(TILED_REDUCE), "tiled"),
            Self::Cooperative { .. } if transposed => {
                (&[COOPERATIVE, TILED_TRANSPOSED], None, "tiled_transposed")
            }
            Self::Cooperative { .. } => (&[COOPERATIVE, TILED_PIXELS], None, "tiled"),
            Self::Rows { .. } => (&[ROWS], None, "rows"),
            Self::Subgroup { .. } => {
                let entry = if transposed { "subgroup_transposed" } else { "subgroup" };
                (&[SUBGROUP], Some(SUBGROUP_REDUCE), entry)
            }
            Self::Direct { rows, .. } => {
                let entry = if transposed { "direct_transposed" } else { "direct" };
                match rows {
                    16 => (&[DIRECT, DIRECT_16], Some(DIRECT_REDUCE), entry),
                    4 => (&[DIRECT, DIRECT_4], None, entry),
                    _ => (&[DIRECT, DIRECT_1], None, entry),
                }
            }
        }
    }

    /// The values of the texts' `override` constants.
    fn constants(self, pass: Pass, cols4: u32) -> Vec<(&'static str, i32)> {
        match self {
            Self::Tiled { rows, cols4 } => {
                let small = rows < 64;
                let invocations = if small { rows * cols4 / 4 } else { rows * cols4 / 16 };
                vec![
                    ("THREADS", invocations as i32),
                    ("ROWS4", (rows / 4) as i32),
                    ("COLS4", cols4 as i32),
                    ("TILE_K", self.tile_k().unwrap_or(16) as i32),
                    ("SMALL", i32::from(small)),
                ]
            }
            Self::Cooperative { lanes, .. } => vec![("THREADS", lanes as i32)],
            Self::Rows { cols4 } => {
                let along_depth = pass == Pass::InputGrad;
                vec![("COLS4", cols4 as i32), ("ALONG_DEPTH", i32::from(along_depth))]
            }
            Self::Direct { cols4: of_lane, .. } => vec![
                ("LANES", DIRECT_LANES as i32),
                ("LANE_COLS", direct_lanes(of_lane, cols4) as i32),
                ("COLS", of_lane as i32),
            ],
            Self::Subgroup { cols4 } => vec![("COLS", cols4 as i32)],
        }
    }
}

/// How many lanes of a workgroup of `gemm/direct.wgsl` are adjacent along the columns. With few columns they are fewer,
/// so that no lane is idle.
fn direct_lanes(of_lane: u32, cols4: u32) -> u32 {
    cols4.div_ceil(of_lane).next_power_of_two().min(DIRECT_LANES)
}

impl fmt::Display for GemmKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiled { rows, cols4 } => write!(f, "tiled {rows}x{}", 4 * cols4),
            Self::Cooperative { rows, cols4, lanes } => {
                write!(f, "cooperative {rows}x{} by {lanes}", 4 * cols4)
            }
            Self::Rows { cols4 } => write!(f, "rows 4x{}", 4 * cols4),
            Self::Direct { rows, cols4 } => write!(f, "direct {rows}x{}", 4 * cols4),
            Self::Subgroup { cols4 } => write!(f, "subgroup {SUBGROUP_ROWS}x{}", 4 * cols4),
        }
    }
}
