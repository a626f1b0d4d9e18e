//! Filters with input and output channels exchanged.

use super::{Buf, Op, Recorder, arity, layout};
use crate::error::Result;
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Layout, Shape, Value};

const SOURCE: &[&str] =
    &[include_str!("../../shaders/transpose.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { total4: u32, c4: u32, k4: u32 }
}

#[derive(Debug)]
struct Transpose;

impl Graph {
    /// Filters `(R, S, C, K)` as `(R, S, K, C)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if `w` is no filter.
    pub fn transpose(&mut self, w: Value) -> Result<Value> {
        self.add_op(Transpose, &[w])
    }
}

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [w] = arity("transpose", inputs)?;
        let [r, s, c, k] = layout("transpose", w, Layout::Filter)?;
        Ok(Shape::filter(r, s, k, c))
    }

    fn gradient(&self, g: &mut Graph, _x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.transpose(dy)?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let [_, _, c, k] = x[0].shape.padded();
        let params = Params { total4: y.vec4s(), c4: (c / 4) as u32, k4: (k / 4) as u32 };
        r.flat(Kernel::new("transpose", SOURCE, "transpose_filter"), params, x, &[y], y.vec4s())
    }
}
