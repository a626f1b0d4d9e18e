//! Converts 8-bit images to normalised activations.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Op, OpTraits, arity, image, layout};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, chunk_ranges};
use crate::params;
use crate::tensor::{Layout, Precision, Shape, Value};

const SHADER: &str = include_str!("../../shaders/preprocess.wgsl");

params! {
    Params {
        total: u32, first: u32,
        scale_r: f32, scale_g: f32, scale_b: f32,
        shift_r: f32, shift_g: f32, shift_b: f32,
    }
}

#[derive(Debug)]
struct Preprocess {
    mean: [f32; 3],
    std: [f32; 3],
    precision: Precision,
}

#[derive(Debug)]
struct PreprocessDx {
    std: [f32; 3],
}

/// The factor of each colour from 0 to 255. It is computed in f64, so that it is the nearest f32.
fn scale(std: [f32; 3]) -> [f32; 3] {
    std.map(|s| (1.0 / (255.0 * f64::from(s))) as f32)
}

impl Graph {
    /// Converts RGBA pixels `(N, H, W)` to activations `(N, H, W, 3)` in `precision`: `(value/255 - mean)/std` for
    /// red, green and blue. The gradient is an activation `(N, H, W, 3)`, with respect to the colours from 0 to 255.
    ///
    /// # Errors
    /// [`Error::Usage`] if a deviation is not positive.
    pub fn preprocess(
        &mut self,
        x: Value,
        mean: [f32; 3],
        std: [f32; 3],
        precision: Precision,
    ) -> Result<Value> {
        self.push_op(Preprocess { mean, std, precision }, &[x])
    }
}

impl Op for Preprocess {
    fn name(&self) -> &'static str {
        "preprocess"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Preprocess)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("preprocess", inputs)?;
        let [n, h, w, _] = layout("preprocess", x, Layout::Pixels)?;
        if !self.std.iter().chain(&self.mean).all(|v| v.is_finite()) || self.std.iter().any(|v| *v <= 0.0) {
            return Err(Error::usage("the normalisation needs finite means and positive deviations"));
        }
        Ok(Shape::image(n, h, w, 3).stored_as(self.precision))
    }

    fn gradient(&self, g: &mut Graph, _x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(PreprocessDx { std: self.std }, &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let [scale_r, scale_g, scale_b] = scale(self.std);
        let shift = |c: usize| (-f64::from(self.mean[c]) / f64::from(self.std[c])) as f32;
        let [_, h, w, _] = y.shape.dims();
        // Activations in several buffers are written one batch chunk at a time, with all pixels bound: the pixels of a
        // chunk may start at an offset that a binding may not have.
        for images in chunk_ranges(&[y]) {
            let y = y.images(images.clone())?;
            let params = Params {
                total: y.vec4s(),
                first: (images.start * h * w) as u32,
                scale_r,
                scale_g,
                scale_b,
                shift_r: shift(0),
                shift_g: shift(1),
                shift_b: shift(2),
            };
            r.flat(kernel("preprocess", SHADER, "preprocess"), params, x, &[y], params.total)?;
        }
        Ok(())
    }
}

impl Op for PreprocessDx {
    fn name(&self) -> &'static str {
        "preprocess.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [dy] = arity(self.name(), inputs)?;
        image(self.name(), dy)?;
        Ok(dy)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let [scale_r, scale_g, scale_b] = scale(self.std);
        let params = Params { total: y.vec4s(), scale_r, scale_g, scale_b, ..Params::default() };
        r.flat(kernel(self.name(), SHADER, "preprocess_dx"), params, x, &[y], params.total)
    }
}
