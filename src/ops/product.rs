//! The matrix products of a convolution as dispatches. `conv2d.wgsl` says what the parameters mean.

use super::column::{self, Look, Parts};
use super::core::Becomes;
use super::record::fold;
use super::{Buf, Core, ProductForm, Recorder, Update};
use crate::error::Result;
use crate::gpu::{Kernel, params};

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
        first_part: u32,
    }
}

impl Params {
    /// Whether each pixel of the grid meets one pixel of a, in the same order.
    fn is_pointwise(&self) -> bool {
        self.segments.max(1) == 1
            && self.s == 1
            && [self.stride_h, self.stride_w] == [1, 1]
            && [self.pad_h, self.pad_w] == [0, 0]
            && [self.h, self.w] == [self.p, self.q]
            && self.taps_w == 0
    }
}

/// One of the three products as a kernel.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) name: &'static str,
    pub(super) form: ProductForm,
    pub(super) core: Core,
    pub(super) constants: &'a [(&'static str, i32)],
}

impl<'a> Form<'a> {
    /// Of a convolution itself.
    pub(super) fn new(form: ProductForm, core: Core, constants: &'a [(&'static str, i32)]) -> Self {
        Self { name: form.kernel(), form, core, constants }
    }
}

/// Records a product: `reads` are a, what an epilogue needs, and b.
pub(super) fn product(r: &mut Recorder, form: Form, p: Params, reads: [Buf; 6], c: Buf) -> Result<()> {
    product_seen(r, form, p, reads, c, None)
}

/// The same where someone looks at the columns; `p` says at which part to begin.
pub(super) fn product_seen(
    r: &mut Recorder,
    form: Form,
    p: Params,
    reads: [Buf; 6],
    c: Buf,
    seen: Option<(Look, Parts)>,
) -> Result<()> {
    let look = seen.map(|(look, _)| look);
    let (mut kernel, p, workgroups) = call(form, p, Becomes::Stored(look.map(|look| look.sought)));
    let [a, .., b] = reads;
    kernel.types = stored([a, b, c]);
    let writes: Vec<Buf> = [c].into_iter().chain(seen.map(|(_, parts)| parts.buf)).collect();
    r.product(kernel, p, &column::operands(look, reads), &writes, workgroups)
}

/// Records a product of a and b whose result is the gradient of a step of SGD.
pub(super) fn product_with_sgd(
    r: &mut Recorder,
    form: Form,
    p: Params,
    [a, b]: [Buf; 2],
    on: Update,
) -> Result<()> {
    let (mut kernel, p, workgroups) = call(form, p, Becomes::Gradient);
    kernel.types = stored([a, b, on.w]);
    r.product(kernel, p, &[a, b, on.step], &[on.w, on.v], workgroups)
}

/// How a, b and c lie in memory.
fn stored(operands: [Buf; 3]) -> Vec<(&'static str, &'static str)> {
    ["StoredA", "StoredB", "StoredC"].into_iter().zip(operands.map(|b| b.shape.precision().wgsl())).collect()
}

fn call(
    Form { name, form, core, constants }: Form,
    mut p: Params,
    becomes: Becomes,
) -> (Kernel, Params, [u32; 3]) {
    let [row_blocks, col_blocks] = core.blocks(p.rows, p.cols4);
    let mut kernel = core.kernel(name, form, p.cols4, becomes);
    kernel.constants.extend(constants);
    // The cores for processors compute where a row of a begins once for each tap, but for the weight gradient.
    if (form == ProductForm::Dw || !core.is_for_processors()) && p.is_pointwise() {
        kernel.constants.push(("POINTWISE", 1));
    }
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
