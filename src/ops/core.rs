//! The cores that compute a matrix product, and how each cuts c into workgroups.

use super::choice::ProductForm;
use super::column::{self, Sought};
use super::epilogue::{EPILOGUE, NOT_A_NUMBER};
use super::{Product, ProductKey};
use crate::gpu::Kernel;
use serde::{Deserialize, Serialize};
use std::fmt;

const CONV2D: &str = include_str!("../../shaders/conv2d.wgsl");
const LANES: &str = include_str!("../../shaders/gemm_lanes.wgsl");
const TILED: &str = include_str!("../../shaders/gemm_tiled.wgsl");
const TILED_SEEN: &str = include_str!("../../shaders/gemm_tiled_seen.wgsl");
const TILED_TRANSPOSED: &str = include_str!("../../shaders/gemm_tiled_transposed.wgsl");
const ROWS: &str = include_str!("../../shaders/gemm_rows.wgsl");
const SUBGROUP: &str = include_str!("../../shaders/gemm_subgroup.wgsl");
const SUBGROUP_SEEN: &str = include_str!("../../shaders/gemm_subgroup_seen.wgsl");
const DIRECT: &str = include_str!("../../shaders/gemm_direct.wgsl");
const DIRECT_SEEN: &str = include_str!("../../shaders/gemm_direct_seen.wgsl");
const SIXTEEN: &str = include_str!("../../shaders/gemm_direct_sixteen.wgsl");
const FOUR: &str = include_str!("../../shaders/gemm_direct_four.wgsl");
const ONE: &str = include_str!("../../shaders/gemm_direct_one.wgsl");
const STORE: &str = include_str!("../../shaders/conv2d_store.wgsl");
const SGD: &str = include_str!("../../shaders/conv2d_sgd.wgsl");
const SGD_RULE: &str = include_str!("../../shaders/sgd_rule.wgsl");

/// Lanes of a workgroup of `gemm_direct.wgsl`: the width of a processor's registers.
const DIRECT_LANES: u32 = 8;
/// Rows that a lane of `gemm_subgroup.wgsl` computes.
const SUBGROUP_ROWS: u32 = 8;
/// The most rows of c that `gemm_rows.wgsl` computes.
const FEW_ROWS: u32 = 4;

/// The kernel that computes a product, with what one workgroup or one lane of it computes. Columns are counted in `vec4`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Core {
    /// Blocks of c in workgroup memory (`gemm_tiled.wgsl`).
    Tiled {
        /// Rows of a block.
        rows: u32,
        /// Columns of a block.
        cols4: u32,
    },
    /// At most four rows, the depth divided among the invocations of a workgroup (`gemm_rows.wgsl`).
    Rows {
        /// Columns of a workgroup.
        cols4: u32,
    },
    /// No workgroup memory and no barriers (`gemm_direct.wgsl`).
    Direct {
        /// Rows of a lane: 16, 4 or 1.
        rows: u32,
        /// Columns of a lane.
        cols4: u32,
    },
    /// Lanes that share what they load (`gemm_subgroup.wgsl`).
    Subgroup {
        /// Columns of a lane.
        cols4: u32,
    },
}

/// What becomes of the numbers of a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Becomes {
    /// They are stored, and possibly looked at.
    Stored(Option<Sought>),
    /// They are the gradient of a step of SGD.
    Gradient,
}

impl Core {
    /// The blocks of `gemm_tiled.wgsl`, the one with the fewest loads for a multiply-add first.
    pub(super) const TILED: [Self; 5] = [
        Self::Tiled { rows: 128, cols4: 32 },
        Self::Tiled { rows: 128, cols4: 16 },
        Self::Tiled { rows: 64, cols4: 16 },
        Self::Tiled { rows: 128, cols4: 8 },
        Self::Tiled { rows: 32, cols4: 8 },
    ];
    pub(super) const ROWS: [Self; 2] = [Self::Rows { cols4: 16 }, Self::Rows { cols4: 8 }];
    /// The tiles of a lane of `gemm_direct.wgsl`, the largest first: the one with the fewest loads for a multiply-add.
    pub(super) const DIRECT: [Self; 9] = [
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
    pub(super) const SUBGROUP: [Self; 2] = [Self::Subgroup { cols4: 8 }, Self::Subgroup { cols4: 4 }];
    /// The simplest one, which runs on every adapter: the others are held against it.
    pub(super) const REFERENCE: Self = Self::Direct { rows: 4, cols4: 1 };

    /// Every core in each of its sizes.
    pub fn all() -> impl Iterator<Item = Self> {
        let lists: [&[Self]; 4] = [&Self::TILED, &Self::ROWS, &Self::DIRECT, &Self::SUBGROUP];
        lists.into_iter().flatten().copied()
    }

    /// Whether it can compute a product on an adapter.
    pub fn fits(self, product: Product, key: &ProductKey) -> bool {
        let here = match self {
            Self::Tiled { .. } => true,
            // The gradient of weights has its rows by fours.
            Self::Direct { rows, .. } => rows > 1 || key.form != ProductForm::Dw,
            Self::Rows { .. } => key.form != ProductForm::Dw && key.rows() <= FEW_ROWS,
            Self::Subgroup { .. } => product == Product::Subgroup,
        };
        here && Self::all().any(|core| core == self)
    }

    /// Blocks of rows and of columns, one workgroup each.
    pub(super) fn blocks(self, rows: u32, cols4: u32) -> [u32; 2] {
        let [block_rows, block_cols4] = match self {
            Self::Tiled { rows, cols4 } => [rows, cols4],
            Self::Rows { cols4 } => [FEW_ROWS, cols4],
            Self::Direct { rows, cols4: of_lane } => {
                let lanes = direct_lanes(of_lane, cols4);
                [rows * DIRECT_LANES / lanes, lanes * of_lane]
            }
            Self::Subgroup { cols4 } => [SUBGROUP_ROWS * Product::SUBGROUP_LANES, cols4],
        };
        [rows.div_ceil(block_rows), cols4.div_ceil(block_cols4)]
    }

    /// What a workgroup costs for four k on a driver that computes on a processor, in cycles as measured on llvmpipe: a load
    /// of eight lanes costs a hundred, a multiply-add one, or two where c is read and written for each.
    pub(super) fn cost(self) -> u64 {
        match self {
            Self::Direct { rows, cols4 } => {
                u64::from(100 * Self::direct_loads(rows, cols4) + 2 * 16 * rows * cols4)
            }
            Self::Subgroup { cols4 } => u64::from(100 * (SUBGROUP_ROWS + cols4 / 2) + 128 * cols4),
            // They are for other adapters.
            Self::Tiled { .. } | Self::Rows { .. } => u64::MAX,
        }
    }

    /// Cycles of the stores of a workgroup, by the same measure.
    pub(super) fn store_cost(self) -> u64 {
        match self {
            Self::Direct { rows, cols4 } => u64::from(100 * rows * cols4),
            Self::Subgroup { cols4 } => u64::from(100 * SUBGROUP_ROWS * cols4),
            Self::Tiled { .. } | Self::Rows { .. } => u64::MAX,
        }
    }

    /// `vec4`s that a lane of `gemm_direct.wgsl` loads for four k: its rows of a, and four times its columns of b.
    pub(super) fn direct_loads(rows: u32, cols4: u32) -> u32 {
        rows + 4 * cols4
    }

    /// Whether the operands that it reads again and again should stay in a processor's cache.
    pub(super) fn is_for_processors(self) -> bool {
        matches!(self, Self::Direct { .. } | Self::Subgroup { .. })
    }

    /// The rows of which its kernel makes one part of what it sees of the columns; `None` if it does not look.
    pub(super) fn seen_rows(self) -> Option<u32> {
        match self {
            Self::Tiled { rows, .. } => Some(rows),
            Self::Direct { rows: 16, .. } => Some(16),
            Self::Subgroup { .. } => Some(SUBGROUP_ROWS * Product::SUBGROUP_LANES),
            // Parts of few rows would be as large as the result.
            Self::Rows { .. } | Self::Direct { .. } => None,
        }
    }

    /// The kernel of this name for a product with so many columns.
    pub(super) fn kernel(
        self,
        name: &'static str,
        form: ProductForm,
        cols4: u32,
        becomes: Becomes,
    ) -> Kernel {
        let transposed = form == ProductForm::Dw;
        let seen = matches!(becomes, Becomes::Stored(Some(_)));
        let mut sources = vec![CONV2D];
        match becomes {
            Becomes::Stored(sought) => {
                sources.extend([STORE, EPILOGUE, NOT_A_NUMBER]);
                sources.extend(column::texts(sought));
            }
            Becomes::Gradient => sources.extend([SGD, SGD_RULE, column::NOBODY_LOOKS]),
        }
        let [own, looks]: [&[&str]; 2] = match self {
            Self::Tiled { .. } if transposed => [&[TILED, TILED_TRANSPOSED], &[]],
            Self::Tiled { .. } => [&[TILED], &[TILED_SEEN]],
            Self::Rows { .. } => [&[ROWS], &[]],
            Self::Direct { rows: 16, .. } => [&[LANES, DIRECT, SIXTEEN], &[DIRECT_SEEN]],
            Self::Direct { rows: 4, .. } => [&[LANES, DIRECT, FOUR], &[]],
            Self::Direct { .. } => [&[LANES, DIRECT, ONE], &[]],
            Self::Subgroup { .. } => [&[LANES, SUBGROUP], &[SUBGROUP_SEEN]],
        };
        sources.extend(own);
        if seen {
            sources.extend(looks);
        }
        let entry = match (self, transposed) {
            (Self::Tiled { .. }, false) => "tiled",
            (Self::Tiled { .. }, true) => "tiled_transposed",
            (Self::Rows { .. }, _) => "rows",
            (Self::Direct { .. }, false) => "direct",
            (Self::Direct { .. }, true) => "direct_transposed",
            (Self::Subgroup { .. }, false) => "subgroup",
            (Self::Subgroup { .. }, true) => "subgroup_transposed",
        };
        let kernel = Kernel::new(name, &sources, entry);
        match self {
            Self::Tiled { rows, cols4 } => {
                let small = rows < 64;
                let invocations = if small { rows * cols4 / 4 } else { rows * cols4 / 16 };
                kernel
                    .with("THREADS", invocations as i32)
                    .with("ROWS4", (rows / 4) as i32)
                    .with("COLS4", cols4 as i32)
                    .with("TILE_K", if small { 32 } else { 16 })
                    .with("SMALL", i32::from(small))
            }
            Self::Rows { cols4 } => {
                kernel.with("COLS4", cols4 as i32).with("ALONG_DEPTH", i32::from(form == ProductForm::Dx))
            }
            Self::Direct { cols4: of_lane, .. } => kernel
                .with("LANES", DIRECT_LANES as i32)
                .with("LANE_COLS", direct_lanes(of_lane, cols4) as i32)
                .with("COLS", of_lane as i32),
            Self::Subgroup { cols4 } => kernel.with("COLS", cols4 as i32),
        }
    }
}

/// How many lanes of a workgroup of `gemm_direct.wgsl` lie side by side along the columns, so that none is idle where there
/// are few.
fn direct_lanes(of_lane: u32, cols4: u32) -> u32 {
    cols4.div_ceil(of_lane).next_power_of_two().min(DIRECT_LANES)
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tiled { rows, cols4 } => write!(f, "tiled {rows}x{}", 4 * cols4),
            Self::Rows { cols4 } => write!(f, "rows 4x{}", 4 * cols4),
            Self::Direct { rows, cols4 } => write!(f, "direct {rows}x{}", 4 * cols4),
            Self::Subgroup { cols4 } => write!(f, "subgroup {SUBGROUP_ROWS}x{}", 4 * cols4),
        }
    }
}
