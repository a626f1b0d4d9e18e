//! Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, JMLR 15, 2014).

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Inputs, Op, OpTraits, arity, image, layout};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Layout, Shape, Value};

const SHADER: &str = include_str!("../../shaders/dropout.wgsl");

params! {
    Params { first4: u32, total4: u32, layer: u32, threshold: u32, scale: f32 }
}

#[derive(Debug, Clone, Copy)]
struct Dropout {
    rate: f32,
    layer: u32,
}

impl Graph {
    /// Sets each element of `x` `(N, H, W, C)` to zero with probability `rate` and divides the others by `1 - rate`.
    /// The mask depends only on `key` (four words that the caller changes each step), on `layer` and on the position
    /// of the element. The gradient computes it again, so no mask is stored.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit or `rate` is not in [0, 1).
    pub fn dropout(&mut self, x: Value, key: Value, rate: f32, layer: u32) -> Result<Value> {
        self.push_op(Dropout { rate, layer }, &[x, key])
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, key] = arity("dropout", inputs)?;
        image("dropout", x)?;
        let [words, ..] = layout("dropout", key, Layout::Labels)?;
        if words != 4 || !(0.0..1.0).contains(&self.rate) {
            return Err(Error::usage(format!("dropout of {} with a key of {words} words", self.rate))
                .hint("a rate of at least 0 and below 1, and 4 words"));
        }
        Ok(x)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(*self, &[dy, x[1]])?), None])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let rate = f64::from(self.rate);
        let threshold = (rate * 2f64.powi(32)) as u32;
        let scale = (1.0 / (1.0 - rate)) as f32;
        let [_, h, w, c] = y.shape.padded();
        let first4 = (y.batch.first * h * w * c / 4) as u32;
        let params = Params { first4, total4: y.vec4s(), layer: self.layer, threshold, scale };
        r.flat(kernel("dropout", SHADER, "dropout"), params, x, &[y], y.vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits { per_image: Inputs::These(&[0]), ..OpTraits::default() }
    }
}
