//! One row of a small matrix as a vector, e.g. the gradient of gamma from the sums of batch norm.

use super::{Addends, Buf, Op, Recorder, arity, single};
use crate::error::{Error, Result};
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/slice.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { c4: u32, row: u32 }
}

#[derive(Debug)]
struct Slice {
    row: usize,
}

impl Graph {
    /// Row `row` of `x`, which is `(1, 1, rows, C)`, as a vector `(C)`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such row.
    pub fn slice(&mut self, x: Value, row: usize) -> Result<Value> {
        self.add_op(Slice { row }, &[x])
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("slice", inputs)?;
        let [n, h, rows, c] = single("slice", x)?;
        if n != 1 || h != 1 || self.row >= rows {
            return Err(Error::usage(format!("there is no row {} in {x}", self.row)));
        }
        Ok(Shape::vector(c))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let (c4, row) = (y.vec4s(), self.row as u32);
        if r.leave(y, Addends { buf: x[0], count: 1, from4: row * c4 }) {
            return Ok(());
        }
        let params = Params { c4, row };
        r.flat(Kernel::new("slice", SOURCE, "slice"), params, x, &[y], c4)
    }
}
