//! Constant vectors, such as the seed of a gradient, and clearing of states.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Op, OpTraits, arity, floats, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/fill.wgsl");

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
    /// [`crate::error::Error::Usage`] if `x` is not a value of this graph.
    pub fn clear(&mut self, x: Value) -> Result<Value> {
        self.push_op(Clear, &[x])
    }

    /// A vector of `c` numbers, each equal to `value`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `c` is too large.
    pub fn fill(&mut self, c: usize, value: f32) -> Result<Value> {
        self.push_op(Fill { c, value }, &[])
    }

    /// A vector of `c` numbers, each equal to `value` times the loss scale. `scale` is the state of
    /// [`Graph::loss_scale`].
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `c` is too large or `scale` is not a vector of four.
    pub fn scaled_fill(&mut self, c: usize, value: f32, scale: Value) -> Result<Value> {
        self.push_op(Fill { c, value }, &[scale])
    }
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if let [scale, ..] = inputs {
            same("fill", *scale, Shape::vector(4))?;
        }
        if self.c == 0 {
            return Err(Error::usage("fill makes a vector of at least one number"));
        }
        Ok(Shape::vector(self.c))
    }

    fn gradient(&self, _g: &mut Graph, x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![None; x.len()])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let padded = y.vec4s() * 4;
        let params = Params { c: self.c as u32, padded, value: self.value };
        let entry = if x.is_empty() { "fill" } else { "fill_scaled" };
        r.flat(kernel("fill", SHADER, entry), params, x, &[y], padded)
    }
}

impl Op for Clear {
    fn name(&self) -> &'static str {
        "clear"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("clear", inputs)?;
        floats("clear", x)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        clear(r, x[0], x[0].vec4s() * 4)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { updates: &[0], ..OpTraits::default() }
    }
}

/// Records a dispatch that sets `numbers` 32-bit numbers to zero.
pub(super) fn clear(r: &mut Recorder, x: Buf, numbers: u32) -> Result<()> {
    let params = Params { padded: numbers, ..Params::default() };
    r.flat(kernel("clear", SHADER, "fill"), params, &[], &[x], numbers)
}
