//! Stochastic gradient descent with momentum and weight decay, in PyTorch's convention.

use crate::error::{Error, Result};
use crate::graph::{Graph, Inputs, Op, OpTraits, arity, floats, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Fusion, Handover, Partials, Recorder, SgdStep, Stage, Update};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/sgd.wgsl");

params! {
    /// The `vec4`s of the tensor, the number of partials of its gradient, and their offset in their buffer, in
    /// `vec4`s.
    Params { total4: u32, partials: u32, from4: u32 }
}

#[derive(Debug)]
struct Sgd {
    nesterov: bool,
}

impl Graph {
    /// Updates `w` and its velocity `v` in place: `g = unscale*dw + decay*w; v = momentum*v + g; w -= rate*v`. `step`
    /// is a vector of four numbers: rate, momentum, decay, unscale. `unscale` is 1 unless the loss was scaled. If it
    /// is 0, nothing changes, whatever the gradient.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn sgd(&mut self, step: Value, dw: Value, w: Value, v: Value) -> Result<Value> {
        self.push_op(Sgd { nesterov: false }, &[step, dw, w, v])
    }

    /// As [`Graph::sgd`], with Nesterov's momentum in the form of Sutskever et al. 2013 that PyTorch has:
    /// `g = unscale*dw + decay*w; v = momentum*v + g; w -= rate*(momentum*v + g)`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn sgd_nesterov(&mut self, step: Value, dw: Value, w: Value, v: Value) -> Result<Value> {
        self.push_op(Sgd { nesterov: true }, &[step, dw, w, v])
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
        floats("sgd", w)?;
        Ok(Shape::nothing())
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            updates: &[2, 3],
            stage: Some((Inputs::These(&[1]), Stage::Update)),
            accepts_partials: Some(1),
            nesterov: self.nesterov,
            ..OpTraits::default()
        }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.record_fused(r, x, &Fusion::default(), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, _y: Buf) -> Result<Handover> {
        let [step, dw, w, v] = [x[0], x[1], x[2], x[3]];
        update(
            r,
            fusion.partials.unwrap_or(Partials::new(dw, 1)),
            Update { step, w, v, nesterov: self.nesterov },
        );
        Ok(Handover::default())
    }
}

/// Records the step. The planner decides whether it gets its own dispatch ([`record`]) or is part of a multi-tensor
/// dispatch.
pub(super) fn update(r: &mut Recorder, gradient: Partials, on: Update) {
    r.sgd(on, gradient);
}

/// Records the dispatch of one step.
pub(crate) fn record(r: &mut Recorder, step: &SgdStep) -> Result<()> {
    let SgdStep { on, gradient: Partials { buf, count, from4 }, .. } = *step;
    let total4 = on.w.vec4s();
    let params = Params { total4, partials: count, from4 };
    let mut kernel = kernel("sgd", SHADER, "sgd");
    kernel.constants.extend(on.constants());
    r.flat(kernel, params, &[on.step, buf], &[on.w, on.v], total4)
}
