//! Stochastic gradient descent with momentum and weight decay, in PyTorch's convention.

use super::{Buf, Op, Recorder, arity, same};
use crate::error::{Error, Result};
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/sgd.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { total4: u32 }
}

#[derive(Debug)]
struct Sgd;

impl Graph {
    /// Updates `w` and its velocity `v` in place: `g = dw + decay*w; v = momentum*v + g; w -= rate*v`.
    /// `step` is a vector of four: rate, momentum, decay, unused.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn sgd(&mut self, step: Value, dw: Value, w: Value, v: Value) -> Result<Value> {
        self.add_op(Sgd, &[step, dw, w, v])
    }
}

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [step, dw, w, v] = arity("sgd", inputs)?;
        if step != Shape::vector(4) {
            return Err(Error::usage(format!("sgd takes a vector of 4 numbers, not {step:?}")));
        }
        same("sgd", dw, w)?;
        same("sgd", w, v)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let total4 = x[2].vec4s();
        r.flat(Kernel::new("sgd", SOURCE, "sgd"), Params { total4 }, &x[..2], &x[2..], total4)
    }

    fn updates(&self) -> &'static [usize] {
        &[2, 3]
    }
}
