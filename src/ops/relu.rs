//! Rectified linear unit (Nair and Hinton, 2010).

use crate::error::Result;
use crate::graph::Graph;
use crate::graph::{Description, Inputs, Op, OpTraits, arity, image, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, RowGrid, Stage};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/relu.wgsl");

params! {
    Params { total4: u32, c4: u32, y_pitch4: u32, y_from4: u32, dy_pitch4: u32, dy_from4: u32, lanes_log2: u32 }
}

#[derive(Debug)]
struct Relu;

#[derive(Debug)]
struct ReluDx;

impl Graph {
    /// max(x, 0) of activations. NaN stays NaN. The gradient at 0 is 0.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `x` is not an activation.
    pub fn relu(&mut self, x: Value) -> Result<Value> {
        self.push_op(Relu, &[x])
    }
}

/// Records a kernel with an invocation for each `vec4` of `to`. `y` and `dy` may be slices of the channels of wider
/// tensors.
fn record(
    r: &mut Recorder,
    [name, entry]: [&'static str; 2],
    [y, dy]: [Buf; 2],
    reads: &[Buf],
    to: Buf,
) -> Result<()> {
    let sliced = y.slice.is_some() || dy.slice.is_some();
    let kernel = kernel(name, SHADER, entry).with("SLICED", i32::from(sliced));
    let c4 = (y.shape.padded()[3] / 4) as u32;
    let (y_at, dy_at) = (y.pitch(), dy.pitch());
    let params = Params {
        total4: y.vec4s(),
        c4,
        y_pitch4: y_at.pitch4,
        y_from4: y_at.from4,
        dy_pitch4: dy_at.pitch4,
        dy_from4: dy_at.from4,
        lanes_log2: 0,
    };
    if !sliced {
        return r.flat(kernel, params, reads, &[to], params.total4);
    }
    let RowGrid { lanes_log2, workgroups } = RowGrid::new(c4, params.total4.div_ceil(c4.max(1)));
    r.dispatch(kernel, Params { lanes_log2, ..params }, reads, &[to], workgroups)
}

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Relu)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("relu", inputs)?;
        image("relu", x)?;
        Ok(x)
    }

    fn gradient(&self, g: &mut Graph, _x: &[Value], y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(ReluDx, &[y, dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        record(r, ["relu", "relu"], [y, y], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::All,
            stage: Some((Inputs::All, Stage::Relu)),
            writes_slice: true,
            ..OpTraits::default()
        }
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
        record(r, ["relu.dx", "relu_dx"], [x[0], x[1]], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::All,
            stage: Some((Inputs::These(&[1]), Stage::Mask)),
            reads_slice: Inputs::All,
            ..OpTraits::default()
        }
    }
}
