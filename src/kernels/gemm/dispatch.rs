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
