//! Sums over rows in a fixed order: the gradient of a bias, and the joining of partial results.

use super::{Addends, Buf, Op, Recorder, arity, image, ranges};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/reduce.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { rows: u32, c4: u32, chunk: u32, chunks: u32, first: u32 }
}

#[derive(Debug)]
struct SumRows;

impl Graph {
    /// The sum of activations `(N, H, W, C)` over N, H and W: `(C)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `x` is no activation.
    pub fn sum_rows(&mut self, x: Value) -> Result<Value> {
        self.add_op(SumRows, &[x])
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
        let c4 = y.vec4s();
        let Chunks { chunk, chunks, ranges } = Chunks::of(x[0].shape, &x[..1])?;
        if chunks == 1 && ranges.len() == 1 {
            return sum(r, x[0], y, rows(x[0].shape), c4);
        }
        let parts = r.workspace(u64::from(chunks) * u64::from(c4) * 16);
        for Part { first, bufs } in ranges {
            let rows = rows(bufs[0].shape);
            let params = Params { rows, c4, chunk, chunks: rows.div_ceil(chunk), first };
            r.flat(Kernel::new("reduce", SOURCE, "sum_rows"), params, &bufs, &[parts], params.chunks * c4)?;
        }
        if r.leave(y, Addends { buf: parts, count: chunks, from4: 0 }) {
            return Ok(());
        }
        sum(r, parts, y, chunks, c4)
    }
}

/// The pixels of all pictures.
pub(super) fn rows(x: Shape) -> u32 {
    let [n, h, w, _] = x.dims();
    (n * h * w) as u32
}

/// How a sum over all rows of activations is divided: into chunks of neighbouring rows, one for each invocation, and
/// into parts that can be bound, each of whole chunks.
pub(super) struct Chunks {
    pub(super) chunk: u32,
    pub(super) chunks: u32,
    pub(super) ranges: Vec<Part>,
}

/// Some pictures of the operands of a sum, and the number of their first chunk.
pub(super) struct Part {
    pub(super) first: u32,
    pub(super) bufs: Vec<Buf>,
}

impl Chunks {
    /// Of operands of this shape. Both the length of a chunk and their number lie near the square root of the rows, so
    /// that neither of the two sums is long.
    pub(super) fn of(shape: Shape, operands: &[Buf]) -> Result<Self> {
        let [_, h, w, _] = shape.dims();
        let ranges = ranges(operands);
        let near = rows(shape).isqrt().max(32);
        let part = ranges.first().map_or(0, |range| (range.len() * h * w) as u32);
        // The parts but the last are equally long; what divides one divides them all.
        let chunk = match ranges.len() {
            1 => near,
            _ => (1..=near).rev().find(|chunk| part.is_multiple_of(*chunk)).unwrap_or(1),
        };
        let ranges = ranges.into_iter().map(|range| {
            let first = (range.start * h * w) as u32 / chunk;
            let bufs = operands.iter().map(|b| b.images(range.clone())).collect::<Result<_>>()?;
            Ok(Part { first, bufs })
        });
        let ranges = ranges.collect::<Result<Vec<_>>>()?;
        Ok(Self { chunk, chunks: rows(shape).div_ceil(chunk), ranges })
    }
}

/// Records `to[c] = sum of from[row, c]` in one pass.
pub(super) fn sum(r: &mut Recorder, from: Buf, to: Buf, rows: u32, c4: u32) -> Result<()> {
    sum_chunks(r, "reduce", [from, to], rows, rows, c4)
}

/// Records the sums of chunks of so many rows each, in a kernel of this name.
pub(super) fn sum_chunks(
    r: &mut Recorder,
    name: &'static str,
    [from, to]: [Buf; 2],
    rows: u32,
    chunk: u32,
    c4: u32,
) -> Result<()> {
    let params = Params { rows, c4, chunk, chunks: rows.div_ceil(chunk.max(1)), first: 0 };
    r.flat(Kernel::new(name, SOURCE, "sum_rows"), params, &[from], &[to], params.chunks * c4)
}
