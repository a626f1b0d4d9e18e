//! 3x3 convolutions of stride 1 by Winograd's algorithm: another way to record the three products of [`super::conv2d`].

use super::choice::core_by_table;
use super::column::{self, Sought};
use super::epilogue::{EPILOGUE, NOT_A_NUMBER};
use super::product::{Form, Params as ProductParams, product};
use super::{Buf, ConvOptions, Epilogue, Product, ProductForm, ProductKey, RecordOptions, Recorder, ranges};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Precision, Shape};
use serde::{Deserialize, Serialize};
use std::fmt;

const WINOGRAD: &str = include_str!("../../shaders/winograd.wgsl");
const GRID: &str = include_str!("../../shaders/grid.wgsl");
const TWO: &str = include_str!("../../shaders/winograd_two.wgsl");
const FOUR: &str = include_str!("../../shaders/winograd_four.wgsl");

/// Bytes of what is between the transforms at a time, on processors: it should stay in their last cache.
const SLICE_BYTES: u64 = 12 << 20;
/// The same on GPUs, where a slice must keep all of it busy.
const GPU_SLICE_BYTES: u64 = 48 << 20;
/// Blocks of a slice are a multiple of this: the rows of its products that a workgroup computes.
const SLICE_BLOCKS: u64 = 64;

/// As the cycles of [`Core::cycles`]: a load or store of a transform, with the arithmetic that it takes.
const ACCESS_CYCLES: u64 = 150;

params! {
    Params {
        h: u32, w: u32, c4: u32,
        pad_h: u32, pad_w: u32,
        p: u32, q: u32, k4: u32,
        down: u32, across: u32,
        first: u32, blocks: u32,
        filter_c: u32, filter_k4: u32,
        out4: u32, out_from4: u32,
        mask_pitch4: u32, mask_from4: u32,
    }
}

/// Which 3x3 convolutions of stride 1 are computed by Winograd's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Winograd {
    /// None.
    Off,
    /// All that can be, by F(2x2, 3x3): 16 multiplications for four numbers instead of 36.
    Two,
    /// All that can be, by F(4x4, 3x3): 36 multiplications for 16 numbers instead of 144.
    Four,
    /// Those for which it was chosen. Where nothing was, those that a count of loads, stores and multiply-adds finds faster so,
    /// in the blocks that it finds the fastest; none on GPUs, for which there is no such count.
    Auto,
}

/// One of the three products of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convolution {
    pub(super) form: ProductForm,
    /// What tiles that overlap are cut from: `x`, or `dy` for `dx`.
    pub(super) from: Shape,
    pub(super) w: Shape,
    /// What is divided into blocks: `y`, the gradient of `x` for `dx`, or `dy` for `dw`.
    pub(super) to: Shape,
    pub(super) options: ConvOptions,
}

/// The block of the result that comes from one set of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Block {
    /// F(2x2, 3x3).
    Two,
    /// F(4x4, 3x3).
    Four,
}

impl Block {
    /// Pixels of the result on a side.
    fn side(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Multiplications of a block.
    fn points(self) -> usize {
        (self.side() + 2).pow(2)
    }

    fn sources(self, sought: Option<Sought>) -> Vec<&'static str> {
        let matrices = match self {
            Self::Two => TWO,
            Self::Four => FOUR,
        };
        [&[WINOGRAD, matrices, EPILOGUE, NOT_A_NUMBER, GRID], column::texts(sought)].concat()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "winograd {0}x{0}", self.side())
    }
}

impl Convolution {
    /// The convolution of a product.
    pub(super) fn of(key: &ProductKey) -> Self {
        let ([n, h, w, c], [r, s, group_c, k], [p, q]) = (key.x, key.w, key.map());
        let (x, y) = (Shape::image(n, h, w, c), Shape::image(n, p, q, k));
        let (from, to) = if key.form == ProductForm::Dx { (y, x) } else { (x, y) };
        let options = ConvOptions { stride: key.stride, pad: key.pad, groups: key.groups };
        Self { form: key.form, from, w: Shape::filter(r, s, group_c, k), to, options }
    }

    /// In which blocks the built-in table says to compute it; `None` for the product `direct`.
    pub(super) fn by_table(&self, options: &RecordOptions, direct: &ProductKey) -> Option<Block> {
        let block = match options.winograd {
            Winograd::Off => return None,
            Winograd::Two => Block::Two,
            Winograd::Four => Block::Four,
            Winograd::Auto => self.fastest(options, direct)?,
        };
        self.fits(options, block).then_some(block)
    }

    /// Whether it can be computed in these blocks, and may be.
    pub(super) fn fits(&self, options: &RecordOptions, block: Block) -> bool {
        let allowed = match options.winograd {
            Winograd::Off => false,
            Winograd::Two => block == Block::Two,
            Winograd::Four => block == Block::Four,
            Winograd::Auto => true,
        };
        allowed && self.is_possible() && {
            let [v, products] = self.between_bytes(block);
            v.max(products).max(self.filter_bytes(block)) <= options.limits.piece_bytes()
        }
    }

    fn is_dx(&self) -> bool {
        self.form == ProductForm::Dx
    }

    fn is_possible(&self) -> bool {
        let [r, s, ..] = self.w.dims();
        let ConvOptions { stride, pad, groups } = self.options;
        [r, s] == [3, 3] && stride == [1, 1] && groups == 1 && (!self.is_dx() || pad.iter().all(|p| *p <= 2))
    }

    /// What [`Winograd::Auto`] says.
    fn fastest(&self, options: &RecordOptions, direct: &ProductKey) -> Option<Block> {
        if options.product == Product::Tiled || !self.is_possible() {
            return None;
        }
        let blocks = [Block::Two, Block::Four].map(|block| (self.cycles(options, block), block));
        let (least, block) = blocks.into_iter().min_by_key(|(cycles, _)| *cycles)?;
        // It must be worth the memory that goes to and fro, which is not counted.
        (10 * least < 9 * direct.cycles(core_by_table(options, direct))).then_some(block)
    }

    /// As [`Core::cycles`], of all of it.
    fn cycles(&self, options: &RecordOptions, block: Block) -> u64 {
        let key = self.key(block, self.blocks(block) as usize);
        let [c4, k4] = self.channels().map(|c| (c / 4) as u64);
        let (points, outputs) = (block.points() as u64, block.side().pow(2) as u64);
        let of_weights = match self.form {
            // Each slice but the first loads the sums and stores them again, the last transform loads them; the first store
            // counts with the products.
            ProductForm::Dw => {
                let slices = self.blocks(block).div_ceil(self.usual_slice(block, options.product)).max(1);
                // Sums that do not stay in the last cache wait for memory.
                let far = if self.filter_bytes(block) > 2 * SLICE_BYTES { 2 } else { 1 };
                9 + far * points * (2 * slices - 1)
            }
            _ => 9 + points,
        };
        let accesses =
            self.blocks(block) * (c4 * 2 * points + k4 * (points + outputs)) + 4 * c4 * k4 * of_weights;
        key.cycles(core_by_table(options, &key))
            + accesses * ACCESS_CYCLES / u64::from(Product::SUBGROUP_LANES)
    }

    /// Channels of what is read and of the result, with padding.
    fn channels(&self) -> [usize; 2] {
        let [_, _, c, k] = self.w.padded();
        if self.is_dx() { [k, c] } else { [c, k] }
    }

    /// Blocks of a picture, down and across.
    fn grid(&self, block: Block) -> [usize; 2] {
        let [_, p, q, _] = self.to.dims();
        [p, q].map(|side| side.div_ceil(block.side()))
    }

    fn blocks(&self, block: Block) -> u64 {
        let [images, ..] = self.to.dims();
        let [down, across] = self.grid(block);
        (images * down * across) as u64
    }

    fn filter_bytes(&self, block: Block) -> u64 {
        let [c, k] = self.channels().map(|c| c as u64);
        4 * block.points() as u64 * c * k
    }

    /// Bytes of a block after the first transform, and before the last; for `dw` after that of each operand.
    fn between_bytes(&self, block: Block) -> [u64; 2] {
        self.channels().map(|c| (4 * block.points() * c) as u64)
    }

    /// How many blocks to take at a time, so that what is between the transforms stays small.
    fn usual_slice(&self, block: Block, product: Product) -> u64 {
        let bytes = if product == Product::Tiled { GPU_SLICE_BYTES } else { SLICE_BYTES };
        // The sums of dw go to and fro for each slice.
        let sums = if self.form == ProductForm::Dw { self.filter_bytes(block) } else { 0 };
        let [v, products] = self.between_bytes(block);
        let most = (bytes.max(sums) / (v + products)).max(SLICE_BLOCKS);
        most - most % SLICE_BLOCKS
    }

    /// The same within the limits of the adapter and the time of a call.
    fn slice(&self, block: Block, options: &RecordOptions) -> u64 {
        let [v, products] = self.between_bytes(block);
        let [c, k] = self.channels();
        let macs = (block.points() * c * k) as u64;
        let most = self.usual_slice(block, options.product);
        let most =
            most.min(options.limits.piece_bytes() / v.max(products)).min(options.call_macs / macs).max(1);
        let blocks = self.blocks(block);
        let even = blocks.div_ceil(blocks.div_ceil(most).max(1));
        even.next_multiple_of(SLICE_BLOCKS).min(most).min(blocks)
    }

    /// Records `y` or `dx`, from what is read and the weights.
    pub(super) fn record(
        &self,
        r: &mut Recorder,
        block: Block,
        [from, w]: [Buf; 2],
        bias: Option<Buf>,
        epilogue: &Epilogue,
        to: Buf,
    ) -> Result<()> {
        let all = self.params(block, epilogue, to);
        let kernel = |entry| self.kernel(block, entry, [from, to]);
        let u = r.workspace(self.filter_bytes(block));
        let filter = kernel("transform_filter").with("DX", i32::from(self.is_dx()));
        r.flat(filter, all, &[w], &[u], all.filter_c * all.filter_k4)?;

        let blocks = self.blocks(block);
        let slice = self.slice(block, r.options());
        let [v, products] = self.between_bytes(block).map(|bytes| r.workspace(slice * bytes));
        // A part is a block: of the smaller ones the parts would be half as large as the result.
        let look = r.look(to).filter(|look| block == Block::Four && look.goes_with(bias, epilogue));
        let seen = look.map(|look| (look, look.parts(r, blocks as u32, to.pitch().pitch4)));
        let mut last =
            Kernel { sources: block.sources(look.map(|look| look.sought)), ..kernel("transform_product") };
        last.constants.extend(epilogue.constants(bias));
        // The last kernel has no b.
        let [reads @ .., _] = column::operands(look, epilogue.reads(products, bias, u));
        let mut writes = vec![to];
        if let Some((look, parts)) = seen {
            writes.push(parts.buf);
            r.saw(to, look, parts);
        }
        let constants: &[_] = if self.is_dx() { &[("DX", 1)] } else { &[] };
        for first in (0..blocks).step_by(slice.max(1) as usize) {
            let count = slice.min(blocks - first) as u32;
            let part = Params { first: first as u32, blocks: count, ..all };
            r.flat(kernel("transform_input"), part, &[from], &[v], count * all.c4)?;
            let core = core_by_table(r.options(), &self.key(block, count as usize));
            let form = Form { name: self.name(), form: self.form, core, constants };
            product(r, form, self.products(block, count), [v, u, u, u, u, u], products)?;
            r.flat(last.clone(), part, &reads, &writes, count * all.k4)?;
        }
        Ok(())
    }

    /// Records `dw`, from `x` and `dy`: G' [sum over blocks of (B' x B) (A dy A')] G. Where the pictures lie in several buffers the
    /// sums are those of all of them.
    pub(super) fn record_dw(&self, r: &mut Recorder, block: Block, [x, dy]: [Buf; 2], dw: Buf) -> Result<()> {
        let sums = r.workspace(self.filter_bytes(block));
        for range in ranges(&[x, dy]) {
            let (x, dy) = (x.images(range.clone())?, dy.images(range.clone())?);
            let part = Self { from: x.shape, to: dy.shape, ..*self };
            part.record_sums(r, block, [x, dy], sums, range.start == 0)?;
        }
        let all = self.params(block, &Epilogue::default(), dw);
        let last = self.kernel(block, "transform_sums", [dw, dw]);
        r.flat(last, all, &[sums], &[dw], all.filter_c * all.filter_k4)
    }

    /// Records the sums of the pictures of one buffer each, which are added to those of the buffers before.
    fn record_sums(
        &self,
        r: &mut Recorder,
        block: Block,
        [x, dy]: [Buf; 2],
        sums: Buf,
        is_first: bool,
    ) -> Result<()> {
        let all = self.params(block, &Epilogue::default(), dy);
        let kernel = |entry, from| self.kernel(block, entry, [from, dy]);
        let blocks = self.blocks(block);
        let slice = self.slice(block, r.options());
        let [v, d] = self.between_bytes(block).map(|bytes| r.workspace(slice * bytes));
        for first in (0..blocks).step_by(slice.max(1) as usize) {
            let count = slice.min(blocks - first) as u32;
            let part = Params { first: first as u32, blocks: count, ..all };
            r.flat(kernel("transform_input", x), part, &[x], &[v], count * all.c4)?;
            r.flat(kernel("transform_gradient", dy), part, &[dy], &[d], count * all.k4)?;
            let core = core_by_table(r.options(), &self.key(block, count as usize));
            let constants: &[_] = if is_first && first == 0 { &[] } else { &[("ADD", 1)] };
            let form = Form { name: self.name(), form: self.form, core, constants };
            product(r, form, self.products(block, count), [v, d, d, d, d, d], sums)?;
        }
        Ok(())
    }

    fn kernel(&self, block: Block, entry: &'static str, [from, to]: [Buf; 2]) -> Kernel {
        Kernel {
            // What is between the transforms is f32.
            types: vec![("StoredA", from.shape.precision().wgsl()), ("StoredC", to.shape.precision().wgsl())],
            ..Kernel::new(self.name(), &block.sources(None), entry)
        }
    }

    /// All its kernels have one name: together they do what the one kernel of `conv2d.rs` does.
    fn name(&self) -> &'static str {
        match self.form {
            ProductForm::Y => "winograd.y",
            ProductForm::Dx => "winograd.dx",
            ProductForm::Dw => "winograd.dw",
        }
    }

    fn params(&self, block: Block, epilogue: &Epilogue, to: Buf) -> Params {
        let [_, h, w, _] = self.from.dims().map(|d| d as u32);
        let [_, p, q, _] = self.to.dims().map(|d| d as u32);
        let [_, _, filter_c, filter_k] = self.w.padded().map(|d| d as u32);
        let [c, k] = self.channels().map(|d| d as u32);
        let [down, across] = self.grid(block).map(|d| d as u32);
        let [pad_h, pad_w] = self.options.pad.map(|pad| if self.is_dx() { 2 - pad } else { pad } as u32);
        let mask = epilogue.mask.unwrap_or(to).pitch();
        Params {
            h,
            w,
            c4: c / 4,
            pad_h,
            pad_w,
            p,
            q,
            k4: k / 4,
            down,
            across,
            filter_c,
            filter_k4: filter_k / 4,
            out4: to.pitch().pitch4,
            out_from4: to.pitch().from4,
            mask_pitch4: mask.pitch4,
            mask_from4: mask.from4,
            ..Params::default()
        }
    }

    /// What the choice of a core for the products of all points depends on: see [`Convolution::products`].
    fn key(&self, block: Block, blocks: usize) -> ProductKey {
        let points = block.points();
        let [c, k] = self.channels();
        ProductKey {
            form: if self.form == ProductForm::Dw { ProductForm::Dw } else { ProductForm::Y },
            x: [1, 1, blocks, points * c],
            w: [1, 1, c, points * k],
            stride: [1, 1],
            pad: [0, 0],
            groups: points,
            precision: Precision::F32,
        }
    }

    /// The products of all points: a 1x1 convolution of a row of pixels, one a block, in as many groups.
    fn products(&self, block: Block, blocks: u32) -> ProductParams {
        let points = block.points() as u32;
        let [c4, k4] = self.channels().map(|c| (c / 4) as u32);
        let [_, _, filter_c, filter_k] = self.w.padded().map(|d| d as u32);
        let all = ProductParams {
            h: 1,
            w: blocks,
            c4: points * c4,
            p: 1,
            q: blocks,
            s: 1,
            stride_h: 1,
            stride_w: 1,
            rows: blocks,
            cols4: k4,
            segments: 1,
            run4: c4,
            groups: points,
            pixels: blocks,
            b_pitch4: filter_k / 4,
            b_segment: filter_c,
            b_group_col4: filter_c * filter_k / 4,
            out4: points * k4,
            ..ProductParams::default()
        };
        match self.form {
            // b is not the weights but of pixels too, and c of taps.
            ProductForm::Dw => {
                ProductParams { rows: 4 * c4, b_pitch4: points * k4, b_segment: 0, b_group_col4: k4, ..all }
            }
            _ => all,
        }
    }
}
