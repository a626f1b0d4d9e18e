//! 2-D convolution (cross-correlation) with bias and groups: three matrix products through one core.

use super::column::Parts;
use super::product::{Form, Params, product, product_seen, product_with_sgd};
use super::reduce::sum;
use super::sgd::update;
use super::winograd::Convolution;
use super::{
    Addends, Buf, Choice, Core, Description, Epilogue, Look, Op, ProductForm, ProductKey, RecordOptions,
    Recorder, Stage, image, layout, ranges,
};
use crate::error::{Error, Result};
use crate::graph::{Graph, Layout, Precision, Shape, Value};
use std::ops::Range;

/// How a convolution moves over its input: `[height, width]` of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Step from output to output.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub pad: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvOptions {
    /// The same stride and padding in both directions, one group.
    pub fn square(stride: usize, pad: usize) -> Self {
        Self { stride: [stride; 2], pad: [pad; 2], groups: 1 }
    }
}

/// `y` from `x`, `w` and possibly a bias.
#[derive(Debug)]
pub(super) struct Conv2d {
    pub(super) options: ConvOptions,
    /// Named `linear` where the kernel covers the whole input.
    pub(super) name: &'static str,
    /// What the result is stored in.
    pub(super) stores: Precision,
}

#[derive(Debug)]
struct Conv2dDx {
    options: ConvOptions,
    to: Shape,
}

#[derive(Debug)]
struct Conv2dDw {
    options: ConvOptions,
    to: Shape,
    /// Whether the map has one pixel, as in a fully connected layer.
    one_pixel: bool,
}

impl Graph {
    /// Convolution of `x` `(N, H, W, C)` with filters `w` `(R, S, C/groups, K)` and an optional bias `(K)`:
    /// `(N, P, Q, K)` with `P = (H + 2 pad - R)/stride + 1`.
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
        self.add_op(Conv2d { options, name, stores }, &inputs)
    }
}

impl Conv2d {
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
        if stride.contains(&0) || r == 0 || s == 0 {
            return Err(Error::usage(format!("{} with filters {w} and stride {stride:?}", self.name)));
        }
        let place = |size: usize, kernel: usize, i: usize| {
            let room =
                size.saturating_add(pad[i].saturating_mul(2)).checked_sub(kernel).ok_or_else(|| {
                    Error::usage(format!("an input of {h}x{width} is smaller than the kernel of {r}x{s}"))
                        .cure("use a larger input size")
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
        let dw = g.add_op(Conv2dDw { options, to: to_w, one_pixel }, &[x[0], dy])?;
        let dx = g.add_op(Conv2dDx { options, to: to_x }, &[dy, x[1]])?;
        let mut gradients = vec![Some(dx), Some(dw)];
        if x.len() == 3 {
            gradients.push(Some(g.sum_rows(dy)?));
        }
        Ok(gradients)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_with(r, x, &Epilogue::default(), y)
    }

    fn takes(&self, stage: Stage) -> bool {
        !matches!(stage, Stage::Mask | Stage::Update)
    }

    fn record_with(&self, r: &mut Recorder, x: &[Buf], epilogue: &Epilogue, y: Buf) -> Result<()> {
        let ConvOptions { groups, .. } = self.options;
        let [_, _, group_c, k] = x[1].shape.padded();
        let p = Params {
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
        };
        let bias = x.get(2).copied();
        let key = ProductKey::new(ProductForm::Y, x[0].shape, x[1].shape, self.options);
        let core = match r.choose(key) {
            Choice::Core(core) | Choice::Split { core, .. } => core,
            Choice::Winograd { block } => {
                return Convolution::of(&key).record(r, block, [x[0], x[1]], bias, epilogue, y);
            }
        };
        let constants = epilogue.constants(bias);
        let reads = epilogue.reads(x[0], bias, x[1]);
        let look = r.look(y).filter(|look| look.goes_with(bias, epilogue));
        let seen = looked(r, look, y, core, &[p]);
        product_seen(r, Form::new(ProductForm::Y, core, &constants), p, reads, y, seen)
    }

    fn writes_slice(&self) -> bool {
        true
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        let Ok(y) = self.output(inputs) else { return 0 };
        macs(y, inputs[1])
    }

    fn per_image(&self, input: usize) -> bool {
        input == 0
    }
}

impl Conv2dDx {
    /// The products: one where the stride is 1. Else pixels of x at equal places modulo the stride met the same taps, and those of
    /// each place are a product, with no taps that none of them met.
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
                // Of the taps from the first one on every stride-th; none where the kernel is smaller than the stride.
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

/// What is to be seen of the columns of a result that these products compute, if the kernel can look.
fn looked(
    r: &mut Recorder,
    look: Option<Look>,
    y: Buf,
    core: Core,
    products: &[Params],
) -> Option<(Look, Parts)> {
    let (look, rows) = (look?, core.seen_rows()?);
    let count = products.iter().map(|p| p.rows.div_ceil(rows)).sum();
    let parts = look.parts(r, count, y.pitch().pitch4);
    r.saw(y, look, parts);
    Some((look, parts))
}

impl Op for Conv2dDx {
    fn name(&self) -> &'static str {
        "conv2d.dx"
    }

    fn shape(&self, _inputs: &[Shape]) -> Result<Shape> {
        Ok(self.to)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_with(r, x, &Epilogue::default(), y)
    }

    fn takes(&self, stage: Stage) -> bool {
        matches!(stage, Stage::Residual | Stage::Mask)
    }

    fn record_with(&self, r: &mut Recorder, x: &[Buf], epilogue: &Epilogue, y: Buf) -> Result<()> {
        let (dy, w) = (x[0], x[1]);
        let mask = epilogue.mask.unwrap_or(y).pitch();
        let ConvOptions { groups, .. } = self.options;
        let [_, _, group_c, k] = w.shape.padded();
        let p = Params {
            rows: pixels(y.shape),
            cols4: (group_c / 4) as u32,
            run4: (k / groups / 4) as u32,
            pixels: pixels(y.shape),
            b_pitch4: (k / 4) as u32,
            b_segment: group_c as u32,
            b_group_col4: (k / groups / 4) as u32,
            out4: (group_c * groups / 4) as u32,
            mask_pitch4: mask.pitch4,
            mask_from4: mask.from4,
            ..window(dy.shape, y.shape, w.shape, self.options)
        };
        let form = ProductForm::Dx;
        let key = ProductKey::new(form, y.shape, w.shape, self.options);
        let core = match r.choose(key) {
            Choice::Core(core) | Choice::Split { core, .. } => core,
            Choice::Winograd { block } => {
                return Convolution::of(&key).record(r, block, [dy, w], None, epilogue, y);
            }
        };
        let reads = epilogue.reads(dy, None, w);
        let mut constants = epilogue.constants(None);
        constants.push(("DX", 1));
        let parts = self.phases(y.shape, w.shape, p);
        if self.options.stride != [1, 1] {
            constants.push(("PHASE", 1));
        }
        let look = r.look(y);
        let seen = looked(r, look, y, core, &parts);
        let mut first_part = 0;
        for part in parts {
            let rows = core.seen_rows().unwrap_or(u32::MAX);
            let p = Params { first_part, ..part };
            product_seen(r, Form::new(form, core, &constants), p, reads, y, seen)?;
            first_part += part.rows.div_ceil(rows);
        }
        Ok(())
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        macs(inputs[0], inputs[1])
    }

    fn per_image(&self, input: usize) -> bool {
        input == 0
    }
}

impl Op for Conv2dDw {
    fn name(&self) -> &'static str {
        "conv2d.dw"
    }

    fn shape(&self, _inputs: &[Shape]) -> Result<Shape> {
        Ok(self.to)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let key = self.key(x);
        let choice = r.choose(key);
        if let Choice::Winograd { block } = choice {
            return Convolution::of(&key).record_dw(r, block, [x[0], x[1]], y);
        }
        let (cut, p) = self.cut(r.options(), x, choice)?;
        let parts = if cut.splits == 1 { y } else { r.workspace(y.bytes * u64::from(cut.splits)) };
        self.record_parts(r, x, &cut, p, parts)?;
        if cut.splits > 1 && !r.leave(y, Addends { buf: parts, count: cut.splits, from4: 0 }) {
            sum(r, parts, y, cut.splits, y.vec4s())?;
        }
        Ok(())
    }

    fn takes(&self, stage: Stage) -> bool {
        // Of many pixels there are sums of several calls, and the gradient is small beside what it is computed from.
        stage == Stage::Update && self.one_pixel
    }

    fn record_with(&self, r: &mut Recorder, x: &[Buf], epilogue: &Epilogue, _y: Buf) -> Result<()> {
        let Some(on) = epilogue.update else { return Err(Error::internal("a weight gradient of nothing")) };
        let choice = r.choose(self.key(x));
        if choice.core().is_some() {
            let (cut, p) = self.cut(r.options(), x, choice)?;
            if cut.splits == 1 && p.wave >= p.split {
                let form = Form::new(ProductForm::Dw, cut.core, &[]);
                return product_with_sgd(r, form, p, [x[0], x[1]], on);
            }
        }
        let dw = Buf { shape: self.to, ..r.workspace(self.to.bytes()) };
        self.record(r, x, dw)?;
        update(r, dw, on)
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        macs(inputs[1], self.to)
    }
}

/// Pixels that a call takes of each split at least.
const LEAST_WAVE: u32 = 16;

/// How the pixels of a weight gradient are divided among calls and workgroups.
struct Cut {
    core: Core,
    /// Partial results, which are added in the end.
    splits: u32,
    /// Some pictures at a time where the batch lies in several buffers.
    ranges: Vec<Range<usize>>,
}

impl Conv2dDw {
    fn key(&self, x: &[Buf]) -> ProductKey {
        ProductKey::new(ProductForm::Dw, x[0].shape, self.to, self.options)
    }

    fn cut(&self, options: &RecordOptions, x: &[Buf], choice: Choice) -> Result<(Cut, Params)> {
        let (image, dy) = (x[0], x[1]);
        let ConvOptions { groups, .. } = self.options;
        let [kernel_h, kernel_w, group_c, k] = self.to.padded();
        let mut p = Params {
            rows: (kernel_h * kernel_w * group_c) as u32,
            cols4: (k / groups / 4) as u32,
            run4: (group_c / 4) as u32,
            pixels: pixels(dy.shape),
            b_pitch4: (k / 4) as u32,
            b_group_col4: (k / groups / 4) as u32,
            out4: (k / 4) as u32,
            ..window(image.shape, dy.shape, self.to, self.options)
        };
        let (core, splits, wave) = match choice {
            Choice::Split { core, splits, wave } => (core, splits, wave),
            Choice::Core(core) => (core, 1, u32::MAX),
            Choice::Winograd { .. } => {
                return Err(Error::internal("a product that is taken apart is not divided so"));
            }
        };
        let room = options.limits.piece_bytes() / self.to.bytes().max(1);
        let splits = u64::from(splits).min(room.max(1));
        let ranges = ranges(&[image, dy]);
        let most = ranges.first().map_or(0, |range| (range.len() * of_image(dy)) as u64);
        p.split = most.div_ceil((splits / ranges.len() as u64).max(1)) as u32;
        let waves = p.split.div_ceil(wave.max(LEAST_WAVE)).max(1);
        // Some cores take four pixels at a time.
        p.wave = p.split.div_ceil(waves).next_multiple_of(4);
        let in_range = |range| splits_of(range, dy, &p);
        let splits = ranges.iter().map(in_range).sum();
        // A call takes a wave of each split of a range.
        let most = ranges.iter().map(in_range).max().unwrap_or(1);
        let macs = [4 * p.cols4, p.groups, most].into_iter().fold(u64::from(p.rows), |n, m| n * u64::from(m));
        let wave = options.call_macs / macs.max(1);
        if wave < u64::from(p.wave) {
            p.wave = (wave as u32).next_multiple_of(16).max(16);
        }
        Ok((Cut { core, splits, ranges }, p))
    }

    /// Records the products of all pictures: one part of the sum for each split.
    fn record_parts(&self, r: &mut Recorder, x: &[Buf], cut: &Cut, mut p: Params, parts: Buf) -> Result<()> {
        for range in &cut.ranges {
            let count = splits_of(range, x[1], &p);
            let (image, dy) = (x[0].images(range.clone())?, x[1].images(range.clone())?);
            for wave_from in (0..p.split.min(pixels(dy.shape))).step_by(p.wave.max(1) as usize) {
                let constants: &[_] = if wave_from > 0 { &[("ADD", 1)] } else { &[] };
                let form = Form::new(ProductForm::Dw, cut.core, constants);
                let p = Params { pixels: pixels(dy.shape), wave_from, ..p };
                product(r, form, p, [image, dy, dy, dy, dy, dy], parts)?;
            }
            p.first_split += count;
        }
        Ok(())
    }
}

fn of_image(dy: Buf) -> usize {
    let [_, height, width, _] = dy.shape.dims();
    height * width
}

fn splits_of(range: &Range<usize>, dy: Buf, p: &Params) -> u32 {
    ((range.len() * of_image(dy)) as u32).div_ceil(p.split)
}

/// Multiply-adds of each of the three products of a convolution with result `y` and filters `w`.
fn macs(y: Shape, w: Shape) -> u64 {
    let [n, p, q, k] = y.dims().map(|d| d as u64);
    let [r, s, group_c, _] = w.dims().map(|d| d as u64);
    [n, p, q, k, r, s, group_c].into_iter().fold(1, u64::saturating_mul)
}

fn pixels(image: Shape) -> u32 {
    let [n, h, w, _] = image.dims();
    (n * h * w) as u32
}

/// What the gathering of `from` over the grid of `over` depends on; one split, one block of columns.
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
