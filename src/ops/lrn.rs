//! Local response normalisation (Krizhevsky, Sutskever and Hinton, 2012, section 3.3).

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, LrnOptions, Op, OpTraits, arity, image, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, RowGrid};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/lrn.wgsl");

/// The largest window, in channels.
const MAX_SIZE: usize = 64;

params! {
    Params { rows: u32, c4: u32, scale: f32, beta: f32, bias: f32, lanes_log2: u32 }
}

#[derive(Debug)]
struct Lrn(LrnOptions);

#[derive(Debug)]
struct LrnDx(LrnOptions);

impl Graph {
    /// `x / (bias + alpha/size * sum of squares over a window of channels)^beta` of activations `(N, H, W, C)`. The
    /// window of channel c reaches from `c - floor((size-1)/2)` to `c + ceil((size-1)/2)` and is cut at the ends.
    ///
    /// # Errors
    /// [`Error::Usage`] if `x` is not an activation or a constant is out of range.
    pub fn lrn(&mut self, x: Value, options: LrnOptions) -> Result<Value> {
        self.push_op(Lrn(options), &[x])
    }
}

impl LrnOptions {
    fn record(
        &self,
        r: &mut Recorder,
        [name, entry]: [&'static str; 2],
        reads: &[Buf],
        y: Buf,
    ) -> Result<()> {
        let [n, h, w, c] = y.shape.padded();
        let Self { beta, bias, alpha, size } = *self;
        let lo = (size - 1) / 2;
        let kernel = kernel(name, SHADER, entry)
            .with("LO", lo as i32)
            .with("HI", (size - 1 - lo) as i32)
            .with("THREE_QUARTERS", i32::from(beta == 0.75));
        let (rows, c4) = ((n * h * w) as u32, (c / 4) as u32);
        let RowGrid { lanes_log2, workgroups } = RowGrid::new(c4, rows);
        let params = Params { rows, c4, scale: alpha / size as f32, beta, bias, lanes_log2 };
        r.dispatch(kernel, params, reads, &[y], workgroups)
    }
}

impl Op for Lrn {
    fn name(&self) -> &'static str {
        "lrn"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Lrn(self.0))
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity("lrn", inputs)?;
        image("lrn", x)?;
        let LrnOptions { size, alpha, beta, bias } = self.0;
        // A positive bias and a non-negative alpha keep the base of the power positive.
        let fine = alpha >= 0.0 && alpha.is_finite() && beta.is_finite() && bias > 0.0 && bias.is_finite();
        if size == 0 || size > MAX_SIZE || !fine {
            return Err(Error::usage(format!("{:?}", self.0))
                .hint(format!("1 to {MAX_SIZE} channels, alpha at least 0, bias above 0")));
        }
        Ok(x)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(LrnDx(self.0), &[x[0], dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.0.record(r, ["lrn", "lrn"], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for LrnDx {
    fn name(&self) -> &'static str {
        "lrn.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x, dy] = arity("lrn.dx", inputs)?;
        same("lrn.dx", x, dy)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        self.0.record(r, ["lrn.dx", "lrn_dx"], x, y)
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}
