//! 2-D convolution (cross-correlation) with bias and groups. Forward pass, input gradient and weight gradient are
//! implicit GEMMs, or use Winograd's algorithm.

mod weight_grad;

use crate::error::{Error, Result};
use crate::graph::{Description, Graph, Inputs, Op, OpTraits, image, layout};
use crate::kernels::gemm::dispatch::{Gemm, Params};
use crate::kernels::gemm::winograd_tiles::WinogradConv;
use crate::kernels::{
    Algorithm, Buf, ChannelReduction, ConvOptions, ConvProblem, Fusion, GemmKernel, Handover, Partials, Pass,
    Recorder, Stage,
};
use crate::tensor::{Layout, Precision, Shape, Value};
use weight_grad::Conv2dDw;

/// The forward pass: `y` from `x`, `w` and an optional bias.
#[derive(Debug)]
pub(super) struct Conv2d {
    pub(super) options: ConvOptions,
    /// `linear` for a fully connected layer, otherwise `conv2d`.
    pub(super) name: &'static str,
    /// The precision of the result.
    pub(super) stores: Precision,
}

#[derive(Debug)]
struct Conv2dDx {
    options: ConvOptions,
    to: Shape,
}

impl Graph {
    /// Convolution of `x` `(N, H, W, C)` with filters `w` `(R, S, C/groups, K)` and an optional bias `(K)`: `(N, P, Q,
    /// K)` with `P = floor((H + 2 pad - R)/stride) + 1`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit.
    pub fn conv2d(&mut self, x: Value, w: Value, bias: Option<Value>, options: ConvOptions) -> Result<Value> {
        let stores = self.shape(x)?.precision();
        self.convolution(x, w, bias, options, "conv2d", stores)
    }

    pub(super) fn convolution(
        &mut self,
        x: Value,
        mut w: Value,
        bias: Option<Value>,
        mut options: ConvOptions,
        name: &'static str,
        stores: Precision,
    ) -> Result<Value> {
        let [_, _, group_c, k] = layout(name, self.shape(w)?, Layout::Filter)?;
        // The kernels read and write four channels at once, so a group must start at a multiple of four.
        if options.groups > 1 && (group_c % 4 != 0 || !(k / options.groups).is_multiple_of(4)) {
            w = self.ungroup(w, options.groups)?;
            options.groups = 1;
        }
        let mut inputs = vec![x, w];
        inputs.extend(bias);
        self.push_op(Conv2d { options, name, stores }, &inputs)
    }
}

impl Conv2d {
    fn params(&self, x: &[Buf], y: Buf) -> Params {
        let ConvOptions { groups, .. } = self.options;
        let [_, _, group_c, k] = x[1].shape.padded();
        Params {
            rows: pixels(y.shape),
            cols4: (k / groups / 4) as u32,
            run4: (group_c / 4) as u32,
            pixels: pixels(y.shape),
            b_pitch4: (k / 4) as u32,
            b_segment: group_c as u32,
            b_group_col4: (k / groups / 4) as u32,
            out4: y.pitch().pitch4,
            out_from4: y.pitch().from4,
            ..window(x[0].shape, y.shape, x[1].shape, self.options)
        }
    }

    fn output(&self, inputs: &[Shape]) -> Result<Shape> {
        let (x, w) = match *inputs {
            [x, w] | [x, w, _] => (x, w),
            _ => return Err(Error::usage(format!("{} takes 2 or 3 inputs", self.name))),
        };
        let ConvOptions { stride, pad, groups } = self.options;
        let [n, h, width, c] = image(self.name, x)?;
        let [r, s, group_c, k] = layout(self.name, w, Layout::Filter)?;
        if groups == 0 || c % groups != 0 || k % groups != 0 || group_c != c / groups {
            return Err(Error::usage(format!(
                "filters {w} in {groups} groups do not fit an input of {c} channels"
            )));
        }
        if inputs.get(2).is_some_and(|b| *b != Shape::vector(k)) {
            return Err(Error::usage(format!("a bias of {} numbers for {k} channels", inputs[2])));
        }
        let is_huge = |n: &usize| i32::try_from(*n).is_err();
        if stride.contains(&0) || r == 0 || s == 0 || stride.iter().chain(&pad).any(is_huge) {
            return Err(Error::usage(format!(
                "{} with filters {w}, stride {stride:?} and padding {pad:?}",
                self.name
            ))
            .hint("filters and strides are at least 1, strides and padding below 2^31"));
        }
        let place = |size: usize, kernel: usize, i: usize| {
            let room =
                size.saturating_add(pad[i].saturating_mul(2)).checked_sub(kernel).ok_or_else(|| {
                    Error::usage(format!("an input of {h}x{width} is smaller than the kernel of {r}x{s}"))
                        .hint("use a larger input size")
                })?;
            Ok(room / stride[i] + 1)
        };
        Ok(Shape::image(n, place(h, r, 0)?, place(width, s, 1)?, k).stored_as(self.stores))
    }
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Conv2d(self.options))
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        self.output(inputs)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let options = self.options;
        let (to_x, to_w) = (g.shape(x[0])?, g.shape(x[1])?);
        let [_, height, width, _] = g.shape(dy)?.dims();
        let one_pixel = height * width == 1;
        let dw = g.push_op(Conv2dDw { options, to: to_w, one_pixel }, &[x[0], dy])?;
        let dx = g.push_op(Conv2dDx { options, to: to_x }, &[dy, x[1]])?;
        let mut gradients = vec![Some(dx), Some(dw)];
        if x.len() == 3 {
            gradients.push(Some(g.sum_rows(dy)?));
        }
        Ok(gradients)
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::These(&[0]),
            writes_slice: true,
            epilogue: &[Stage::Affine, Stage::Residual, Stage::Relu],
            ..OpTraits::default()
        }
    }

    fn problem(&self, inputs: &[Shape]) -> Option<ConvProblem> {
        let [x, w, ..] = *inputs else { return None };
        Some(ConvProblem::new(Pass::Forward, x, w, self.options))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let problem = ConvProblem::new(Pass::Forward, x[0].shape, x[1].shape, self.options);
        self.record_fused(r, x, &Fusion::by(r.options().select(&problem)), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let bias = x.get(2).copied();
        let kernel = match fusion.algorithm()? {
            Algorithm::Gemm(kernel) | Algorithm::SplitK { kernel, .. } => kernel,
            Algorithm::Winograd { tile } => {
                let problem = ConvProblem::new(Pass::Forward, x[0].shape, x[1].shape, self.options);
                return WinogradConv::of(&problem).record(r, tile, [x[0], x[1]], bias, fusion, y);
            }
        };
        let p = self.params(x, y);
        let constants = fusion.epilogue.constants(bias);
        let reads = fusion.epilogue.reads(x[0], bias, x[1]);
        let reduction = fusion.reduction.filter(|reduction| reduction.goes_with(bias, &fusion.epilogue));
        let reduction = reducing(r, reduction, y, kernel, &[p]);
        Gemm::new(Pass::Forward, kernel, &constants).store_reducing(r, p, reads, y, reduction)?;
        Ok(Handover { reduced: reduction.map(|(_, partials)| partials), deferred: None })
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        let Ok(y) = self.output(inputs) else { return 0 };
        macs(y, inputs[1])
    }
}

impl Conv2dDx {
    fn params(&self, dy: Buf, w: Buf, mask: Buf, y: Buf) -> Params {
        let ConvOptions { groups, .. } = self.options;
        let [_, _, group_c, k] = w.shape.padded();
        Params {
            rows: pixels(y.shape),
            cols4: (group_c / 4) as u32,
            run4: (k / groups / 4) as u32,
            pixels: pixels(y.shape),
            b_pitch4: (k / 4) as u32,
            b_segment: group_c as u32,
            b_group_col4: (k / groups / 4) as u32,
            out4: (group_c * groups / 4) as u32,
            mask_pitch4: mask.pitch().pitch4,
            mask_from4: mask.pitch().from4,
            ..window(dy.shape, y.shape, w.shape, self.options)
        }
    }

    /// The GEMMs of the input gradient: one if the stride is 1, otherwise one per phase. Pixels of x at the same
    /// position modulo the stride form a phase. They use the same taps, and the GEMM of a phase has only these taps.
    fn phases(&self, y: Shape, w: Shape, p: Params) -> Vec<Params> {
        let [stride_h, stride_w] = self.options.stride;
        if [stride_h, stride_w] == [1, 1] {
            return vec![p];
        }
        let mut phases = Vec::new();
        let [images, height, width, _] = y.dims();
        let [taps_h, taps_w, ..] = w.dims();
        let [pad_h, pad_w] = self.options.pad;
        for phase_h in 0..stride_h.min(height) {
            for phase_w in 0..stride_w.min(width) {
                let [tap_h, tap_w] = [(phase_h + pad_h) % stride_h, (phase_w + pad_w) % stride_w];
                // Every stride-th tap from the first one on. A phase may have no tap if the kernel is smaller than the
                // stride.
                let count =
                    |taps: usize, first: usize, stride: usize| taps.saturating_sub(first).div_ceil(stride);
                let taps = [count(taps_h, tap_h, stride_h), count(taps_w, tap_w, stride_w)];
                let grid = [(height - phase_h).div_ceil(stride_h), (width - phase_w).div_ceil(stride_w)];
                let rows = (images * grid[0] * grid[1]) as u32;
                phases.push(Params {
                    rows,
                    pixels: rows,
                    p: grid[0] as u32,
                    q: grid[1] as u32,
                    s: taps[1].max(1) as u32,
                    segments: (taps[0] * taps[1]) as u32,
                    pad_h: ((phase_h + pad_h) / stride_h) as u32,
                    pad_w: ((phase_w + pad_w) / stride_w) as u32,
                    phase_h: phase_h as u32,
                    phase_w: phase_w as u32,
                    out_h: height as u32,
                    out_w: width as u32,
                    tap0: (tap_h * taps_w + tap_w) as u32,
                    taps_w: taps_w as u32,
                    ..p
                });
            }
        }
        phases
    }
}

/// The fused reduction of the result of these GEMMs, with memory for its partials. `None` if the kernel cannot reduce.
fn reducing(
    r: &mut Recorder,
    reduction: Option<ChannelReduction>,
    y: Buf,
    kernel: GemmKernel,
    products: &[Params],
) -> Option<(ChannelReduction, Partials)> {
    let (reduction, rows) = (reduction?, kernel.reduced_rows()?);
    let count = products.iter().map(|p| p.rows.div_ceil(rows)).sum();
    Some((reduction, r.partials(&reduction, count, y.pitch().pitch4)))
}

impl Op for Conv2dDx {
    fn name(&self) -> &'static str {
        "conv2d.dx"
    }

    fn shape(&self, _inputs: &[Shape]) -> Result<Shape> {
        Ok(self.to)
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::These(&[0]),
            epilogue: &[Stage::Residual, Stage::Mask],
            ..OpTraits::default()
        }
    }

    fn problem(&self, inputs: &[Shape]) -> Option<ConvProblem> {
        let [dy, w] = *inputs else { return None };
        let [images, ..] = dy.dims();
        Some(ConvProblem::new(Pass::InputGrad, self.to.with_images(images), w, self.options))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let problem = ConvProblem::new(Pass::InputGrad, y.shape, x[1].shape, self.options);
        self.record_fused(r, x, &Fusion::by(r.options().select(&problem)), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let (dy, w) = (x[0], x[1]);
        let kernel = match fusion.algorithm()? {
            Algorithm::Gemm(kernel) | Algorithm::SplitK { kernel, .. } => kernel,
            Algorithm::Winograd { tile } => {
                let problem = ConvProblem::new(Pass::InputGrad, y.shape, w.shape, self.options);
                return WinogradConv::of(&problem).record(r, tile, [dy, w], None, fusion, y);
            }
        };
        let reads = fusion.epilogue.reads(dy, None, w);
        let mut constants = fusion.epilogue.constants(None);
        constants.push(("DX", 1));
        if self.options.stride != [1, 1] {
            constants.push(("PHASE", 1));
        }
        let phases = self.phases(y.shape, w.shape, self.params(dy, w, fusion.epilogue.mask.unwrap_or(y), y));
        let reduction = reducing(r, fusion.reduction, y, kernel, &phases);
        let rows = kernel.reduced_rows().unwrap_or(u32::MAX);
        let mut first_partial = 0;
        for phase in phases {
            let p = Params { first_partial, ..phase };
            Gemm::new(Pass::InputGrad, kernel, &constants).store_reducing(r, p, reads, y, reduction)?;
            first_partial += phase.rows.div_ceil(rows);
        }
        Ok(Handover { reduced: reduction.map(|(_, partials)| partials), deferred: None })
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        macs(inputs[0], inputs[1])
    }
}

/// The multiply-adds of each of the three passes of a convolution with result `y` and filters `w`.
fn macs(y: Shape, w: Shape) -> u64 {
    let [n, p, q, k] = y.dims().map(|d| d as u64);
    let [r, s, group_c, _] = w.dims().map(|d| d as u64);
    [n, p, q, k, r, s, group_c].into_iter().fold(1, u64::saturating_mul)
}

fn pixels(image: Shape) -> u32 {
    let [n, h, w, _] = image.dims();
    (n * h * w) as u32
}

/// The parameters with which the GEMM gathers `from` for each pixel of `over` (implicit im2col). Splits and column
/// blocks keep their defaults, which mean one of each.
fn window(from: Shape, over: Shape, filter: Shape, options: ConvOptions) -> Params {
    let [_, h, w, c] = from.padded().map(|d| d as u32);
    let [_, p, q, _] = over.dims().map(|d| d as u32);
    let [r, s, ..] = filter.dims().map(|d| d as u32);
    let [stride_h, stride_w] = options.stride.map(|d| d as u32);
    let [pad_h, pad_w] = options.pad.map(|d| d as u32);
    Params {
        h,
        w,
        c4: c / 4,
        p,
        q,
        s,
        stride_h,
        stride_w,
        pad_h,
        pad_w,
        segments: r * s,
        groups: options.groups as u32,
        ..Params::default()
    }
}
