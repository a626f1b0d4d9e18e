//! The same numbers under other sizes. Nothing is computed: the result is the memory of its input.

use super::{Buf, Op, Recorder, arity};
use crate::error::{Error, Result};
use crate::gpu::{Kernel, params};
use crate::graph::{Graph, Shape, Value};

const SOURCE: &[&str] =
    &[include_str!("../../shaders/reshape.wgsl"), include_str!("../../shaders/grid.wgsl")];

params! {
    Params { total4: u32 }
}

#[derive(Debug)]
struct Reshape {
    to: Shape,
}

impl Graph {
    /// `x` as a value of shape `to`, which takes as many numbers in memory, padding included.
    ///
    /// # Errors
    /// [`Error::Usage`] if it takes more or fewer.
    pub fn reshape(&mut self, x: Value, to: Shape) -> Result<Value> {
        if self.shape(x)? == to { Ok(x) } else { self.add_op(Reshape { to }, &[x]) }
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("reshape", inputs)?;
        if x.stored().is_none() || x.stored() != self.to.stored() {
            return Err(Error::usage(format!("{x:?} cannot become {:?}", self.to)));
        }
        Ok(self.to)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[0])?;
        Ok(vec![Some(g.reshape(dy, to)?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        if x[0].id == y.id {
            return Ok(());
        }
        let params = Params { total4: y.vec4s() };
        r.flat(Kernel::new("reshape", SOURCE, "reshape"), params, x, &[y], y.vec4s())
    }

    fn renames(&self) -> bool {
        true
    }

    fn per_image(&self, _input: usize) -> bool {
        true
    }
}
