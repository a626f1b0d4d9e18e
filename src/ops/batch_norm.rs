//! Batch normalisation: each channel is normalised over the batch and the map (Ioffe and Szegedy, 2015).

use super::reduce::{Chunks, Operands, sum_chunks};
use crate::error::{Error, Result};
use crate::gpu::Kernel;
use crate::graph::{Description, Graph, Inputs, Op, OpTraits, Reduces, arity, image, same};
use crate::kernels::fused_reduction::{mean_m2_pitch4, sum_dot_pitch4};
use crate::kernels::shader;
use crate::kernels::{Buf, ChannelSlice, Epilogue, Fusion, Handover, Partials, Recorder, RowGrid, Stage};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/batch_norm.wgsl");
const INFERENCE: &str = include_str!("../../shaders/include/batch_norm_inference.wgsl");
const REDUCTIONS: &str = include_str!("../../shaders/include/batch_norm_reductions.wgsl");

params! {
    Params {
        rows: u32, c4: u32,
        chunk: u32, chunks: u32, first: u32,
        batch_rows: u32,
        y_pitch4: u32,
        y_from4: u32,
        epsilon: f32, momentum: f32,
        lanes_log2: u32,
    }
}

/// The running statistics of a batch norm: states of shape `(C)`, which keep their values between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Mean of each channel.
    pub mean: Value,
    /// Unbiased variance of each channel.
    pub variance: Value,
}

#[derive(Debug)]
struct Statistics;

#[derive(Debug)]
struct Training {
    epsilon: f32,
}

#[derive(Debug)]
struct Sums {
    epsilon: f32,
}

#[derive(Debug)]
struct TrainingDx {
    epsilon: f32,
}

#[derive(Debug)]
struct Update {
    momentum: f32,
    rows: u32,
}

#[derive(Debug)]
struct Inference {
    epsilon: f32,
}

#[derive(Debug)]
struct FixedStatistics;

#[derive(Debug)]
struct InferenceDx {
    epsilon: f32,
}

impl Graph {
    /// Batch norm of `x` `(N, H, W, C)` with the statistics of this batch, and the update
    /// `running = (1 - momentum)*running + momentum*batch`. The running variance takes the unbiased variance.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit, or if a channel has only one number.
    pub fn batch_norm_training(
        &mut self,
        x: Value,
        [gamma, beta]: [Value; 2],
        running: Running,
        epsilon: f32,
        momentum: f32,
    ) -> Result<Value> {
        let [n, h, w, _] = image("batch_norm", self.shape(x)?)?;
        if n * h * w < 2 {
            return Err(Error::usage("batch norm cannot train on one number a channel")
                .hint("use a batch of at least 2 or a larger input"));
        }
        let statistics = self.push_op(Statistics, &[x])?;
        let rows = (n * h * w) as u32;
        self.push_op(Update { momentum, rows }, &[statistics, running.mean, running.variance])?;
        self.push_op(Training { epsilon }, &[x, statistics, gamma, beta])
    }

    /// Batch norm of `x` `(N, H, W, C)` with the running statistics. The gradient treats them as constants.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit.
    pub fn batch_norm_inference(
        &mut self,
        x: Value,
        [gamma, beta]: [Value; 2],
        running: Running,
        epsilon: f32,
    ) -> Result<Value> {
        self.push_op(Inference { epsilon }, &[x, running.mean, gamma, beta, running.variance])
    }
}

fn params(x: &Buf) -> Params {
    let [n, h, w, c] = x.shape.padded();
    let rows = (n * h * w) as u32;
    let c4 = (c / 4) as u32;
    let batch_rows = (x.batch.of * h * w) as u32;
    Params { rows, c4, batch_rows, ..Params::default() }
}

/// The rows that one invocation writes. Equals `ROWS` in `shaders/batch_norm.wgsl`.
const ROWS: u32 = 8;

/// Records a kernel that writes a whole map.
fn over(r: &mut Recorder, kernel: Kernel, p: Params, reads: &[Buf], y: Buf) -> Result<()> {
    let RowGrid { lanes_log2, workgroups } = RowGrid::new(p.c4, p.rows.div_ceil(ROWS));
    r.dispatch(kernel, Params { lanes_log2, ..p }, reads, &[y], workgroups)
}

/// Records `entry` with its epilogue: residual sum and ReLU.
fn normalise(
    r: &mut Recorder,
    entry: &'static str,
    epsilon: f32,
    x: &[Buf],
    epilogue: &Epilogue,
    y: Buf,
) -> Result<()> {
    let ChannelSlice { pitch4, from4 } = y.pitch();
    let p = Params { epsilon, y_pitch4: pitch4, y_from4: from4, ..params(&x[0]) };
    let kernel = kernel("batch_norm", entry)
        .with("RESIDUAL", i32::from(epilogue.residual.is_some()))
        .with("RELU", i32::from(epilogue.relu));
    // The binding of the residual needs a buffer. Without a residual it gets x, which is read anyway.
    let reads = [x, &[epilogue.residual.unwrap_or(x[0])]].concat();
    over(r, kernel, p, &reads, y)
}

/// Records the reduction of each chunk of rows. Returns one partial of `pitch4` `vec4`s per chunk.
fn chunked(
    r: &mut Recorder,
    kernel: &Kernel,
    operands: &[Buf],
    statistics: &[Buf],
    pitch4: u32,
) -> Result<Partials> {
    let cut = Chunks::of(operands[0].shape, operands)?;
    let buf = r.workspace(u64::from(cut.chunks) * u64::from(pitch4) * 16);
    for Operands { first, bufs } in &cut.ranges {
        let p = params(&bufs[0]);
        let p = Params { chunk: cut.chunk, chunks: p.rows.div_ceil(cut.chunk), first: *first, ..p };
        let reads: Vec<Buf> = [&bufs[..1], statistics, &bufs[1..]].concat();
        r.flat(kernel.clone(), p, &reads, &[buf], p.chunks * p.c4)?;
    }
    Ok(Partials::new(buf, cut.chunks))
}

/// The most partials that one invocation merges in the last pass. A larger number is first reduced to about its square
/// root.
const FEW_PARTIALS: u32 = 64;

/// Makes the partials few enough for the last pass. If there are more than [`FEW_PARTIALS`], `join` records a dispatch
/// that merges each `chunk` of them into one.
fn few(
    r: &mut Recorder,
    partials: Partials,
    pitch4: u32,
    join: impl FnOnce(&mut Recorder, [Buf; 2], u32) -> Result<()>,
) -> Result<Partials> {
    if partials.count <= FEW_PARTIALS {
        return Ok(partials);
    }
    let chunk = partials.count.isqrt();
    let count = partials.count.div_ceil(chunk);
    let buf = r.workspace(u64::from(count) * u64::from(pitch4) * 16);
    join(r, [partials.buf, buf], chunk)?;
    Ok(Partials::new(buf, count))
}

fn kernel(name: &'static str, entry: &'static str) -> Kernel {
    shader::linked_kernel(name, &[SHADER, INFERENCE, REDUCTIONS], entry)
}

/// The shape `(1, 1, 2, C)` of two vectors, one number each per channel of `x`.
fn pair(x: Shape) -> Result<Shape> {
    let [.., c] = image("batch_norm", x)?;
    Ok(Shape::image(1, 1, 2, c))
}

impl Op for Statistics {
    fn name(&self) -> &'static str {
        "batch_norm.statistics"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        pair(x)
    }

    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        // `training_dx` includes the gradient through the statistics.
        Ok(vec![None])
    }

    fn traits(&self) -> OpTraits {
        OpTraits { reduces: Some(Reduces::MeanM2 { of: 0 }), ..OpTraits::default() }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let c4 = params(&x[0]).c4;
        let pitch4 = mean_m2_pitch4(c4);
        let partials = match fusion.partials {
            Some(partials) => partials,
            None => chunked(r, &kernel(self.name(), "stats_of_chunks"), x, &[], pitch4)?,
        };
        let partials = few(r, partials, pitch4, |r, [from, to], chunk| {
            let chunks = partials.count.div_ceil(chunk);
            let p = Params { rows: partials.count, c4, chunk, chunks, ..Params::default() };
            r.flat(kernel(self.name(), "stats_of_parts"), p, &[from], &[to], chunks * c4)
        })?;
        let p = Params { rows: partials.count, c4, ..Params::default() };
        r.flat(kernel(self.name(), "stats_joined"), p, &[partials.buf], &[y], c4)?;
        Ok(Handover::default())
    }
}

impl Op for Training {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, statistics, gamma, beta] = arity(self.name(), inputs)?;
        same(self.name(), statistics, pair(x)?)?;
        vectors(self.name(), x, &[gamma, beta])
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let epsilon = self.epsilon;
        let sums = g.push_op(Sums { epsilon }, &[x[0], x[1], dy])?;
        let dx = g.push_op(TrainingDx { epsilon }, &[x[0], x[1], dy, x[2], sums])?;
        Ok(vec![Some(dx), None, Some(g.slice(sums, 1)?), Some(g.slice(sums, 0)?)])
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::These(&[0]),
            writes_slice: true,
            epilogue: &[Stage::Residual, Stage::Relu],
            ..OpTraits::default()
        }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        normalise(r, "training", self.epsilon, x, &fusion.epilogue, y)?;
        Ok(Handover::default())
    }
}

impl Op for Sums {
    fn name(&self) -> &'static str {
        "batch_norm.sums"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, _, dy] = arity(self.name(), inputs)?;
        same(self.name(), x, dy)?;
        pair(x)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { reduces: Some(Reduces::SumAndDot { of: 2, x: 0, statistics: 1 }), ..OpTraits::default() }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let c4 = params(&x[0]).c4;
        let pitch4 = sum_dot_pitch4(c4);
        let partials = match fusion.partials {
            Some(partials) => partials,
            None => {
                let kernel = kernel(self.name(), "sums_of_chunks");
                chunked(r, &kernel, &[x[0], x[2]], &x[1..2], pitch4)?
            }
        };
        let partials = few(r, partials, pitch4, |r, bufs, chunk| {
            sum_chunks(r, self.name(), bufs, partials.count, chunk, pitch4)
        })?;
        let p = Params { rows: partials.count, c4, epsilon: self.epsilon, ..Params::default() };
        r.flat(kernel(self.name(), "sums_joined"), p, &[partials.buf, x[1]], &[y], c4)?;
        Ok(Handover::default())
    }
}

impl Op for TrainingDx {
    fn name(&self) -> &'static str {
        "batch_norm.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, _, dy, gamma, sums] = arity(self.name(), inputs)?;
        same(self.name(), sums, pair(x)?)?;
        same(self.name(), x, dy)?;
        vectors(self.name(), x, &[gamma])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = Params { epsilon: self.epsilon, ..params(&x[0]) };
        over(r, kernel(self.name(), "training_dx"), p, x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { per_image: Inputs::These(&[0, 2]), ..OpTraits::default() }
    }
}

impl Op for Update {
    fn name(&self) -> &'static str {
        "batch_norm.running"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [statistics, mean, variance] = arity(self.name(), inputs)?;
        vectors(self.name(), statistics, &[mean, variance])?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let c4 = x[1].vec4s();
        let p = Params { rows: self.rows, c4, momentum: self.momentum, ..Params::default() };
        r.flat(kernel(self.name(), "running"), p, &x[..1], &x[1..], c4)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { updates: &[1, 2], ..OpTraits::default() }
    }
}

impl Op for Inference {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::BatchNorm { epsilon: self.epsilon })
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, mean, gamma, beta, variance] = arity(self.name(), inputs)?;
        vectors(self.name(), x, &[mean, gamma, beta, variance])
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let [x, mean, gamma, _, variance] = *x else { return Err(Error::internal("batch norm of nothing")) };
        let epsilon = self.epsilon;
        let statistics = g.push_op(FixedStatistics, &[mean, variance])?;
        let sums = g.push_op(Sums { epsilon }, &[x, statistics, dy])?;
        let dx = g.push_op(InferenceDx { epsilon }, &[dy, statistics, gamma])?;
        Ok(vec![Some(dx), None, Some(g.slice(sums, 1)?), Some(g.slice(sums, 0)?), None])
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::These(&[0]),
            writes_slice: true,
            epilogue: &[Stage::Residual, Stage::Relu],
            stage: Some((Inputs::These(&[0]), Stage::Affine)),
            ..OpTraits::default()
        }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        normalise(r, "inference", self.epsilon, x, &fusion.epilogue, y)?;
        Ok(Handover::default())
    }

    fn record_affine(&self, r: &mut Recorder, x: &[Buf]) -> Result<Buf> {
        let p = Params { epsilon: self.epsilon, c4: x[1].vec4s(), ..Params::default() };
        let map = r.workspace(3 * x[1].bytes);
        r.flat(kernel("batch_norm.affine", "affine"), p, &x[1..], &[map], p.c4)?;
        Ok(map)
    }
}

impl Op for FixedStatistics {
    fn name(&self) -> &'static str {
        "batch_norm.fixed_statistics"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [mean, variance] = arity(self.name(), inputs)?;
        same(self.name(), mean, variance)?;
        let [.., c] = mean.dims();
        Ok(Shape::image(1, 1, 2, c))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = Params { c4: x[0].vec4s(), ..Params::default() };
        r.flat(kernel(self.name(), "fixed_statistics"), p, x, &[y], p.c4)
    }
}

impl Op for InferenceDx {
    fn name(&self) -> &'static str {
        "batch_norm.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [dy, statistics, gamma] = arity(self.name(), inputs)?;
        same(self.name(), statistics, pair(dy)?)?;
        vectors(self.name(), dy, &[gamma])
    }

    fn traits(&self) -> OpTraits {
        OpTraits { per_image: Inputs::These(&[0]), ..OpTraits::default() }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = Params { epsilon: self.epsilon, ..params(&x[0]) };
        over(r, kernel(self.name(), "inference_dx"), p, x, y)
    }
}

/// Checks that each of `vectors` has one number per channel of `x`. Returns the shape of `x`.
fn vectors(op: &str, x: Shape, vectors: &[Shape]) -> Result<Shape> {
    let [.., c] = image(op, x)?;
    for vector in vectors {
        if *vector != Shape::vector(c) {
            return Err(Error::usage(format!("{op} takes one number a channel of {x}, not {vector:?}")));
        }
    }
    Ok(x)
}
