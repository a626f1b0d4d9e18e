//! Normalisation of each channel over the batch and the map (Ioffe and Szegedy, 2015).

use super::column::{Parts, statistics_pitch4, sums_pitch4};
use super::epilogue::NOT_A_NUMBER;
use super::reduce::{Chunks, Part, sum_chunks};
use super::{Buf, Description, Epilogue, Op, Recorder, Slice, Stage, Wants, arity, image, same};
use crate::error::{Error, Result};
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[
    include_str!("../../shaders/batch_norm.wgsl"),
    include_str!("../../shaders/batch_norm_statistics.wgsl"),
    include_str!("../../shaders/grid.wgsl"),
    NOT_A_NUMBER,
];

params! {
    Params {
        rows: u32, c4: u32,
        chunk: u32, chunks: u32, first: u32,
        batch_rows: u32,
        y_pitch4: u32,
        y_from4: u32,
        epsilon: f32, momentum: f32,
    }
}

/// The running statistics of a batch norm: vectors `(C)` that are kept from run to run.
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

impl Graph {
    /// Batch norm of `x` `(N, H, W, C)` with the statistics of this batch, and the update
    /// `running = (1 - momentum)*running + momentum*batch`. The running variance takes the unbiased variance.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit, or if there is only one number a channel.
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
                .cure("use a batch of at least 2 or a larger input"));
        }
        let statistics = self.add_op(Statistics, &[x])?;
        let rows = (n * h * w) as u32;
        self.add_op(Update { momentum, rows }, &[statistics, running.mean, running.variance])?;
        self.add_op(Training { epsilon }, &[x, statistics, gamma, beta])
    }

    /// Batch norm of `x` `(N, H, W, C)` with the running statistics.
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
        self.add_op(Inference { epsilon }, &[x, running.mean, gamma, beta, running.variance])
    }
}

fn params(x: &Buf) -> Params {
    let [n, h, w, c] = x.shape.padded();
    let rows = (n * h * w) as u32;
    let c4 = (c / 4) as u32;
    let batch_rows = (x.batch.of * h * w) as u32;
    Params { rows, c4, batch_rows, ..Params::default() }
}

/// Rows of a map that one invocation writes: `ROWS` of the shader.
const ROWS: u32 = 8;

/// Of a kernel that writes a map.
fn invocations(p: &Params) -> u32 {
    p.rows.div_ceil(ROWS) * p.c4
}

/// Records `entry` with what follows it.
fn normalise(
    r: &mut Recorder,
    entry: &'static str,
    epsilon: f32,
    x: &[Buf],
    epilogue: &Epilogue,
    y: Buf,
) -> Result<()> {
    let Slice { pitch4, from4 } = y.pitch();
    let p = Params { epsilon, y_pitch4: pitch4, y_from4: from4, ..params(&x[0]) };
    let kernel = kernel("batch_norm", entry)
        .with("RESIDUAL", i32::from(epilogue.residual.is_some()))
        .with("RELU", i32::from(epilogue.relu));
    // Without a sum, its binding holds what is read anyway.
    let reads = [x, &[epilogue.residual.unwrap_or(x[0])]].concat();
    r.flat(kernel, p, &reads, &[y], invocations(&p))
}

/// Sums over chunks of the rows: parts of so many `vec4`s each.
fn chunked(
    r: &mut Recorder,
    kernel: &Kernel,
    operands: &[Buf],
    statistics: &[Buf],
    pitch4: u32,
) -> Result<Parts> {
    let cut = Chunks::of(operands[0].shape, operands)?;
    let buf = r.workspace(u64::from(cut.chunks) * u64::from(pitch4) * 16);
    for Part { first, bufs } in &cut.ranges {
        let p = params(&bufs[0]);
        let p = Params { chunk: cut.chunk, chunks: p.rows.div_ceil(cut.chunk), first: *first, ..p };
        let reads: Vec<Buf> = [&bufs[..1], statistics, &bufs[1..]].concat();
        r.flat(kernel.clone(), p, &reads, &[buf], p.chunks * p.c4)?;
    }
    Ok(Parts { buf, count: cut.chunks })
}

/// Parts that one invocation adds in the last pass; of more the square root.
const FEW_PARTS: u32 = 64;

/// Parts that are few enough for the last pass: where they are more, `join` records the call that makes one of each `chunk` of them.
fn few(
    r: &mut Recorder,
    parts: Parts,
    pitch4: u32,
    join: impl FnOnce(&mut Recorder, [Buf; 2], u32) -> Result<()>,
) -> Result<Parts> {
    if parts.count <= FEW_PARTS {
        return Ok(parts);
    }
    let chunk = parts.count.isqrt();
    let count = parts.count.div_ceil(chunk);
    let buf = r.workspace(u64::from(count) * u64::from(pitch4) * 16);
    join(r, [parts.buf, buf], chunk)?;
    Ok(Parts { buf, count })
}

fn kernel(name: &'static str, entry: &'static str) -> Kernel {
    Kernel::new(name, SOURCE, entry)
}

/// Two vectors as one small matrix `(1, 1, 2, C)`.
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
        // `training_dx` holds the dependence of the statistics on x.
        Ok(vec![None])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let c4 = params(&x[0]).c4;
        let pitch4 = statistics_pitch4(c4);
        let parts = match r.statistics_of(x[0]) {
            Some(parts) => parts,
            None => chunked(r, &kernel(self.name(), "stats_of_chunks"), x, &[], pitch4)?,
        };
        let parts = few(r, parts, pitch4, |r, [from, to], chunk| {
            let chunks = parts.count.div_ceil(chunk);
            let p = Params { rows: parts.count, c4, chunk, chunks, ..Params::default() };
            r.flat(kernel(self.name(), "stats_of_parts"), p, &[from], &[to], chunks * c4)
        })?;
        let p = Params { rows: parts.count, c4, ..Params::default() };
        r.flat(kernel(self.name(), "stats_joined"), p, &[parts.buf], &[y], c4)
    }

    fn wants(&self, input: usize) -> Option<Wants> {
        (input == 0).then_some(Wants::Statistics)
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
        let sums = g.add_op(Sums { epsilon }, &[x[0], x[1], dy])?;
        let dx = g.add_op(TrainingDx { epsilon }, &[x[0], x[1], dy, x[2], sums])?;
        Ok(vec![Some(dx), None, Some(g.slice(sums, 1)?), Some(g.slice(sums, 0)?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_with(r, x, &Epilogue::default(), y)
    }

    fn takes(&self, stage: Stage) -> bool {
        matches!(stage, Stage::Residual | Stage::Relu)
    }

    fn record_with(&self, r: &mut Recorder, x: &[Buf], epilogue: &Epilogue, y: Buf) -> Result<()> {
        normalise(r, "training", self.epsilon, x, epilogue, y)
    }

    fn writes_slice(&self) -> bool {
        true
    }

    fn per_image(&self, input: usize) -> bool {
        input == 0
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

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let c4 = params(&x[0]).c4;
        let pitch4 = sums_pitch4(c4);
        let parts = match r.sums_of(x[2], x[0]) {
            Some(parts) => parts,
            None => {
                let kernel = kernel(self.name(), "sums_of_chunks");
                chunked(r, &kernel, &[x[0], x[2]], &x[1..2], pitch4)?
            }
        };
        let parts = few(r, parts, pitch4, |r, bufs, chunk| {
            sum_chunks(r, self.name(), bufs, parts.count, chunk, pitch4)
        })?;
        let p = Params { rows: parts.count, c4, epsilon: self.epsilon, ..Params::default() };
        r.flat(kernel(self.name(), "sums_joined"), p, &[parts.buf, x[1]], &[y], c4)
    }

    fn wants(&self, input: usize) -> Option<Wants> {
        (input == 2).then_some(Wants::Sums { x: 0, statistics: 1 })
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
        r.flat(kernel(self.name(), "training_dx"), p, x, &[y], invocations(&p))
    }

    fn per_image(&self, input: usize) -> bool {
        input == 0 || input == 2
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

    fn updates(&self) -> &'static [usize] {
        &[1, 2]
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

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_with(r, x, &Epilogue::default(), y)
    }

    fn takes(&self, stage: Stage) -> bool {
        matches!(stage, Stage::Residual | Stage::Relu)
    }

    fn record_with(&self, r: &mut Recorder, x: &[Buf], epilogue: &Epilogue, y: Buf) -> Result<()> {
        normalise(r, "inference", self.epsilon, x, epilogue, y)
    }

    fn stage(&self, input: usize) -> Option<Stage> {
        (input == 0).then_some(Stage::Affine)
    }

    fn record_affine(&self, r: &mut Recorder, x: &[Buf]) -> Result<Buf> {
        let p = Params { epsilon: self.epsilon, c4: x[1].vec4s(), ..Params::default() };
        let map = r.workspace(3 * x[1].bytes);
        r.flat(kernel("batch_norm.affine", "affine"), p, &x[1..], &[map], p.c4)?;
        Ok(map)
    }

    fn writes_slice(&self) -> bool {
        true
    }

    fn per_image(&self, input: usize) -> bool {
        input == 0
    }
}

/// Checks that each of `vectors` has one number a channel of `x`.
fn vectors(op: &str, x: Shape, vectors: &[Shape]) -> Result<Shape> {
    let [.., c] = image(op, x)?;
    for vector in vectors {
        if *vector != Shape::vector(c) {
            return Err(Error::usage(format!("{op} takes one number a channel of {x}, not {vector:?}")));
        }
    }
    Ok(x)
}
