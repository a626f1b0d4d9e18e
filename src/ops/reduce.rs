//! Sums over rows in a fixed order: the gradient of a bias, and the joining of partial results.

use super::{Buf, Op, Recorder, arity, image};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/reduce.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { rows: u32, c4: u32, chunk: u32, chunks: u32 }
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
        let [n, h, w, _] = x[0].shape.dims();
        let c4 = y.vec4s();
        let rows = (n * h * w) as u32;
        let (chunk, chunks) = chunks_of(rows);
        if chunks == 1 {
            return sum(r, x[0], y, rows, c4);
        }
        let parts = r.workspace(u64::from(chunks) * u64::from(c4) * 16);
        let params = Params { rows, c4, chunk, chunks };
        r.flat(Kernel::new("reduce", SOURCE, "sum_rows"), params, x, &[parts], chunks * c4)?;
        sum(r, parts, y, chunks, c4)
    }
}

/// How many neighbouring rows one invocation reduces, and how many such chunks there are: both near the
/// square root of the rows, so that neither of the two sums is long.
pub(super) fn chunks_of(rows: u32) -> (u32, u32) {
    let chunk = rows.isqrt().max(32);
    (chunk, rows.div_ceil(chunk))
}

/// Records `to[c] = sum of from[row, c]` in one pass.
pub(super) fn sum(r: &mut Recorder, from: Buf, to: Buf, rows: u32, c4: u32) -> Result<()> {
    let params = Params { rows, c4, chunk: rows, chunks: 1 };
    r.flat(Kernel::new("reduce", SOURCE, "sum_rows"), params, &[from], &[to], c4)
}
