//! Max pooling and average pooling.

use crate::error::{Error, Result};
use crate::gpu::Kernel;
use crate::graph::Graph;
use crate::graph::{Description, Inputs, Op, OpTraits, PoolOptions, arity, image};
use crate::kernels::{Buf, MapGrid, Recorder, shader};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/pool.wgsl");
const MEANS: &str = include_str!("../../shaders/include/pool_means.wgsl");

params! {
    Params {
        n: u32,
        h: u32, w: u32, c4: u32, p: u32, q: u32,
        pad_h: u32, pad_w: u32,
        count_h: u32, count_w: u32,
        lanes_log2: u32, blocks: u32, per_column: f32,
    }
}

/// The longest side of a window. The number of its positions is then at most 2^24, which is exact in f32.
const MAX_WINDOW: usize = 4096;

impl PoolOptions {
    /// Square windows without padding. Window size and stride are in pixels.
    pub fn square(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], pad: [[0; 2]; 2], ceil: false, count_padding: true }
    }

    /// Sets the padding of all four sides, in pixels.
    #[must_use]
    pub fn padded(self, pad: usize) -> Self {
        Self { pad: [[pad; 2]; 2], ..self }
    }

    /// Turns on ceil mode, which rounds the number of windows up.
    #[must_use]
    pub fn ceil(self) -> Self {
        Self { ceil: true, ..self }
    }

    /// The number of windows `[P, Q]` over a map `[H, W]`.
    fn windows(&self, op: &str, x: Shape) -> Result<[usize; 2]> {
        let [_, h, w, _] = image(op, x)?;
        let Self { kernel, stride, pad, .. } = *self;
        let mut windows = [0; 2];
        for (i, size) in [h, w].into_iter().enumerate() {
            let [before, after] = pad[i];
            let is_huge = i32::try_from(stride[i]).is_err();
            if kernel[i] == 0 || stride[i] == 0 || is_huge || before.max(after) >= kernel[i] {
                return Err(Error::usage(format!(
                    "{op} with windows {kernel:?}, stride {stride:?}, padding {pad:?}"
                ))
                .hint("windows and strides are at least 1 and below 2^31, padding is less than a window"));
            }
            if kernel[i] > MAX_WINDOW {
                return Err(Error::usage(format!("{op} over windows of {}x{}", kernel[0], kernel[1]))
                    .hint(format!("use a smaller input size; a window may span {MAX_WINDOW} positions")));
            }
            let padded = size.saturating_add(before + after);
            windows[i] = match padded.checked_sub(kernel[i]) {
                Some(room) => {
                    let whole = room / stride[i] + 1;
                    let more = self.ceil && room % stride[i] != 0 && whole * stride[i] < size + before;
                    if more { whole + 1 } else { whole }
                }
                // In ceil mode one window may reach beyond a small map.
                None if self.ceil && size > 0 && kernel[i] - padded < stride[i] => 1,
                None => {
                    let what = format!("{op}: a map of {h}x{w} is smaller than the window {kernel:?}");
                    return Err(Error::usage(what).hint("use a larger input size"));
                }
            };
        }
        Ok(windows)
    }

    fn kernel(&self, name: &'static str, entry: &'static str) -> Kernel {
        kernel(name, entry)
            .with("KERNEL_H", self.kernel[0] as i32)
            .with("KERNEL_W", self.kernel[1] as i32)
            .with("STRIDE_H", self.stride[0] as i32)
            .with("STRIDE_W", self.stride[1] as i32)
    }

    fn averaging(&self, name: &'static str, entry: &'static str) -> Kernel {
        self.kernel(name, entry).with("PADDING", i32::from(self.count_padding))
    }

    fn params(&self, x: Shape, y: Shape) -> Params {
        let [[pad_h, _], [pad_w, _]] = self.pad.map(|pad| pad.map(|d| d as u32));
        // The end of the positions that an average counts: the map, or the map and its padding.
        let count =
            |size: u32, i: usize| if self.count_padding { size + self.pad[i][1] as u32 } else { size };
        let p = maps(x, y);
        Params { pad_h, pad_w, count_h: count(p.h, 0), count_w: count(p.w, 1), ..p }
    }
}

fn kernel(name: &'static str, entry: &'static str) -> Kernel {
    shader::linked_kernel(name, &[SHADER, MEANS], entry)
}

/// The parameters of a kernel between maps of shapes `x` and `y`.
fn maps(x: Shape, y: Shape) -> Params {
    let [n, h, w, c] = x.padded().map(|d| d as u32);
    let [_, p, q, _] = y.dims().map(|d| d as u32);
    Params { n, h, w, c4: c / 4, p, q, ..Params::default() }
}

/// Records a kernel with an invocation for each `vec4` of `lines` and `columns`.
fn over(
    r: &mut Recorder,
    kernel: Kernel,
    p: Params,
    [lines, columns]: [u32; 2],
    x: &[Buf],
    y: Buf,
) -> Result<()> {
    let MapGrid { lanes_log2, blocks, per_column, workgroups } = MapGrid::new(p.c4, columns, lines, p.n);
    r.dispatch(kernel, Params { lanes_log2, blocks, per_column, ..p }, x, &[y], workgroups)
}

#[derive(Debug)]
struct MaxPool(PoolOptions);

/// The position of the maximum in each window, packed: one u32 for four channels.
#[derive(Debug)]
struct MaxWinner(PoolOptions);

#[derive(Debug)]
struct MaxPoolDx(PoolOptions, Shape);

#[derive(Debug)]
struct AveragePool(PoolOptions);

#[derive(Debug)]
struct AveragePoolDx(PoolOptions, Shape);

#[derive(Debug)]
struct AdaptivePool([usize; 2]);

#[derive(Debug)]
struct AdaptivePoolDx(Shape);

impl Graph {
    /// The maximum of each window: `(N, H, W, C)` to `(N, P, Q, C)` with `P = (H + top + bottom - kernel)/stride + 1`,
    /// rounded down, or up in ceil mode. Padding is never the maximum. Of equal values, the first in row-major order
    /// gets the gradient.
    ///
    /// # Errors
    /// [`Error::Usage`] if the window is larger than the map, or has more than 256 positions.
    pub fn max_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value> {
        self.push_op(MaxPool(options), &[x])
    }

    /// The average of each window, with the shapes of [`Graph::max_pool`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the window is larger than the map.
    pub fn average_pool(&mut self, x: Value, options: PoolOptions) -> Result<Value> {
        self.push_op(AveragePool(options), &[x])
    }

    /// The average over the whole map: `(N, H, W, C)` to `(N, 1, 1, C)`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `x` is not an activation.
    pub fn global_average_pool(&mut self, x: Value) -> Result<Value> {
        let [_, h, w, _] = image("average_pool", self.shape(x)?)?;
        let options = PoolOptions { kernel: [h, w], ..PoolOptions::square(1, 1) };
        self.average_pool(x, options)
    }

    /// The average over `P x Q` windows that cover the map evenly: `(N, H, W, C)` to `(N, P, Q, C)`. The window at `p`
    /// reaches from `floor(p H/P)` to `ceil((p+1) H/P)`, as in PyTorch's `AdaptiveAvgPool2d`. If the map already has
    /// this size, the result is `x` itself.
    ///
    /// # Errors
    /// [`Error::Usage`] if `x` is not an activation or `to` is 0.
    pub fn adaptive_average_pool(&mut self, x: Value, to: [usize; 2]) -> Result<Value> {
        let [_, h, w, _] = image("adaptive_average_pool", self.shape(x)?)?;
        if to == [h, w] { Ok(x) } else { self.push_op(AdaptivePool(to), &[x]) }
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::MaxPool(self.0))
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("max_pool", inputs)?;
        let [p, q] = self.0.windows("max_pool", x)?;
        if self.0.kernel[0] * self.0.kernel[1] > 256 {
            return Err(Error::usage(format!("max_pool over {:?}, more than 256 positions", self.0.kernel)));
        }
        let [n, .., c] = x.dims();
        Ok(Shape::image(n, p, q, c).stored_as(x.precision()))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[0])?;
        let winner = g.push_op(MaxWinner(self.0), &[x[0]])?;
        Ok(vec![Some(g.push_op(MaxPoolDx(self.0, to), &[winner, dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = self.0.params(x[0].shape, y.shape);
        over(r, self.0.kernel("max_pool", "max_pool"), p, [p.p, p.q], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for MaxWinner {
    fn name(&self) -> &'static str {
        "max_pool.winner"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [n, p, q, c] = MaxPool(self.0).shape(inputs)?.dims();
        Ok(Shape::pixels(n, p, q * c.div_ceil(4)))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let pooled = MaxPool(self.0).shape(&[x[0].shape])?;
        let p = self.0.params(x[0].shape, pooled);
        over(r, self.0.kernel("max_pool.winner", "max_winner"), p, [p.p, p.q], x, y)
    }

    fn traits(&self) -> OpTraits {
        // Computed early: the positions are smaller than x, and x then need not be kept for its gradient.
        OpTraits { per_image: Inputs::All, early: true, ..OpTraits::default() }
    }
}

impl Op for MaxPoolDx {
    fn name(&self) -> &'static str {
        "max_pool.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_, _] = arity("max_pool.dx", inputs)?;
        Ok(self.1)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = self.0.params(y.shape, x[1].shape);
        // Two lines and two columns of the map with the padding before it.
        let halves = [(p.h + p.pad_h).div_ceil(2), (p.w + p.pad_w).div_ceil(2)];
        over(r, self.0.kernel("max_pool.dx", "max_pool_dx"), p, halves, x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for AveragePool {
    fn name(&self) -> &'static str {
        "average_pool"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::AveragePool(self.0))
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("average_pool", inputs)?;
        let [p, q] = self.0.windows("average_pool", x)?;
        let [n, .., c] = x.dims();
        Ok(Shape::image(n, p, q, c).stored_as(x.precision()))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[0])?;
        Ok(vec![Some(g.push_op(AveragePoolDx(self.0, to), &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = self.0.params(x[0].shape, y.shape);
        over(r, self.0.averaging("average_pool", "average_pool"), p, [p.p, p.q], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for AveragePoolDx {
    fn name(&self) -> &'static str {
        "average_pool.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_] = arity("average_pool.dx", inputs)?;
        Ok(self.1)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = self.0.params(y.shape, x[0].shape);
        over(r, self.0.averaging("average_pool.dx", "average_pool_dx"), p, [p.h, p.w], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for AdaptivePool {
    fn name(&self) -> &'static str {
        "adaptive_average_pool"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::AdaptiveAveragePool(self.0))
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        let [n, h, w, c] = image(self.name(), x)?;
        let [p, q] = self.0;
        if [h, w, p, q].iter().any(|d| *d == 0 || *d > 1 << 15) {
            return Err(Error::usage(format!("{} from {h}x{w} to {p}x{q}", self.name())));
        }
        Ok(Shape::image(n, p, q, c).stored_as(x.precision()))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[0])?;
        Ok(vec![Some(g.push_op(AdaptivePoolDx(to), &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = maps(x[0].shape, y.shape);
        over(r, kernel(self.name(), "adaptive_pool"), p, [p.p, p.q], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for AdaptivePoolDx {
    fn name(&self) -> &'static str {
        "adaptive_average_pool.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_] = arity(self.name(), inputs)?;
        Ok(self.0)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = maps(y.shape, x[0].shape);
        over(r, kernel(self.name(), "adaptive_pool_dx"), p, [p.h, p.w], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}
