//! Winograd's algorithm for 3x3 convolutions of stride 1: the recording of its transforms and products.

use super::dispatch::{Gemm, Params as GemmParams};
use super::problem::Pass;
use super::tiles::GemmKernel;
use super::winograd_tiles::{SLICE_TILES, WinogradConv, WinogradTile};
use crate::error::Result;
use crate::gpu::Kernel;
use crate::kernels::fused_reduction::{self, ReductionKind};
use crate::kernels::shader::linked_kernel;
use crate::kernels::{Buf, Epilogue, Fusion, Handover, RecordOptions, Recorder, chunk_ranges};
use crate::params;

const TRANSFORMS: &str = include_str!("../../../shaders/winograd/transforms.wgsl");
const F2X2: &str = include_str!("../../../shaders/winograd/f2x2.wgsl");
const F4X4: &str = include_str!("../../../shaders/winograd/f4x4.wgsl");

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

impl WinogradConv {
    /// Records the forward pass or the input gradient from the input `from` and the weights.
    pub(crate) fn record(
        &self,
        r: &mut Recorder,
        tile: WinogradTile,
        [from, w]: [Buf; 2],
        bias: Option<Buf>,
        fusion: &Fusion,
        to: Buf,
    ) -> Result<Handover> {
        let epilogue = &fusion.epilogue;
        let all = self.params(tile, epilogue, to);
        let kernel = |entry| self.kernel(tile, entry, [from, to], None);
        let u = r.workspace(self.filter_bytes(tile));
        let filter = kernel("transform_filter").with("DX", i32::from(self.is_dx()));
        r.flat(filter, all, &[w], &[u], all.filter_c * all.filter_k4)?;

        let tiles = self.tiles(tile);
        let slice = self.slice(tile, r.options());
        let [v, products] = self.tile_bytes(tile).map(|bytes| r.workspace(slice * bytes));
        // A partial covers one tile. With F(2x2) the partials would be half as large as the result.
        let can_reduce = tile == WinogradTile::F4x4;
        let reduction = fusion.reduction.filter(|red| can_reduce && red.goes_with(bias, epilogue));
        let reduced = reduction.map(|red| r.partials(&red, tiles as u32, to.pitch().pitch4));
        let mut last = self.kernel(tile, "transform_product", [from, to], reduction.map(|red| red.kind()));
        last.constants.extend(epilogue.constants(bias));
        // The output transform has no operand b.
        let [reads @ .., _] = fused_reduction::operands(reduction, epilogue.reads(products, bias, u));
        let writes: Vec<Buf> = [to].into_iter().chain(reduced.map(|partials| partials.buf)).collect();
        let constants: &[_] = if self.is_dx() { &[("DX", 1)] } else { &[] };
        for first in (0..tiles).step_by(slice.max(1) as usize) {
            let count = slice.min(tiles - first) as u32;
            let part = Params { first: first as u32, blocks: count, ..all };
            r.flat(kernel("transform_input"), part, &[from], &[v], count * all.c4)?;
            let gemm = self.gemm(r.options(), tile, count, constants);
            gemm.store(r, self.gemm_params(tile, count), [v, u, u, u, u, u], products)?;
            r.flat(last.clone(), part, &reads, &writes, count * all.k4)?;
        }
        Ok(Handover { reduced, deferred: None })
    }

    /// Records the weight gradient from `x` and `dy`: G' [sum over tiles of (B' x B) (A dy A')] G. If the images are
    /// stored in several buffers, the sums are those of all buffers.
    pub(crate) fn record_dw(
        &self,
        r: &mut Recorder,
        tile: WinogradTile,
        [x, dy]: [Buf; 2],
        dw: Buf,
    ) -> Result<()> {
        let sums = r.workspace(self.filter_bytes(tile));
        for range in chunk_ranges(&[x, dy]) {
            let (x, dy) = (x.images(range.clone())?, dy.images(range.clone())?);
            let part = Self { from: x.shape, to: dy.shape, ..*self };
            part.record_sums(r, tile, [x, dy], sums, range.start == 0)?;
        }
        let all = self.params(tile, &Epilogue::default(), dw);
        let last = self.kernel(tile, "transform_sums", [dw, dw], None);
        r.flat(last, all, &[sums], &[dw], all.filter_c * all.filter_k4)
    }

    /// Records the sums over the images of one buffer. They are added to those of the buffers before.
    fn record_sums(
        &self,
        r: &mut Recorder,
        tile: WinogradTile,
        [x, dy]: [Buf; 2],
        sums: Buf,
        is_first: bool,
    ) -> Result<()> {
        let all = self.params(tile, &Epilogue::default(), dy);
        let kernel = |entry, from| self.kernel(tile, entry, [from, dy], None);
        let tiles = self.tiles(tile);
        let slice = self.slice(tile, r.options());
        let [v, d] = self.tile_bytes(tile).map(|bytes| r.workspace(slice * bytes));
        for first in (0..tiles).step_by(slice.max(1) as usize) {
            let count = slice.min(tiles - first) as u32;
            let part = Params { first: first as u32, blocks: count, ..all };
            r.flat(kernel("transform_input", x), part, &[x], &[v], count * all.c4)?;
            r.flat(kernel("transform_gradient", dy), part, &[dy], &[d], count * all.k4)?;
            let constants: &[_] = if is_first && first == 0 { &[] } else { &[("ADD", 1)] };
            let gemm = self.gemm(r.options(), tile, count, constants);
            gemm.store(r, self.gemm_params(tile, count), [v, d, d, d, d, d], sums)?;
        }
        Ok(())
    }

    /// The kernel of the products of all points.
    pub(super) fn inner_kernel(
        &self,
        options: &RecordOptions,
        tile: WinogradTile,
        tiles: usize,
    ) -> GemmKernel {
        options.gemm_kernel_in(&self.products(tile, tiles), self.pass)
    }

    /// The number of tiles of a slice within the limits of the adapter and of one dispatch.
    fn slice(&self, tile: WinogradTile, options: &RecordOptions) -> u64 {
        let [v, products] = self.tile_bytes(tile);
        let [c, k] = self.channels();
        let macs = (tile.points() * c * k) as u64;
        let most = self
            .usual_slice(tile, options.family)
            .min(options.limits.bindable_bytes() / v.max(products))
            .min(options.call_macs / macs)
            .max(1);
        let tiles = self.tiles(tile);
        let even = tiles.div_ceil(tiles.div_ceil(most).max(1));
        even.next_multiple_of(SLICE_TILES).min(most).min(tiles)
    }

    fn kernel(
        &self,
        tile: WinogradTile,
        entry: &'static str,
        [from, to]: [Buf; 2],
        reduction: Option<ReductionKind>,
    ) -> Kernel {
        let matrices = match tile {
            WinogradTile::F2x2 => F2X2,
            WinogradTile::F4x4 => F4X4,
        };
        let texts = [&[TRANSFORMS, matrices], fused_reduction::texts(reduction)].concat();
        Kernel {
            // The data between the transforms is f32.
            types: vec![("StoredA", from.shape.precision().wgsl()), ("StoredC", to.shape.precision().wgsl())],
            ..linked_kernel(self.name(), &texts, entry)
        }
    }

    /// The name of all its kernels: together they do the work of the one kernel of an implicit GEMM.
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Forward => "winograd.y",
            Pass::InputGrad => "winograd.dx",
            Pass::WeightGrad => "winograd.dw",
        }
    }

    fn params(&self, tile: WinogradTile, epilogue: &Epilogue, to: Buf) -> Params {
        let [_, h, w, _] = self.from.dims().map(|d| d as u32);
        let [_, p, q, _] = self.to.dims().map(|d| d as u32);
        let [_, _, filter_c, filter_k] = self.w.padded().map(|d| d as u32);
        let [c, k] = self.channels().map(|d| d as u32);
        let [down, across] = self.grid(tile).map(|d| d as u32);
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

    /// The GEMM of the products of all points ([`WinogradConv::products`]).
    fn gemm<'a>(
        &self,
        options: &RecordOptions,
        tile: WinogradTile,
        tiles: u32,
        constants: &'a [(&'static str, i32)],
    ) -> Gemm<'a> {
        let kernel = self.inner_kernel(options, tile, tiles as usize);
        Gemm { name: self.name(), pass: self.pass, kernel, constants }
    }

    fn gemm_params(&self, tile: WinogradTile, tiles: u32) -> GemmParams {
        let points = tile.points() as u32;
        let [c4, k4] = self.channels().map(|c| (c / 4) as u32);
        let [_, _, filter_c, filter_k] = self.w.padded().map(|d| d as u32);
        let all = GemmParams {
            h: 1,
            w: tiles,
            c4: points * c4,
            p: 1,
            q: tiles,
            s: 1,
            stride_h: 1,
            stride_w: 1,
            rows: tiles,
            cols4: k4,
            segments: 1,
            run4: c4,
            groups: points,
            pixels: tiles,
            b_pitch4: filter_k / 4,
            b_segment: filter_c,
            b_group_col4: filter_c * filter_k / 4,
            out4: points * k4,
            ..GemmParams::default()
        };
        match self.pass {
            // b is the transformed dy instead of the weights, and c has the layout of the transformed weights.
            Pass::WeightGrad => {
                GemmParams { rows: 4 * c4, b_pitch4: points * k4, b_segment: 0, b_group_col4: k4, ..all }
            }
            Pass::Forward | Pass::InputGrad => all,
        }
    }
}
