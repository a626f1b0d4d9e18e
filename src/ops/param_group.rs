//! The hyperparameters of a group of parameters, as PyTorch's parameter groups have them: another rate, another decay.

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, arity};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/param_group.wgsl");

params! {
    Params { count: u32, rate: f32, decay: f32 }
}

#[derive(Debug)]
struct ParamGroup {
    rate: f32,
    decay: f32,
}

impl Graph {
    /// The vector of four numbers that [`Graph::sgd`] takes, with the rate of `step` times `rate` and its weight decay times
    /// `decay`. Momentum and unscale are those of `step`.
    ///
    /// # Errors
    /// [`Error::Usage`] if `step` is not a vector of four, or a factor is negative or not finite.
    pub fn param_group(&mut self, step: Value, rate: f32, decay: f32) -> Result<Value> {
        self.push_op(ParamGroup { rate, decay }, &[step])
    }
}

impl Op for ParamGroup {
    fn name(&self) -> &'static str {
        "param_group"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [step] = arity(self.name(), inputs)?;
        if step != Shape::vector(4) {
            return Err(Error::usage(format!("param_group takes a vector of 4 numbers, not {step:?}")));
        }
        if let Some(factor) = [self.rate, self.decay].into_iter().find(|f| !f.is_finite() || *f < 0.0) {
            return Err(Error::usage(format!("a group of parameters with a factor of {factor}"))
                .hint("give a number of at least 0"));
        }
        Ok(step)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = Params { count: y.vec4s(), rate: self.rate, decay: self.decay };
        r.flat(kernel(self.name(), SHADER, "param_group"), params, x, &[y], params.count)
    }
}
