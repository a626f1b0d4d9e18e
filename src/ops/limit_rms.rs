//! A limit on the root mean square of filters (Zeiler and Fergus, 2013, section 3).

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Op, OpTraits, arity, layout, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Layout, Shape, Value};

const SHADER: &str = include_str!("../../shaders/limit_rms.wgsl");

params! {
    Params { rows: u32, k4: u32, count: f32, limit: f32 }
}

#[derive(Debug)]
struct LimitRms(f32);

impl Graph {
    /// Scales each filter of `w` `(R, S, C, K)` whose root mean square exceeds `limit` down to `limit`, in place.
    /// `step` is the vector of the [`Graph::sgd`] before it: if that step was skipped, `w` does not change.
    ///
    /// # Errors
    /// [`Error::Usage`] if `w` is not a filter or `limit` is not above 0.
    pub fn limit_rms(&mut self, step: Value, w: Value, limit: f32) -> Result<Value> {
        self.push_op(LimitRms(limit), &[step, w])
    }
}

impl Op for LimitRms {
    fn name(&self) -> &'static str {
        "limit_rms"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [step, w] = arity("limit_rms", inputs)?;
        layout("limit_rms", w, Layout::Filter)?;
        same("limit_rms", step, Shape::vector(4))?;
        if !(self.0 > 0.0 && self.0.is_finite()) {
            return Err(Error::usage(format!("a limit of {}", self.0)).hint("give a number above 0"));
        }
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let [h, w, c, _] = x[1].shape.dims();
        let [_, _, padded_c, k] = x[1].shape.padded();
        let (rows, k4) = ((h * w * padded_c) as u32, (k / 4) as u32);
        let params = Params { rows, k4, count: (h * w * c) as f32, limit: self.0 };
        r.flat(kernel("limit_rms", SHADER, "limit_rms"), params, &x[..1], &x[1..], k4)
    }

    fn traits(&self) -> OpTraits {
        OpTraits { updates: &[1], ..OpTraits::default() }
    }
}
