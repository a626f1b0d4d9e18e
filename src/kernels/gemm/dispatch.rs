//! The matrix products of a convolution as dispatches. `conv2d.wgsl` documents the parameters.

use super::problem::Pass;
use super::tiles::{GemmKernel, GemmOutput};
use crate::error::Result;
use crate::gpu::Kernel;
use crate::kernels::fused_reduction::{self, ChannelReduction, Partials};
use crate::kernels::{Buf, Recorder, Update, fold};
use crate::params;

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
        k_from: u32, k_chunk: u32,
        mask_pitch4: u32, mask_from4: u32,
        first_partial: u32,
    }
}

impl Params {
    /// Whether the pixels of the grid correspond one to one to the pixels of a, in the same order.
    fn is_pointwise(&self) -> bool {
        self.segments.max(1) == 1
            && self.s == 1
            && [self.stride_h, self.stride_w] == [1, 1]
            && [self.pad_h, self.pad_w] == [0, 0]
            && [self.h, self.w] == [self.p, self.q]
            && self.taps_w == 0
    }

    /// Whether no tap of any pixel is in the padding.
    fn is_inside(&self, pass: Pass) -> bool {
        let taps = [self.segments.checked_div(self.s).unwrap_or(0), self.s];
        let axes = [
            (self.h, self.p, self.stride_h, self.pad_h, taps[0]),
            (self.w, self.q, self.stride_w, self.pad_w, taps[1]),
        ];
        axes.into_iter().all(|(size, grid, stride, pad, taps)| {
            let [first, last] = [taps.checked_sub(1), grid.checked_sub(1)];
            let (Some(first), Some(last)) = (first, last) else { return false };
            if pass == Pass::InputGrad {
                // A pixel meets the taps in reverse order, and its own place without the stride.
                return pad >= first && last.saturating_add(pad) < size;
            }
            pad == 0 && last.saturating_mul(stride).saturating_add(first) < size
        })
    }

    /// Whether every block of the depth has `tile_k` numbers, and those of a pixel's taps belong to one tap. The weight
    /// gradient has the same number of blocks in each split.
    fn is_whole(&self, pass: Pass, tile_k: u32) -> bool {
        if pass == Pass::WeightGrad {
            let one_chunk = self.k_chunk >= self.split;
            return one_chunk && self.pixels.is_multiple_of(self.split) && self.split.is_multiple_of(tile_k);
        }
        self.segments > 0 && (4 * self.run4).is_multiple_of(tile_k)
    }
}

/// One of the three products, with the kernel that computes it.
#[derive(Clone, Copy)]
pub(crate) struct Gemm<'a> {
    pub(crate) name: &'static str,
    pub(crate) pass: Pass,
    pub(crate) kernel: GemmKernel,
    pub(crate) constants: &'a [(&'static str, i32)],
}

impl<'a> Gemm<'a> {
    /// A product of the convolution itself.
    pub(crate) fn new(pass: Pass, kernel: GemmKernel, constants: &'a [(&'static str, i32)]) -> Self {
        Self { name: pass.kernel(), pass, kernel, constants }
    }

    /// Records a product that stores its result. `reads` are a, the operands of the epilogue, and b.
    pub(crate) fn store(self, r: &mut Recorder, p: Params, reads: [Buf; 6], c: Buf) -> Result<()> {
        self.store_reducing(r, p, reads, c, None)
    }

    /// Like [`Gemm::store`], with a fused reduction. `p` contains the number of its first partial.
    pub(crate) fn store_reducing(
        self,
        r: &mut Recorder,
        p: Params,
        reads: [Buf; 6],
        c: Buf,
        reduction: Option<(ChannelReduction, Partials)>,
    ) -> Result<()> {
        let (reduction, partials) = reduction.unzip();
        let kind = reduction.map(|reduction| reduction.kind());
        let (mut kernel, p, workgroups) = self.call(p, GemmOutput::Store(kind));
        let [a, .., b] = reads;
        kernel.types = stored([a, b, c]);
        let writes: Vec<Buf> = [c].into_iter().chain(partials.map(|partials| partials.buf)).collect();
        r.product(kernel, p, &fused_reduction::operands(reduction, reads), &writes, workgroups)
    }

    /// Records a product of a and b whose result is the gradient of an SGD step.
    pub(crate) fn update(self, r: &mut Recorder, p: Params, [a, b]: [Buf; 2], on: Update) -> Result<()> {
        let (mut kernel, p, workgroups) = self.call(p, GemmOutput::SgdUpdate);
        kernel.constants.extend(on.constants());
        kernel.types = stored([a, b, on.w]);
        r.product(kernel, p, &[a, b, on.step], &[on.w, on.v], workgroups)
    }

    fn call(self, mut p: Params, output: GemmOutput) -> (Kernel, Params, [u32; 3]) {
        let [row_blocks, col_blocks] = self.kernel.blocks(p.rows, p.cols4);
        let mut kernel = self.kernel.kernel(self.name, self.pass, p.cols4, output);
        kernel.constants.extend(self.constants);
        // In the forward pass and the input gradient, the kernels for processors compute the start of a row of a only
        // once for each tap, so the constant would save nothing.
        if (self.pass == Pass::WeightGrad || !self.kernel.is_for_processors()) && p.is_pointwise() {
            kernel.constants.push(("POINTWISE", 1));
        }
        if p.split == 0 {
            p.split = p.pixels;
        }
        if p.k_chunk == 0 {
            p.k_chunk = p.split;
        }
        if let Some(tile_k) = self.kernel.tile_k() {
            let known = [("INSIDE", p.is_inside(self.pass)), ("WHOLE", p.is_whole(self.pass, tile_k))];
            kernel.constants.extend(known.into_iter().filter(|(_, is)| *is).map(|(name, _)| (name, 1)));
        }
        p.col_blocks = col_blocks;
        let [x, y, _] = fold(row_blocks);
        let z = col_blocks * p.groups * p.pixels.div_ceil(p.split);
        (kernel, p, [x, y, z])
    }
}

/// The number formats of a, b and c as WGSL types.
fn stored(operands: [Buf; 3]) -> Vec<(&'static str, &'static str)> {
    ["StoredA", "StoredB", "StoredC"].into_iter().zip(operands.map(|b| b.shape.precision().wgsl())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All windows of a small image, by counting: whether no tap of any pixel is in the padding.
    #[test]
    fn a_product_is_inside_if_no_tap_is_in_the_padding() {
        let mut both = [0, 0];
        for code in 0_u32..3 * 3 * 4 * 5 * 6 {
            let [stride, pad, taps, grid, size] =
                [code % 3 + 1, code / 3 % 3, code / 9 % 4, code / 36 % 5 + 1, code / 180 + 1];
            for pass in [Pass::Forward, Pass::InputGrad] {
                let p = Params {
                    h: size,
                    w: size,
                    p: grid,
                    q: grid,
                    s: taps.max(1),
                    segments: taps * taps,
                    stride_h: stride,
                    stride_w: stride,
                    pad_h: pad,
                    pad_w: pad,
                    ..Params::default()
                };
                let inside = |i: u32, r: u32| match pass {
                    Pass::InputGrad => (i + pad).checked_sub(r).is_some_and(|h| h < size),
                    _ => (i * stride + r).checked_sub(pad).is_some_and(|h| h < size),
                };
                let all = taps > 0 && (0..grid).all(|i| (0..taps).all(|r| inside(i, r)));
                assert_eq!(p.is_inside(pass), all, "{pass:?} {p:?}");
                both[usize::from(all)] += 1;
            }
        }
        assert!(both.iter().all(|count| *count > 100), "{both:?}");
    }

    #[test]
    fn blocks_are_whole_if_none_is_cut() {
        let whole = |p: Params, pass| p.is_whole(pass, 16);
        let of_taps = Params { segments: 9, run4: 8, ..Params::default() };
        assert!(whole(of_taps, Pass::Forward));
        assert!(!whole(Params { run4: 6, ..of_taps }, Pass::Forward));
        assert!(!whole(Params { segments: 0, ..of_taps }, Pass::InputGrad));
        let of_pixels = Params { pixels: 96, split: 48, k_chunk: 48, ..Params::default() };
        assert!(whole(of_pixels, Pass::WeightGrad));
        for cut in [
            Params { pixels: 95, ..of_pixels },
            Params { split: 40, ..of_pixels },
            Params { k_chunk: 32, ..of_pixels },
        ] {
            assert!(!whole(cut, Pass::WeightGrad), "{cut:?}");
        }
    }
}
