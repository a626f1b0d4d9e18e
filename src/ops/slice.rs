//! One row of a small matrix as a vector, for example the gradient of gamma from the sums of batch norm.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Op, arity, single};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Fusion, Handover, Partials, Recorder};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/slice.wgsl");

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
        self.push_op(Slice { row }, &[x])
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
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let (c4, row) = (y.vec4s(), self.row as u32);
        let own = Partials { buf: x[0], count: 1, from4: row * c4 };
        if fusion.leaves(&own) {
            return Ok(Handover { deferred: Some(own), reduced: None });
        }
        r.flat(kernel("slice", SHADER, "slice"), Params { c4, row }, x, &[y], c4)?;
        Ok(Handover::default())
    }
}
