//! The matrix products of a convolution: which core computes one, and in which workgroups. `conv2d.wgsl` says what the
//! parameters mean.

use super::epilogue::EPILOGUE;
use super::record::fold;
use super::{Buf, Product, Recorder, Update};
use crate::error::Result;
use crate::gpu::{Kernel, params};

const CONV2D: &str = include_str!("../../shaders/conv2d.wgsl");
const LANES: &str = include_str!("../../shaders/gemm_lanes.wgsl");
const TILED: &str = include_str!("../../shaders/gemm_tiled.wgsl");
const SUBGROUP: &str = include_str!("../../shaders/gemm_subgroup.wgsl");
const DIRECT: &str = include_str!("../../shaders/gemm_direct.wgsl");
const STORE: &str = include_str!("../../shaders/conv2d_store.wgsl");
const SGD: &str = include_str!("../../shaders/conv2d_sgd.wgsl");
const SGD_RULE: &str = include_str!("../../shaders/sgd_rule.wgsl");

/// Rows and columns of c (columns in `vec4`s) that one workgroup of `gemm_tiled.wgsl` computes.
const TILE: [u32; 2] = [64, 16];
/// Rows that a lane of `gemm_direct.wgsl` may compute, and the lanes of a workgroup: the width of a processor's registers.
const DIRECT_ROWS: [u32; 2] = [16, 4];
const DIRECT_LANES: u32 = 8;
/// Rows that a lane of `gemm_subgroup.wgsl` computes.
const SUBGROUP_ROWS: u32 = 8;

/// Cycles of a load of eight lanes on a software adapter, where a multiply-add of eight lanes takes one.
const LOAD_CYCLES: u64 = 100;

/// Half of the second-level cache that a core of today's processors has at least.
const CACHE_BYTES: u64 = 512 << 10;

params! {
    Params {
        h: u32, w: u32, c4: u32,
        p: u32, q: u32,
        s: u32,
        stride_h: u32, stride_w: u32, pad_h: u32, pad_w: u32,
        rows: u32, cols4: u32,
        segments: u32, run4: u32,
        groups: u32, col_blocks: u32,
        pixels: u32, split: u32,
        b_pitch4: u32, b_segment: u32, b_group_col4: u32,
        out4: u32,
        out_from4: u32,
        phase_h: u32, phase_w: u32, out_h: u32, out_w: u32, tap0: u32, taps_w: u32,
        first_split: u32,
        wave_from: u32, wave: u32,
        mask_pitch4: u32, mask_from4: u32,
    }
}

/// How the direct core divides a block of c among the lanes of a workgroup: so many lie side by side along the columns,
/// each with so many rows and `vec4` columns.
#[derive(Clone, Copy)]
pub(super) struct DirectTile {
    lanes: u32,
    rows: u32,
    cols: u32,
}

impl DirectTile {
    /// The tile with the fewest loads.
    fn choose(p: &Params) -> Self {
        let mut best = Self::of(p, DIRECT_ROWS[0], 1);
        for rows in DIRECT_ROWS {
            for cols in [1, 2, 4] {
                let tile = Self::of(p, rows, cols);
                let total = |tile: Self| tile.workgroups(p) * tile.loads();
                if total(tile) < total(best) {
                    best = tile;
                }
            }
        }
        best
    }

    fn of(p: &Params, rows: u32, cols: u32) -> Self {
        Self { lanes: p.cols4.div_ceil(cols).next_power_of_two().min(DIRECT_LANES), rows, cols }
    }

    fn blocks(self, p: &Params) -> [u32; 2] {
        [p.rows.div_ceil(self.rows * DIRECT_LANES / self.lanes), p.cols4.div_ceil(self.lanes * self.cols)]
    }

    fn workgroups(self, p: &Params) -> u64 {
        let [rows, cols] = self.blocks(p);
        u64::from(rows) * u64::from(cols)
    }

    /// `vec4`s that a lane loads for four k: its rows of a, and four times its columns of b.
    fn loads(self) -> u64 {
        u64::from(self.rows + 4 * self.cols)
    }

    /// Multiply-adds of a lane for four k.
    fn macs(self) -> u64 {
        u64::from(4 * self.rows * 4 * self.cols)
    }
}

/// The core that computes a product, and how it cuts c into workgroups.
#[derive(Clone, Copy)]
pub(super) enum Core {
    Tiled,
    Direct(DirectTile),
    /// With so many `vec4` columns.
    Subgroup(u32),
}

impl Core {
    pub(super) fn choose(product: Product, p: &Params) -> Self {
        let direct = DirectTile::choose(p);
        match product {
            Product::Tiled => Self::Tiled,
            Product::Direct => Self::Direct(direct),
            Product::Subgroup => {
                let shared = Self::Subgroup(if p.cols4 <= 4 { 4 } else { 8 });
                let direct = Self::Direct(direct);
                let cost = |core: Self| core.workgroups(p) * core.cycles_for_four();
                if cost(shared) < cost(direct) { shared } else { direct }
            }
        }
    }

    /// Cycles for four k in a workgroup, from measurements on llvmpipe: a load costs a hundred, a multiply-add one, or two
    /// where c is read and written for each. Nothing is known of GPUs.
    fn cycles_for_four(self) -> u64 {
        match self {
            Self::Tiled => 0,
            Self::Direct(tile) => LOAD_CYCLES * tile.loads() + 2 * tile.macs(),
            Self::Subgroup(cols) => LOAD_CYCLES * u64::from(SUBGROUP_ROWS + cols / 2) + 128 * u64::from(cols),
        }
    }

    /// Cycles of all workgroups of a product whose rows are pixels, by the same measure; a store costs as much as a load.
    pub(super) fn cycles(self, p: &Params) -> u64 {
        let stores = match self {
            Self::Tiled => 0,
            Self::Direct(tile) => tile.rows * tile.cols,
            Self::Subgroup(cols) => SUBGROUP_ROWS * cols,
        };
        let depth4 = u64::from(p.segments) * u64::from(p.run4);
        let each = depth4 * self.cycles_for_four() + LOAD_CYCLES * u64::from(stores);
        self.workgroups(p) * u64::from(p.groups) * each
    }

    fn workgroups(self, p: &Params) -> u64 {
        let [rows, cols] = self.blocks(p);
        u64::from(rows) * u64::from(cols)
    }

    /// Pixels of dw to take at a time, of those of one split.
    pub(super) fn wave(self, p: &Params) -> u32 {
        // Channels of one group at a pixel of dy, and at the pixels of x that it met.
        let floats = u64::from(4 * p.cols4) + u64::from(4 * p.run4 * p.stride_h * p.stride_w);
        let most = match self {
            Self::Tiled => return p.split,
            Self::Direct(_) | Self::Subgroup(_) => (CACHE_BYTES / (4 * floats)).max(64),
        };
        // Adding to c costs more than reading x and dy again where c is larger than they are.
        let c = u64::from(p.rows) * u64::from(4 * p.cols4);
        if c > u64::from(p.split) * floats {
            return p.split;
        }
        let waves = u64::from(p.split).div_ceil(most).max(1) as u32;
        // Some cores take four pixels at a time.
        p.split.div_ceil(waves).next_multiple_of(4)
    }

    /// Blocks of rows and of columns, one workgroup each.
    pub(super) fn blocks(self, p: &Params) -> [u32; 2] {
        match self {
            Self::Tiled => [p.rows.div_ceil(TILE[0]), p.cols4.div_ceil(TILE[1])],
            Self::Direct(tile) => tile.blocks(p),
            Self::Subgroup(cols) => {
                [p.rows.div_ceil(SUBGROUP_ROWS * Product::SUBGROUP_LANES), p.cols4.div_ceil(cols)]
            }
        }
    }

    /// The kernel; `transposed` where the rows of a are taps and the depth is pixels, `sgd` where c goes into a step of
    /// SGD.
    fn kernel(self, name: &'static str, transposed: bool, sgd: bool) -> Kernel {
        let of = |[store, sgd_step]: [&'static [&'static str]; 2], rows, taps| {
            Kernel::new(name, if sgd { sgd_step } else { store }, if transposed { taps } else { rows })
        };
        match self {
            Self::Tiled => of(
                [&[CONV2D, STORE, EPILOGUE, TILED], &[CONV2D, SGD, SGD_RULE, TILED]],
                "tiled",
                "tiled_transposed",
            ),
            Self::Direct(tile) => of(
                [&[CONV2D, STORE, EPILOGUE, LANES, DIRECT], &[CONV2D, SGD, SGD_RULE, LANES, DIRECT]],
                "direct",
                "direct_transposed",
            )
            .with("LANES", DIRECT_LANES as i32)
            .with("LANE_COLS", tile.lanes as i32)
            .with("ROWS", tile.rows as i32)
            .with("COLS", tile.cols as i32),
            Self::Subgroup(cols) => of(
                [&[CONV2D, STORE, EPILOGUE, LANES, SUBGROUP], &[CONV2D, SGD, SGD_RULE, LANES, SUBGROUP]],
                "subgroup",
                "subgroup_transposed",
            )
            .with("COLS", cols as i32),
        }
    }
}

/// One of the three products as a kernel.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) name: &'static str,
    pub(super) transposed: bool,
    pub(super) constants: &'a [(&'static str, i32)],
}

/// Records a product: `reads` are a, what an epilogue needs, and b.
pub(super) fn product(r: &mut Recorder, form: Form, p: Params, reads: [Buf; 6], c: Buf) -> Result<()> {
    let (kernel, p, workgroups) = call(r, form, p, false);
    r.product(kernel, p, &reads, &[c], workgroups)
}

/// Records a product of a and b whose result is the gradient of a step of SGD.
pub(super) fn product_with_sgd(
    r: &mut Recorder,
    form: Form,
    p: Params,
    [a, b]: [Buf; 2],
    on: Update,
) -> Result<()> {
    let (kernel, p, workgroups) = call(r, form, p, true);
    r.product(kernel, p, &[a, b, on.step], &[on.w, on.v], workgroups)
}

fn call(r: &Recorder, form: Form, mut p: Params, sgd: bool) -> (Kernel, Params, [u32; 3]) {
    let core = Core::choose(r.options().product, &p);
    let [row_blocks, col_blocks] = core.blocks(&p);
    let mut kernel = core.kernel(form.name, form.transposed, sgd);
    kernel.constants.extend(form.constants);
    if p.split == 0 {
        p.split = p.pixels;
    }
    if p.wave == 0 {
        p.wave = p.split;
    }
    p.col_blocks = col_blocks;
    let [x, y, _] = fold(row_blocks);
    let z = col_blocks * p.groups * p.pixels.div_ceil(p.split);
    (kernel, p, [x, y, z])
}
