//! The exponential moving average of a tensor, which averages the weights of a run (Polyak and Juditsky, 1992).

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, OpTraits, arity, floats, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/moving_average.wgsl");

params! {
    Params { total4: u32 }
}

#[derive(Debug)]
struct MovingAverage;

impl Graph {
    /// Updates `average` in place: `average += share * (w - average)`. `share` is a vector of four numbers, of which the first
    /// counts: 1 minus the decay of the average. The states `w` and `average` have the same shape. The average follows all updates
    /// of `w` that were added to the graph before.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn moving_average(&mut self, share: Value, w: Value, average: Value) -> Result<Value> {
        self.push_op(MovingAverage, &[share, w, average])
    }
}

impl Op for MovingAverage {
    fn name(&self) -> &'static str {
        "moving_average"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [share, w, average] = arity(self.name(), inputs)?;
        if share != Shape::vector(4) {
            return Err(Error::usage(format!("moving_average takes a vector of 4 numbers, not {share:?}")));
        }
        same(self.name(), w, average)?;
        floats(self.name(), w)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let params = Params { total4: x[1].vec4s() };
        let kernel = kernel(self.name(), SHADER, "moving_average");
        r.flat(kernel, params, &x[..2], &x[2..], params.total4)
    }

    fn traits(&self) -> OpTraits {
        // The weights are only read. They are listed so that the average follows their updates, not precedes them.
        OpTraits { updates: &[1, 2], ..OpTraits::default() }
    }
}
