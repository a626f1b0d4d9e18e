//! 8-bit pictures to normalised activations.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Op, arity, layout};
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

impl Graph {
    /// RGBA pixels `(N, H, W)` to activations `(N, H, W, 3)` of this precision: `(value/255 - mean)/std` for red, green
    /// and blue.
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
        self.add_op(Preprocess { mean, std, precision }, &[x])
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

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        // In f64, so that scale and shift are the nearest f32s.
        let scale = self.std.map(|s| (1.0 / (255.0 * f64::from(s))) as f32);
        let shift = |c: usize| (-f64::from(self.mean[c]) / f64::from(self.std[c])) as f32;
        let [_, h, w, _] = y.shape.dims();
        // Pictures that lie in several buffers are made from all pixels: those of a part may begin where no binding may.
        for images in chunk_ranges(&[y]) {
            let y = y.images(images.clone())?;
            let params = Params {
                total: y.vec4s(),
                first: (images.start * h * w) as u32,
                scale_r: scale[0],
                scale_g: scale[1],
                scale_b: scale[2],
                shift_r: shift(0),
                shift_g: shift(1),
                shift_b: shift(2),
            };
            r.flat(kernel("preprocess", SHADER, "preprocess"), params, x, &[y], params.total)?;
        }
        Ok(())
    }
}
