//! Sums over rows in a fixed order: the gradient of a bias, and the sum of partials.

use crate::error::Result;
use crate::graph::{Graph, Op, arity, image};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Fusion, Handover, Partials, Recorder, chunk_ranges};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/reduce.wgsl");

params! {
    Params { rows: u32, c4: u32, chunk: u32, chunks: u32, first: u32 }
}

#[derive(Debug)]
struct SumRows;

impl Graph {
    /// The sum of activations `(N, H, W, C)` over N, H and W: `(C)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `x` is not an activation.
    pub fn sum_rows(&mut self, x: Value) -> Result<Value> {
        self.push_op(SumRows, &[x])
    }
}

impl Op for SumRows {
    fn name(&self) -> &'static str {
        "reduce"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("reduce", inputs)?;
        let [.., c] = image("reduce", x)?;
        Ok(Shape::vector(c))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let c4 = y.vec4s();
        let Chunks { chunk, chunks, ranges } = Chunks::of(x[0].shape, &x[..1])?;
        if chunks == 1 && ranges.len() == 1 {
            sum(r, x[0], y, rows(x[0].shape), c4)?;
            return Ok(Handover::default());
        }
        let partials = Partials::new(r.workspace(u64::from(chunks) * u64::from(c4) * 16), chunks);
        for Operands { first, bufs } in ranges {
            let rows = rows(bufs[0].shape);
            let p = Params { rows, c4, chunk, chunks: rows.div_ceil(chunk), first };
            r.flat(kernel("reduce", SHADER, "sum_rows"), p, &bufs, &[partials.buf], p.chunks * c4)?;
        }
        if fusion.leaves(&partials) {
            return Ok(Handover { deferred: Some(partials), reduced: None });
        }
        sum(r, partials.buf, y, chunks, c4)?;
        Ok(Handover::default())
    }
}

/// The rows of activations `(N, H, W, C)`: the pixels of all images.
pub(super) fn rows(x: Shape) -> u32 {
    let [n, h, w, _] = x.dims();
    (n * h * w) as u32
}

/// The division of a sum over all rows of activations. Each invocation sums one chunk of consecutive rows. Operands in
/// several buffers are processed one range of images at a time; each range has whole chunks.
pub(super) struct Chunks {
    pub(super) chunk: u32,
    pub(super) chunks: u32,
    pub(super) ranges: Vec<Operands>,
}

/// A range of images of the operands of a sum, and the index of its first chunk.
pub(super) struct Operands {
    pub(super) first: u32,
    pub(super) bufs: Vec<Buf>,
}

impl Chunks {
    /// Divides operands of this shape. The length of a chunk and the number of chunks are close to the square root of
    /// the number of rows, which keeps both sums short.
    pub(super) fn of(shape: Shape, operands: &[Buf]) -> Result<Self> {
        let [_, h, w, _] = shape.dims();
        let ranges = chunk_ranges(operands);
        let near = rows(shape).isqrt().max(32);
        let part = ranges.first().map_or(0, |range| (range.len() * h * w) as u32);
        // All ranges but the last have the same length, so a divisor of the first fits all of them.
        let chunk = match ranges.len() {
            1 => near,
            _ => (1..=near).rev().find(|chunk| part.is_multiple_of(*chunk)).unwrap_or(1),
        };
        let ranges = ranges.into_iter().map(|range| {
            let first = (range.start * h * w) as u32 / chunk;
            let bufs = operands.iter().map(|b| b.images(range.clone())).collect::<Result<_>>()?;
            Ok(Operands { first, bufs })
        });
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        Ok(Self { chunk, chunks: rows(shape).div_ceil(chunk), ranges })
    }
}

/// Records `to[c] = sum of from[row, c]` in one pass.
pub(super) fn sum(r: &mut Recorder, from: Buf, to: Buf, rows: u32, c4: u32) -> Result<()> {
    sum_chunks(r, "reduce", [from, to], rows, rows, c4)
}

/// Records the sums of chunks of `chunk` rows each, in a kernel called `name`.
pub(super) fn sum_chunks(
    r: &mut Recorder,
    name: &'static str,
    [from, to]: [Buf; 2],
    rows: u32,
    chunk: u32,
    c4: u32,
) -> Result<()> {
    let params = Params { rows, c4, chunk, chunks: rows.div_ceil(chunk.max(1)), first: 0 };
    r.flat(kernel(name, SHADER, "sum_rows"), params, &[from], &[to], params.chunks * c4)
}
