//! Reshape: the numbers of a value under another shape. The result uses the memory of its input.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Inputs, Op, OpTraits, Storage, arity};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Layout, Shape, Value};

const SHADER: &str = include_str!("../../shaders/reshape.wgsl");

params! {
    Params { total4: u32 }
}

#[derive(Debug)]
struct Reshape {
    to: Shape,
}

impl Graph {
    /// `x` as a value of shape `to`. Both take the same number of bytes in memory, padding included. Padding of `x`
    /// becomes zeros of `to`. `to` may have padding only in a dimension whose size is that of `x`. Both have the same
    /// number of images, because the images of a large batch may be stored in several buffers.
    ///
    /// # Errors
    /// [`Error::Usage`] if `to` takes more or fewer bytes, has other padding, another precision or another number of
    /// images, or if only one of the two is an activation.
    pub fn reshape(&mut self, x: Value, to: Shape) -> Result<Value> {
        let from = self.shape(x)?;
        if from == to {
            return Ok(x);
        }
        let sizes = to.dims().into_iter().zip(to.padded()).zip(from.dims());
        if sizes.into_iter().any(|((size, padded), before)| size != padded && size != before) {
            return Err(Error::usage(format!(
                "{from:?} cannot become {to:?}: its padding would not hold zeros"
            )));
        }
        self.push_op(Reshape { to }, &[x])
    }
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Reshape)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("reshape", inputs)?;
        let images =
            |shape: Shape| (shape.layout() == Layout::Image).then(|| (shape.dims()[0], shape.precision()));
        if x.stored().is_none() || x.stored() != self.to.stored() || images(x) != images(self.to) {
            return Err(Error::usage(format!("{x:?} cannot become {:?}", self.to)));
        }
        Ok(self.to)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[0])?;
        // Where x has padding, dy is zero: the weights that these elements meet are zero.
        Ok(vec![Some(g.push_op(Reshape { to }, &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        if x[0].id == y.id {
            return Ok(());
        }
        let params = Params { total4: y.vec4s() };
        r.flat(kernel("reshape", SHADER, "reshape"), params, x, &[y], y.vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits { per_image: Inputs::All, storage: Storage::Reshaped, ..OpTraits::default() }
    }
}
