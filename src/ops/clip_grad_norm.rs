//! Gradient clipping by the norm of all gradients (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
//! networks", 2013).

use super::reduce::sum_chunks;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, floats};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/clip_grad_norm.wgsl");

params! {
    Params { count: u32, threads: u32, first: u32, max_norm: f32 }
}

/// The `vec4`s whose squares an invocation adds up.
const LOADS: u32 = 64;

/// The partial sums that the last invocation adds up alone. More of them are first reduced to about their square root.
const FEW_PARTIALS: u32 = 64;

#[derive(Debug)]
struct ClipGradNorm {
    max_norm: f32,
}

impl Graph {
    /// The vector of four numbers that [`Graph::sgd`] takes, so that the Euclidean norm of all gradients together is at most
    /// `max_norm`: unscale is multiplied by `min(1, max_norm / (norm + 1e-6))`, where norm is that of `unscale * gradients`.
    /// PyTorch's `clip_grad_norm_`. If unscale is 0, it stays 0.
    ///
    /// # Errors
    /// [`Error::Usage`] if `step` is not a vector of four, if there are no gradients or if `max_norm` is not positive.
    pub fn clip_grad_norm(&mut self, step: Value, gradients: &[Value], max_norm: f32) -> Result<Value> {
        self.push_op(ClipGradNorm { max_norm }, &[&[step], gradients].concat())
    }
}

impl Op for ClipGradNorm {
    fn name(&self) -> &'static str {
        "clip_grad_norm"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if !self.max_norm.is_finite() || self.max_norm <= 0.0 {
            return Err(Error::usage(format!("gradients cannot be clipped to a norm of {}", self.max_norm))
                .hint("give a number above 0"));
        }
        match inputs {
            [step, gradients @ ..] if *step == Shape::vector(4) && !gradients.is_empty() => {
                gradients.iter().try_for_each(|gradient| floats(self.name(), *gradient))?;
                Ok(*step)
            }
            _ => {
                Err(Error::usage(format!("clip_grad_norm takes a vector of 4 and gradients, not {inputs:?}")))
            }
        }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let [step, gradients @ ..] = x else { return Err(Error::internal("the norm of nothing")) };
        let threads = |gradient: &Buf| gradient.vec4s().div_ceil(LOADS);
        let mut count: u32 = gradients.iter().map(threads).sum();
        let mut sums = r.workspace(16 * u64::from(count));
        let mut first = 0;
        for gradient in gradients {
            let threads = threads(gradient);
            let params = Params { count: gradient.vec4s(), threads, first, ..Params::default() };
            r.flat(kernel(self.name(), SHADER, "squares"), params, &[*step, *gradient], &[sums], threads)?;
            first += threads;
        }
        if count > FEW_PARTIALS {
            let chunk = count.isqrt();
            let fewer = r.workspace(16 * u64::from(count.div_ceil(chunk)));
            sum_chunks(r, self.name(), [sums, fewer], count, chunk, 1)?;
            (sums, count) = (fewer, count.div_ceil(chunk));
        }
        let params = Params { count, threads: y.vec4s(), first: 0, max_norm: self.max_norm };
        r.flat(kernel(self.name(), SHADER, "clip"), params, &[*step, sums], &[y], params.threads)
    }
}
