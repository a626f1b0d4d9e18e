//! Which way a product is computed: what it depends on, the built-in table, and choices that were measured.

use super::winograd::Convolution;
use super::{Block, ConvOptions, Core, Product, RecordOptions};
use crate::graph::{Precision, Shape, pad4};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Workgroups that keep a GPU busy: two for each of 64 processors.
const ENOUGH_WORKGROUPS: u64 = 128;
/// Rows of a result that are few: four workgroups of `gemm_subgroup.wgsl`.
const FEW_ROWS: u32 = 256;
/// Half of the second-level cache that a core of today's processors has at least.
const CACHE_BYTES: u64 = 512 << 10;
/// What a wave of pixels of a weight gradient takes of both operands at least and at most. The more sums go to and fro after each wave, the
/// longer should it be, even if the second-level cache holds only half of it and some is read twice.
const WAVE_BYTES: [u64; 2] = [1 << 20, 2 << 20];
/// A wave should take so many times what the sums take.
const WAVE_PER_SUMS: u64 = 8;
/// Pixels that a split of the depth of a weight gradient has at least.
const SPLIT_PIXELS: u64 = 64;
/// The most ways that are measured for a product.
const CANDIDATES: usize = 8;

/// Which of the three products of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductForm {
    /// The result.
    Y,
    /// The gradient of the input.
    Dx,
    /// The gradient of the weights.
    Dw,
}

impl ProductForm {
    /// The name of its kernels.
    pub(super) fn kernel(self) -> &'static str {
        match self {
            Self::Y => "conv2d.y",
            Self::Dx => "conv2d.dx",
            Self::Dw => "conv2d.dw",
        }
    }
}

/// What decides how fast each way to compute a product is. What follows in the same kernel is not part of it: that costs
/// the same whatever computes the product, but for what batch norm looks for, which not all kernels see (`Core::seen_rows`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProductKey {
    /// Which of the three products.
    pub form: ProductForm,
    /// `(N, H, W, C)` of the input of the convolution.
    pub x: [usize; 4],
    /// `(R, S, C/groups, K)` of its filters.
    pub w: [usize; 4],
    /// Step from output to output.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub pad: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
    /// How the activations lie in memory.
    #[serde(default)]
    pub precision: Precision,
}

impl ProductKey {
    pub(super) fn new(form: ProductForm, x: Shape, w: Shape, options: ConvOptions) -> Self {
        let ConvOptions { stride, pad, groups } = options;
        Self { form, x: x.dims(), w: w.dims(), stride, pad, groups, precision: x.precision() }
    }

    /// Height and width of the result of the convolution.
    pub(super) fn map(&self) -> [usize; 2] {
        let of = |i: usize| {
            (self.x[1 + i] + 2 * self.pad[i]).saturating_sub(self.w[i]) / self.stride[i].max(1) + 1
        };
        [of(0), of(1)]
    }

    /// The products that each number of the result is the sum of.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn terms(&self) -> u64 {
        let [r, s, group_c, k] = self.w.map(|d| d as u64);
        match self.form {
            ProductForm::Y => r * s * group_c,
            ProductForm::Dx => r * s * k / self.groups.max(1) as u64,
            ProductForm::Dw => self.pixels(),
        }
    }

    /// Pixels of the results of all pictures.
    fn pixels(&self) -> u64 {
        let [p, q] = self.map();
        (self.x[0] * p * q) as u64
    }

    /// Rows of c; of the gradient of the input those of one phase of the stride.
    pub(super) fn rows(&self) -> u32 {
        let rows = match self.form {
            ProductForm::Y => self.pixels() as usize,
            ProductForm::Dx => {
                self.x[0]
                    * self.x[1].div_ceil(self.stride[0].max(1))
                    * self.x[2].div_ceil(self.stride[1].max(1))
            }
            ProductForm::Dw => self.w[0] * self.w[1] * pad4(self.w[2]),
        };
        rows as u32
    }

    /// Columns of c of one group, in `vec4`s.
    pub(super) fn cols4(&self) -> u32 {
        let columns = match self.form {
            ProductForm::Y | ProductForm::Dw => pad4(self.w[3]) / self.groups.max(1),
            ProductForm::Dx => pad4(self.w[2]),
        };
        (columns / 4) as u32
    }

    /// What it costs on a driver that computes on a processor, in cycles as of [`Core::cost`].
    pub(super) fn cycles(&self, core: Core) -> u64 {
        let channels =
            if self.form == ProductForm::Dx { pad4(self.w[3]) / self.groups.max(1) } else { pad4(self.w[2]) };
        let depth4 = match self.form {
            ProductForm::Dw => self.pixels().div_ceil(4),
            _ => (self.w[0] * self.w[1] * channels / 4) as u64,
        };
        let each = depth4.saturating_mul(core.cost()).saturating_add(core.store_cost());
        self.workgroups(core).saturating_mul(each)
    }

    fn workgroups(&self, core: Core) -> u64 {
        let [rows, cols] = core.blocks(self.rows(), self.cols4()).map(u64::from);
        rows * cols * self.groups as u64
    }
}

impl fmt::Display for ProductKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, h, w, c] = self.x;
        let [r, s, _, k] = self.w;
        let form = self.form.kernel();
        write!(f, "{form} {n}x{h}x{w}x{c} {r}x{s}x{k}")?;
        for (name, [a, b], usual) in [("stride", self.stride, 1), ("pad", self.pad, 0)] {
            match [a, b] {
                _ if [a, b] == [usual; 2] => {}
                _ if a == b => write!(f, " {name} {a}")?,
                _ => write!(f, " {name} {a}x{b}")?,
            }
        }
        if self.groups > 1 {
            write!(f, " groups {}", self.groups)?;
        }
        if self.precision == Precision::F16 {
            f.write_str(" f16")?;
        }
        Ok(())
    }
}

/// A way to compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// One kernel (the result, the gradient of the input).
    Core(Core),
    /// A kernel whose depth is divided (the gradient of the weights).
    Split {
        /// The kernel.
        core: Core,
        /// Partial results, which are added in the end.
        splits: u32,
        /// The most pixels that one call takes of each split.
        wave: u32,
    },
    /// Winograd's algorithm (any of the three products of 3x3 filters and stride 1).
    Winograd {
        /// The block that comes from one set of products.
        block: Block,
    },
}

impl Choice {
    /// The kernel of the product itself; `None` where it is taken apart.
    pub fn core(self) -> Option<Core> {
        match self {
            Self::Core(core) | Self::Split { core, .. } => Some(core),
            Self::Winograd { .. } => None,
        }
    }

    /// The way that the others are held against.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn reference(form: ProductForm) -> Self {
        let core = Core::REFERENCE;
        match form {
            ProductForm::Y | ProductForm::Dx => Self::Core(core),
            ProductForm::Dw => Self::Split { core, splits: 1, wave: u32::MAX },
        }
    }

    /// Whether a product can be computed this way on an adapter.
    pub fn fits(self, options: &RecordOptions, key: &ProductKey) -> bool {
        match self {
            Self::Core(core) => key.form != ProductForm::Dw && core.fits(options.product, key),
            Self::Split { core, splits, wave } => {
                key.form == ProductForm::Dw && splits > 0 && wave > 0 && core.fits(options.product, key)
            }
            Self::Winograd { block } => Convolution::of(key).fits(options, block),
        }
    }

    /// What the built-in table says.
    pub fn by_table(options: &RecordOptions, key: &ProductKey) -> Self {
        match Convolution::of(key).by_table(options, key) {
            Some(block) => Self::Winograd { block },
            None => Self::product_by_table(options, key),
        }
    }

    /// What it says where Winograd's algorithm is none of the ways.
    fn product_by_table(options: &RecordOptions, key: &ProductKey) -> Self {
        let core = core_by_table(options, key);
        if key.form != ProductForm::Dw {
            return Self::Core(core);
        }
        let splits = splits_by_table(options, key, core);
        Self::Split { core, splits, wave: wave_by_table(key, core, splits) }
    }

    /// Ways that may be the fastest, at most eight; the table's own comes first, the others by how often they are.
    pub fn candidates(options: &RecordOptions, key: &ProductKey) -> Vec<Self> {
        let table = Self::by_table(options, key);
        let direct_table = Self::product_by_table(options, key);
        let (rows, cols4) = (key.rows(), key.cols4());
        let mut direct = Core::DIRECT.to_vec();
        direct.sort_by_key(|core| direct_loads(*core, rows, cols4));
        let cores: Vec<Core> = match options.product {
            Product::Tiled => {
                // Blocks of nearly the size of the table's are likely. The direct core, some forty times slower, is not among
                // them: one call could last longer than a watchdog bears.
                let size = |core: &Core| Core::TILED.iter().position(|c| c == core);
                let of_table = direct_table.core().as_ref().and_then(size).unwrap_or(CANDIDATES);
                let mut blocks = Core::TILED.to_vec();
                blocks.sort_by_key(|core| size(core).unwrap_or(CANDIDATES).abs_diff(of_table));
                [Core::ROWS.to_vec(), blocks].concat()
            }
            Product::Direct => direct,
            Product::Subgroup => [Core::SUBGROUP.to_vec(), direct].concat(),
        };
        let cores = cores.into_iter().filter(|core| core.fits(options.product, key));
        let mut ways = vec![direct_table];
        match direct_table {
            Self::Core(_) | Self::Winograd { .. } => ways.extend(cores.map(Self::Core)),
            Self::Split { core, splits, wave } => {
                let halved = if wave == u32::MAX { wave } else { wave / 2 };
                let divided =
                    [(2 * splits, wave), (splits, u32::MAX), (splits.div_ceil(2), wave), (splits, halved)];
                // One pixel a picture leaves nothing to divide.
                let divided = divided.into_iter().filter(|_| key.map() != [1, 1]);
                let other = |core| {
                    let splits = splits_by_table(options, key, core);
                    Self::Split { core, splits, wave: wave_by_table(key, core, splits) }
                };
                let mut others = cores.map(other).filter(|way| way.core() != Some(core));
                ways.extend(others.by_ref().take(2));
                ways.extend(divided.map(|(splits, wave)| Self::Split { core, splits, wave }));
                ways.extend(others);
            }
        }
        let mut distinct: Vec<Self> = Vec::new();
        for way in [table].into_iter().chain(ways) {
            if !distinct.contains(&way) {
                distinct.push(way);
            }
        }
        // Where it is possible, the larger block is the likeliest to win; another core comes before the smaller one.
        let taken_apart = [Block::Four, Block::Two].map(|block| Self::Winograd { block });
        for (at, way) in [1, 3].into_iter().zip(taken_apart) {
            if way.fits(options, key) && !distinct.contains(&way) {
                distinct.insert(at.min(distinct.len()), way);
            }
        }
        distinct.truncate(CANDIDATES);
        distinct
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(core) => write!(f, "{core}"),
            Self::Split { core, splits, wave: u32::MAX } => write!(f, "{core} in {splits}"),
            Self::Split { core, splits, wave } => write!(f, "{core} in {splits} by {wave}"),
            Self::Winograd { block } => write!(f, "{block}"),
        }
    }
}

/// The core that the built-in table chooses. That for processors is measured on llvmpipe; that for GPUs follows what others
/// have found: the larger a block, the fewer loads for a multiply-add, as long as all processors have work.
pub(super) fn core_by_table(options: &RecordOptions, key: &ProductKey) -> Core {
    let (rows, cols4) = (key.rows(), key.cols4());
    let product = options.product;
    match product {
        Product::Tiled => {
            if let Some(core) = Core::ROWS.into_iter().find(|core| core.fits(product, key)) {
                return core;
            }
            // Of the depth of a weight gradient there may be many splits.
            let splits = if key.form == ProductForm::Dw { key.pixels().div_ceil(SPLIT_PIXELS) } else { 1 };
            let padded = |core: Core| match core {
                Core::Tiled { rows, cols4 } => key.workgroups(core) * u64::from(rows * cols4),
                _ => u64::MAX,
            };
            let least = Core::TILED.into_iter().map(padded).min().unwrap_or(0);
            let [.., small] = Core::TILED;
            let wasteful = |core: &Core| 4 * padded(*core) > 5 * least;
            let busy = |core: &Core| key.workgroups(*core) * splits >= ENOUGH_WORKGROUPS;
            Core::TILED.into_iter().find(|core| busy(core) && !wasteful(core)).unwrap_or(small)
        }
        Product::Direct => direct_by_table(options, key),
        Product::Subgroup => {
            let cost = |core: Core| key.workgroups(core).saturating_mul(core.cost());
            let direct = direct_by_table(options, key);
            let shared = Core::Subgroup { cols4: if cols4 <= 4 { 4 } else { 8 } };
            if cost(shared) >= cost(direct) {
                return direct;
            }
            // Where few workgroups read the same weights, and each of them many, half as many columns at a time were faster in
            // every measurement, though there are more loads; not for the input's gradient, which reads the weights across.
            let weights = (4 * 32 * key.w[0] * key.w[1] * pad4(key.w[2])) as u64;
            let narrow = key.form == ProductForm::Y && rows <= FEW_ROWS && weights > CACHE_BYTES / 2;
            if narrow { Core::Subgroup { cols4: 4 } } else { shared }
        }
    }
}

/// The tile with the fewest loads.
fn direct_by_table(options: &RecordOptions, key: &ProductKey) -> Core {
    let is_small =
        |core: &Core| matches!(core, Core::Direct { rows, cols4 } if rows * cols4 <= options.largest_tile);
    let possible = Core::DIRECT.into_iter().filter(|core| is_small(core) && core.fits(options.product, key));
    let loads = |core: &Core| direct_loads(*core, key.rows(), key.cols4());
    possible.min_by_key(loads).unwrap_or(Core::REFERENCE)
}

fn direct_loads(core: Core, rows: u32, cols4: u32) -> u64 {
    let Core::Direct { rows: of_lane, cols4: cols4_of_lane } = core else { return u64::MAX };
    let [row_blocks, col_blocks] = core.blocks(rows, cols4).map(u64::from);
    row_blocks * col_blocks * u64::from(Core::direct_loads(of_lane, cols4_of_lane))
}

/// The result is small and the depth is huge: without a split there would be too few workgroups.
fn splits_by_table(options: &RecordOptions, key: &ProductKey, core: Core) -> u32 {
    let wanted = u64::from(options.busy_workgroups).div_ceil(key.workgroups(core).max(1));
    wanted.min(key.pixels().div_ceil(SPLIT_PIXELS)).max(1) as u32
}

fn wave_by_table(key: &ProductKey, core: Core, splits: u32) -> u32 {
    if !core.is_for_processors() {
        return u32::MAX;
    }
    // Channels of one group at a pixel of dy, and at the pixels of x that it met.
    let floats = u64::from(4 * key.cols4()) + (pad4(key.w[2]) * key.stride[0] * key.stride[1]) as u64;
    // Adding to c costs more than reading x and dy again where c is larger than they are.
    let c = u64::from(key.rows()) * u64::from(4 * key.cols4());
    let split = key.pixels().div_ceil(u64::from(splits));
    let [least, most] = WAVE_BYTES;
    let wave = ((WAVE_PER_SUMS * 4 * c).clamp(least, most) / (4 * floats)).max(256);
    if c > split * floats || wave >= split { u32::MAX } else { wave as u32 }
}

/// Choices for products; what they leave out is as the built-in table says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(ProductKey, Choice)>", into = "Vec<(ProductKey, Choice)>")]
pub struct Choices(BTreeMap<ProductKey, Choice>);

impl Choices {
    /// The choice for a product.
    pub fn get(&self, key: &ProductKey) -> Option<Choice> {
        self.0.get(key).copied()
    }

    /// Sets the choice for a product.
    pub fn insert(&mut self, key: ProductKey, choice: Choice) {
        self.0.insert(key, choice);
    }

    /// All choices in the order of the products.
    pub fn iter(&self) -> impl Iterator<Item = (&ProductKey, &Choice)> {
        self.0.iter()
    }
}

impl From<Vec<(ProductKey, Choice)>> for Choices {
    fn from(list: Vec<(ProductKey, Choice)>) -> Self {
        Self(list.into_iter().collect())
    }
}

impl From<Choices> for Vec<(ProductKey, Choice)> {
    fn from(choices: Choices) -> Self {
        choices.0.into_iter().collect()
    }
}
