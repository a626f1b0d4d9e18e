//! Stochastic gradient descent with momentum and weight decay, in PyTorch's convention.

use super::{Addends, Buf, Op, Recorder, Stage, arity, same};
use crate::error::{Error, Result};
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[
    include_str!("../../shaders/sgd.wgsl"),
    include_str!("../../shaders/sgd_rule.wgsl"),
    include_str!("../../shaders/grid.wgsl"),
];

params! {
    /// `vec4`s of the tensor, the parts of its gradient, and where those begin in their buffer.
    Params { total4: u32, addends: u32, from4: u32 }
}

#[derive(Debug)]
struct Sgd;

impl Graph {
    /// Updates `w` and its velocity `v` in place: `g = unscale*dw + decay*w; v = momentum*v + g; w -= rate*v`.
    /// `step` is a vector of four: rate, momentum, decay, unscale. The last is 1 unless the loss was scaled; where it is 0
    /// nothing changes, whatever the gradient.
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
        let [step, dw, w, v] = [x[0], x[1], x[2], x[3]];
        update(r, dw, Update { step, w, v })
    }

    fn stage(&self, input: usize) -> Option<Stage> {
        (input == 1).then_some(Stage::Update)
    }

    fn adds(&self, input: usize) -> bool {
        input == 1
    }

    fn updates(&self) -> &'static [usize] {
        &[2, 3]
    }
}

/// What a step of SGD works on besides the gradient.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The vector of four of [`Graph::sgd`].
    pub step: Buf,
    /// The weights, changed in place.
    pub w: Buf,
    /// Their velocity, changed in place.
    pub v: Buf,
}

/// Records the step.
pub(super) fn update(r: &mut Recorder, dw: Buf, on: Update) -> Result<()> {
    let total4 = on.w.vec4s();
    let Addends { buf, count, from4 } = r.addends_of(dw);
    let params = Params { total4, addends: count, from4 };
    r.flat(Kernel::new("sgd", SOURCE, "sgd"), params, &[on.step, buf], &[on.w, on.v], total4)
}
