//! Dynamic loss scaling: a step of SGD is skipped unless all gradients are finite (Micikevicius et al., "Mixed
//! Precision Training", 2018, section 3.2).

use super::fill::clear;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Op, OpTraits, arity, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, chunk_ranges};
use crate::params;
use crate::tensor::{Layout, Precision, Shape, Value};

const SHADER: &str = include_str!("../../shaders/loss_scale.wgsl");

params! {
    Params { count: u32, threads: u32, grows_after: f32, smallest: f32, largest: f32 }
}

/// The pairs of 32-bit words that an invocation tests.
const LOADS: u32 = 16;

/// The loss scale doubles after this many consecutive steps without an overflow, as in PyTorch's `GradScaler`.
const GROWS_AFTER: f32 = 2000.0;
/// The exponent of the largest loss scale. Without a limit the scale of a loss of zero would grow forever.
const LARGEST_EXPONENT: f32 = 24.0;
/// The exponent of the smallest loss scale. If gradients overflow even at this scale, the training has diverged.
pub const SMALLEST_EXPONENT: i32 = -10;

#[derive(Debug)]
struct LossScale;

#[derive(Debug)]
struct Rescale;

impl Graph {
    /// The vector of four numbers that [`Graph::sgd`] takes for gradients of a scaled loss. If all numbers of `values`
    /// are finite, it holds rate, momentum and decay of `step` and the inverse of the loss scale. Otherwise it holds
    /// zeros, and [`Graph::sgd`] changes nothing.
    ///
    /// `scale` is a state of four numbers: the exponent of the loss scale 2^exponent ([`Graph::scaled_fill`]), the
    /// steps since it changed, the number of skipped steps, and the number of consecutive skipped steps up to now. A
    /// skipped step decreases the exponent by one. 2000 consecutive other steps increase it by one.
    ///
    /// # Errors
    /// [`Error::Usage`] if `step` or `scale` is not a vector of four, or if a value holds no numbers.
    pub fn loss_scale(&mut self, step: Value, scale: Value, values: &[Value]) -> Result<Value> {
        let rates = self.push_op(LossScale, &[&[step, scale], values].concat())?;
        self.push_op(Rescale, &[rates, scale])?;
        Ok(rates)
    }
}

impl Op for LossScale {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let numbers = |s: &Shape| matches!(s.layout(), Layout::Image | Layout::Filter | Layout::Vector);
        let four = Shape::vector(4);
        match inputs {
            [step, scale, values @ ..] if [*step, *scale] == [four; 2] && values.iter().all(numbers) => {
                Ok(four)
            }
            _ => Err(Error::usage(format!(
                "guard takes two vectors of 4 and values with numbers, not {inputs:?}"
            ))),
        }
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let kernel = |entry| kernel("guard", SHADER, entry);
        let found = r.workspace(4);
        clear(r, found, 1)?;
        let [step, scale, values @ ..] = x else { return Err(Error::internal("a guard of nothing")) };
        for value in values {
            let half = value.shape.precision() == Precision::F16;
            for images in chunk_ranges(&[*value]) {
                let part = value.images(images)?;
                let count = (part.bytes / 8) as u32;
                let threads = count.div_ceil(LOADS);
                let look = kernel("look").with("HALF", i32::from(half));
                r.flat(look, Params { count, threads, ..Params::default() }, &[part], &[found], threads)?;
            }
        }
        let params = Params { count: y.vec4s(), ..Params::default() };
        r.flat(kernel("let_through"), params, &[*step, *scale, found], &[y], params.count)
    }
}

impl Op for Rescale {
    fn name(&self) -> &'static str {
        "guard.rescale"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [rates, scale] = arity(self.name(), inputs)?;
        same(self.name(), rates, scale)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let (grows_after, smallest, largest) = (GROWS_AFTER, SMALLEST_EXPONENT as f32, LARGEST_EXPONENT);
        let params = Params { count: x[1].vec4s(), threads: 0, grows_after, smallest, largest };
        r.flat(kernel(self.name(), SHADER, "rescale"), params, &x[..1], &x[1..], params.count)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { updates: &[1], ..OpTraits::default() }
    }
}
