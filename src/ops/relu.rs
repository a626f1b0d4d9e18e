//! Rectified linear unit (Nair and Hinton, 2010).

use super::{Buf, Op, Recorder, arity, image, same};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] = &[include_str!("../../shaders/relu.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { total4: u32 }
}

#[derive(Debug)]
struct Relu;

#[derive(Debug)]
struct ReluDx;

impl Graph {
    /// max(x, 0) of activations; the gradient at 0 is 0.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `x` is no activation.
    pub fn relu(&mut self, x: Value) -> Result<Value> {
        self.add_op(Relu, &[x])
    }
}

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("relu", inputs)?;
        image("relu", x)?;
        Ok(x)
    }

    fn gradient(&self, g: &mut Graph, _x: &[Value], y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.add_op(ReluDx, &[y, dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let kernel = Kernel::new("relu", SOURCE, "relu");
        r.flat(kernel, Params { total4: y.vec4s() }, x, &[y], y.vec4s())
    }
}

impl Op for ReluDx {
    fn name(&self) -> &'static str {
        "relu.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [y, dy] = arity("relu.dx", inputs)?;
        same("relu.dx", y, dy)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let kernel = Kernel::new("relu.dx", SOURCE, "relu_dx");
        r.flat(kernel, Params { total4: y.vec4s() }, x, &[y], y.vec4s())
    }
}
