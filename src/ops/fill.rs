//! A vector of one number: the seed of a gradient.

use super::{Buf, Op, Recorder, arity};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/fill.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { c: u32, padded: u32, value: f32 }
}

#[derive(Debug)]
struct Fill {
    c: usize,
    value: f32,
}

#[derive(Debug)]
struct Clear;

impl Graph {
    /// Sets the state `x` to zero.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `x` is no value of this graph.
    pub fn clear(&mut self, x: Value) -> Result<Value> {
        self.add_op(Clear, &[x])
    }

    /// A vector of `c` times the same number.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `c` is too large.
    pub fn fill(&mut self, c: usize, value: f32) -> Result<Value> {
        self.add_op(Fill { c, value }, &[])
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [] = arity("fill", inputs)?;
        Ok(Shape::vector(self.c))
    }

    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(Vec::new())
    }

    fn record(&self, r: &mut Recorder, _x: &[Buf], y: Buf) -> Result<()> {
        let padded = y.vec4s() * 4;
        let params = Params { c: self.c as u32, padded, value: self.value };
        r.flat(Kernel::new("fill", SOURCE, "fill"), params, &[], &[y], padded)
    }
}

impl Op for Clear {
    fn name(&self) -> &'static str {
        "clear"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_] = arity("clear", inputs)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let padded = x[0].vec4s() * 4;
        r.flat(Kernel::new("clear", SOURCE, "fill"), Params { padded, ..Params::default() }, &[], x, padded)
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }
}
