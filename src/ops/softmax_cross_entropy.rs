//! The loss of a classifier, and the rank of the right class among the logits.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Op, arity, layout, single};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Layout, Shape, Value};

const SHADER: &str = include_str!("../../shaders/softmax_cross_entropy.wgsl");

params! {
    Params { n: u32, k: u32, smoothing: f32 }
}

#[derive(Debug)]
struct SoftmaxCrossEntropy;

#[derive(Debug)]
struct SoftmaxCrossEntropyDx;

#[derive(Debug)]
struct SoftCrossEntropy {
    smoothing: f32,
}

#[derive(Debug)]
struct SoftCrossEntropyDx {
    smoothing: f32,
}

#[derive(Debug)]
struct LabelRank;

impl Graph {
    /// The cross-entropy of softmax(`logits`) `(N, 1, 1, K)` with class indices `(N)`, in nats, for each image: `(N)`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit.
    pub fn softmax_cross_entropy(&mut self, logits: Value, labels: Value) -> Result<Value> {
        self.push_op(SoftmaxCrossEntropy, &[logits, labels])
    }

    /// The cross-entropy of softmax(`logits`) `(N, 1, 1, K)` with soft targets, in nats, for each image: `(N)`. `targets` is a vector
    /// of 4N numbers, four for each image: a class, a second class, the share of the second one in the target (mixup: Zhang et al.
    /// 2017), and a weight that the loss is multiplied by. With label smoothing (Szegedy et al. 2015, section 7) the target is
    /// `(1 - smoothing)` times that mixture plus `smoothing / K` for each class, as in PyTorch's `CrossEntropyLoss`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit, or `smoothing` is not between 0 and 1.
    pub fn soft_cross_entropy(&mut self, logits: Value, targets: Value, smoothing: f32) -> Result<Value> {
        self.push_op(SoftCrossEntropy { smoothing }, &[logits, targets])
    }

    /// The rank of the right class for each image: `(N)`. It is the number of classes with a larger logit, or with an
    /// equal logit and a lower index. Rank 0 is a top-1 hit, a rank below 5 a top-5 hit.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit.
    pub fn label_rank(&mut self, logits: Value, labels: Value) -> Result<Value> {
        self.push_op(LabelRank, &[logits, labels])
    }
}

fn shape(op: &str, logits: Shape, labels: Shape) -> Result<(usize, usize)> {
    let [n, h, w, k] = single(op, logits)?;
    let [m, ..] = layout(op, labels, Layout::Labels)?;
    if h != 1 || w != 1 || n != m || k == 0 {
        return Err(Error::usage(format!(
            "{op} takes logits Nx1x1xK and N labels, not {logits} and {labels}"
        )));
    }
    Ok((n, k))
}

fn params(logits: Shape) -> Params {
    let [n, .., k] = logits.dims();
    Params { n: n as u32, k: k as u32, smoothing: 0.0 }
}

/// Checks logits and soft targets. Returns the number of images.
fn soft_shape(op: &str, logits: Shape, targets: Shape, smoothing: f32) -> Result<usize> {
    let [n, h, w, k] = single(op, logits)?;
    if h != 1 || w != 1 || k == 0 || targets != Shape::vector(4 * n) {
        return Err(Error::usage(format!(
            "{op} takes logits Nx1x1xK and a vector of 4 numbers for each image, not {logits} and {targets}"
        )));
    }
    if !(0.0..1.0).contains(&smoothing) {
        return Err(Error::usage(format!("a label smoothing of {smoothing}"))
            .hint("give a number of at least 0 and below 1"));
    }
    Ok(n)
}

impl Op for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, labels] = arity(self.name(), inputs)?;
        Ok(Shape::vector(shape(self.name(), logits, labels)?.0))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(SoftmaxCrossEntropyDx, &[x[0], x[1], dy])?), None])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let kernel = kernel("softmax_cross_entropy", SHADER, "loss");
        r.flat(kernel, params(x[0].shape), x, &[y], y.vec4s() * 4)
    }
}

impl Op for LabelRank {
    fn name(&self) -> &'static str {
        "label_rank"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, labels] = arity(self.name(), inputs)?;
        Ok(Shape::vector(shape(self.name(), logits, labels)?.0))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let kernel = kernel("label_rank", SHADER, "rank");
        r.flat(kernel, params(x[0].shape), x, &[y], y.vec4s() * 4)
    }
}

impl Op for SoftmaxCrossEntropyDx {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, labels, dy] = arity(self.name(), inputs)?;
        let (n, _) = shape(self.name(), logits, labels)?;
        crate::graph::same(self.name(), dy, Shape::vector(n))?;
        Ok(logits)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = params(x[0].shape);
        let kernel = |entry| kernel("softmax_cross_entropy.dx", SHADER, entry);
        // The normaliser is computed once per row, not once per element.
        let rows = r.workspace(u64::from(p.n) * 8);
        r.flat(kernel("normalisers"), p, &x[..1], &[rows], p.n)?;
        r.flat(kernel("loss_dx"), p, &[x[0], x[1], x[2], rows], &[y], y.vec4s())
    }
}

impl Op for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft_cross_entropy"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, targets] = arity(self.name(), inputs)?;
        Ok(Shape::vector(soft_shape(self.name(), logits, targets, self.smoothing)?))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let dx = SoftCrossEntropyDx { smoothing: self.smoothing };
        Ok(vec![Some(g.push_op(dx, &[x[0], x[1], dy])?), None])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = Params { smoothing: self.smoothing, ..params(x[0].shape) };
        r.flat(kernel(self.name(), SHADER, "soft_loss"), params, x, &[y], y.vec4s() * 4)
    }
}

impl Op for SoftCrossEntropyDx {
    fn name(&self) -> &'static str {
        "soft_cross_entropy.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [logits, targets, dy] = arity(self.name(), inputs)?;
        let n = soft_shape(self.name(), logits, targets, self.smoothing)?;
        crate::graph::same(self.name(), dy, Shape::vector(n))?;
        Ok(logits)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let p = Params { smoothing: self.smoothing, ..params(x[0].shape) };
        let kernel = |entry| kernel(self.name(), SHADER, entry);
        let rows = r.workspace(u64::from(p.n) * 8);
        r.flat(kernel("normalisers"), p, &x[..1], &[rows], p.n)?;
        r.flat(kernel("soft_loss_dx"), p, &[x[0], x[1], x[2], rows], &[y], y.vec4s())
    }
}
