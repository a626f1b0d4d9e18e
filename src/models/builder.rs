//! The builder that the network files use. It adds layers with their parameters to a graph, under PyTorch's names.

use super::Init;
use super::{Frozen, Mode, Parameter};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::{ConvOptions, LrnOptions, PoolOptions, Running};
use crate::tensor::{Shape, Value};
use std::ops::Range;

/// The largest shard of a weight tensor, in bytes: the binding size that WebGPU guarantees. A larger tensor is split
/// by rows, which are outputs, into several parameters (`docs/decisions/0003-weight-shards.md`).
pub(crate) const MAX_PIECE_BYTES: u64 = 128 << 20;

/// The most shards of a weight tensor. No device has memory for so many.
const MAX_PIECES: usize = 4096;

/// Adds layers to a graph and keeps the list of their parameters.
#[derive(Debug)]
pub struct Builder {
    /// The graph so far.
    pub graph: Graph,
    /// The parameters so far.
    pub parameters: Vec<Parameter>,
    /// Whether the network is built for training or for inference.
    pub mode: Mode,
    /// Number of classes.
    pub classes: usize,
    /// The key of the dropout masks (four words), if there is dropout.
    pub noise: Option<Value>,
    /// Logits of auxiliary classifiers, in training.
    pub auxiliary: Vec<Value>,
    /// Filters whose root mean square is kept below a limit in training.
    pub limited: Vec<(Value, f32)>,
    /// The largest shard of a weight tensor, in bytes.
    largest_piece: u64,
    /// The maps before poolings to a fixed size and before fully connected layers so far: height and width, in order.
    maps: Vec<[usize; 2]>,
    /// The same maps at the network's own input, if this network is for larger pictures.
    windows: Option<Vec<[usize; 2]>>,
    frozen: Frozen,
    dropouts: u32,
}

/// A convolution layer. `Conv::default()` is a 1x1 convolution without bias.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Number of filters.
    pub filters: usize,
    /// Height and width of the kernel, in pixels.
    pub kernel: usize,
    /// Stride in both directions, in pixels.
    pub stride: usize,
    /// Padding on all four sides, in pixels.
    pub pad: usize,
    /// Number of groups.
    pub groups: usize,
    /// The initial distribution of the weights.
    pub init: Init,
    /// The initial bias, if there is one.
    pub bias: Option<f32>,
}

impl Default for Conv {
    fn default() -> Self {
        Self { filters: 1, kernel: 1, stride: 1, pad: 0, groups: 1, init: Init::HeOut, bias: None }
    }
}

/// The outputs of each shard of a fully connected layer with `k` outputs over a map `[H, W, C]`. There is one shard if
/// the weights have at most `largest` bytes.
pub(crate) fn pieces([h, w, c]: [usize; 3], k: usize, largest: u64) -> impl Iterator<Item = Range<usize>> {
    let bytes = Shape::filter(h, w, c, k).bytes();
    let pieces =
        usize::try_from(bytes.div_ceil(largest)).unwrap_or(usize::MAX).clamp(1, k.div_ceil(4).max(1));
    let rows_of_piece = k.div_ceil(pieces).next_multiple_of(4).max(4);
    (0..k).step_by(rows_of_piece).map(move |first| first..first.saturating_add(rows_of_piece).min(k))
}

/// A fully connected layer of a graph: of the input, the weights and the bias.
type FullyConnected = fn(&mut Graph, Value, Value, Option<Value>) -> Result<Value>;

impl Builder {
    pub(crate) fn new(mode: Mode, classes: usize, largest_piece: u64, frozen: Frozen) -> Self {
        Self {
            graph: Graph::new(),
            parameters: Vec::new(),
            mode,
            classes,
            noise: None,
            auxiliary: Vec::new(),
            limited: Vec::new(),
            largest_piece,
            maps: Vec::new(),
            windows: None,
            frozen,
            dropouts: 0,
        }
    }

    /// A builder for pictures larger than the network's own input, at which its maps are these.
    pub(crate) fn dense(self, windows: Vec<[usize; 2]>) -> Self {
        Self { windows: Some(windows), ..self }
    }

    /// The maps before poolings to a fixed size and before fully connected layers, in the order of the layers.
    pub(crate) fn maps(&self) -> &[[usize; 2]] {
        &self.maps
    }

    /// Notes a map, and returns the part of it that the next layer covers at once: all of it, or what the map is at the network's own
    /// input.
    fn window(&mut self, map: [usize; 2]) -> [usize; 2] {
        let window = self.windows.as_ref().and_then(|maps| maps.get(self.maps.len()).copied());
        self.maps.push(map);
        window.unwrap_or(map)
    }

    /// Whether the network is built for training.
    pub fn training(&self) -> bool {
        self.mode == Mode::Training
    }

    /// Height, width and channels of a value.
    ///
    /// # Errors
    /// [`Error::Internal`] if the value belongs to another graph.
    pub fn map(&self, x: Value) -> Result<[usize; 3]> {
        let [_, h, w, c] = self.graph.shape(x)?.dims();
        Ok([h, w, c])
    }

    fn parameter(&mut self, name: String, shape: Shape, torch_shape: Vec<usize>, init: Init) -> Value {
        let rows = 0..torch_shape.first().copied().unwrap_or_default();
        self.piece(Parameter { name, value: Value::default(), shape, torch_shape, rows, init, trained: true })
    }

    fn piece(&mut self, mut parameter: Parameter) -> Value {
        parameter.value = self.graph.state(parameter.key(), parameter.shape);
        parameter.trained &= !self.frozen.has(&parameter);
        let value = parameter.value;
        self.parameters.push(parameter);
        value
    }

    fn vector(&mut self, name: String, c: usize, value: f32, trained: bool) -> Value {
        let value = self.parameter(name, Shape::vector(c), vec![c], Init::Constant(value));
        if let Some(last) = self.parameters.last_mut() {
            last.trained &= trained;
        }
        value
    }

    /// A convolution over `(N, H, W, C)`, with parameters `NAME.weight` and, if there is one, `NAME.bias`.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn conv(&mut self, name: &str, x: Value, conv: Conv) -> Result<Value> {
        let Conv { filters: k, kernel: r, stride, pad, groups, init, bias } = conv;
        if groups == 0 {
            return Err(Error::usage("a convolution of 0 groups").at(format!("layer {name}")));
        }
        let [.., c] = self.map(x)?;
        let shape = Shape::filter(r, r, c / groups, k);
        let w = self.parameter(format!("{name}.weight"), shape, vec![k, c / groups, r, r], init);
        let b = bias.map(|value| self.vector(format!("{name}.bias"), k, value, true));
        let options = ConvOptions { groups, ..ConvOptions::square(stride, pad) };
        self.graph.layer(name).conv2d(x, w, b, options)
    }

    /// A convolution followed by ReLU.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn conv_relu(&mut self, name: &str, x: Value, conv: Conv) -> Result<Value> {
        let x = self.conv(name, x, conv)?;
        self.relu(&format!("{name}.relu"), x)
    }

    /// Limits the root mean square of each filter of the last convolution during training (Zeiler and Fergus, 2013).
    pub fn limit_filters(&mut self, limit: f32) {
        if let Some(last) = self.parameters.iter().rev().find(|p| p.torch_shape.len() == 4) {
            self.limited.push((last.value, limit));
        }
    }

    /// A fully connected layer over all of `(N, H, W, C)`: `(N, 1, 1, k)`. In a network for larger pictures it is a convolution over the
    /// map, with the same weights. Weights that are too large for one binding
    /// are split by outputs into shards, whose results are concatenated.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn linear(&mut self, name: &str, x: Value, k: usize, init: Init, bias: f32) -> Result<Value> {
        self.fully_connected(name, x, (k, init, bias), [Graph::linear, Graph::linear_of_windows])
    }

    /// The last fully connected layer of a classifier: one logit per class, in f32.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn logits(&mut self, name: &str, x: Value, init: Init, bias: f32) -> Result<Value> {
        let layers = [Graph::logits, Graph::logits_of_windows];
        self.fully_connected(name, x, (self.classes, init, bias), layers)
    }

    fn fully_connected(
        &mut self,
        name: &str,
        x: Value,
        (k, init, bias): (usize, Init, f32),
        [whole, windows]: [FullyConnected; 2],
    ) -> Result<Value> {
        let [map_h, map_w, c] = self.map(x)?;
        let [h, w] = self.window([map_h, map_w]);
        let layer = if [h, w] == [map_h, map_w] { whole } else { windows };
        let count = pieces([h, w, c], k, self.largest_piece).take(MAX_PIECES + 1).count();
        if count > MAX_PIECES {
            let error = Error::usage(format!("{k} outputs of {} inputs are too many", h * w * c));
            return Err(error.at(format!("layer {name}")).hint("use fewer outputs"));
        }
        let mut joined = Vec::new();
        for rows in pieces([h, w, c], k, self.largest_piece) {
            let mut piece = |part: &str, shape: Shape, torch_shape: Vec<usize>, init: Init| {
                let name = format!("{name}.{part}");
                let (rows, value) = (rows.clone(), Value::default());
                self.piece(Parameter { name, value, shape, torch_shape, rows, init, trained: true })
            };
            let filter = Shape::filter(h, w, c, rows.len());
            let weight = piece("weight", filter, vec![k, c.saturating_mul(h).saturating_mul(w)], init);
            let bias = piece("bias", Shape::vector(rows.len()), vec![k], Init::Constant(bias));
            joined.push(layer(self.graph.layer(name), x, weight, Some(bias))?);
        }
        self.graph.layer(name).concat(&joined)
    }

    /// The average over the whole map: `(N, 1, 1, C)`. In a network for larger pictures too: a fully connected layer behind it gives the
    /// mean over the map of what it gives at each of its places.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn global_average_pool(&mut self, name: &str, x: Value) -> Result<Value> {
        let [h, w, _] = self.map(x)?;
        self.window([h, w]);
        self.graph.layer(name).global_average_pool(x)
    }

    /// The average over `to` windows that cover the map evenly, as in PyTorch's `AdaptiveAvgPool2d`. A network for larger pictures leaves
    /// a map as it is that has this size at the network's own input.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit, or if a network for larger pictures would have to average.
    pub fn adaptive_average_pool(&mut self, name: &str, x: Value, to: [usize; 2]) -> Result<Value> {
        let [h, w, _] = self.map(x)?;
        let [own_h, own_w] = self.window([h, w]);
        if self.windows.is_none() {
            return self.graph.layer(name).adaptive_average_pool(x, to);
        }
        if [own_h, own_w] == to {
            return Ok(x);
        }
        let [to_h, to_w] = to;
        let what = format!(
            "it averages a map of {own_h}x{own_w} to {to_h}x{to_w}, so that its fully connected layers are no convolutions"
        );
        Err(Error::usage(what)
            .at(format!("layer {name}"))
            .hint("evaluate it on its own input, or take one trained on pictures as large as in its paper"))
    }

    /// Batch norm. The running statistics have momentum 0.1, which is PyTorch's default. Frozen ones are used as they are.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn batch_norm(&mut self, name: &str, x: Value, epsilon: f32) -> Result<Value> {
        let [.., c] = self.map(x)?;
        let gamma = self.vector(format!("{name}.weight"), c, 1.0, true);
        let beta = self.vector(format!("{name}.bias"), c, 0.0, true);
        let mean = self.vector(format!("{name}.running_mean"), c, 0.0, false);
        let variance = self.vector(format!("{name}.running_var"), c, 1.0, false);
        let (affine, running) = ([gamma, beta], Running { mean, variance });
        let mode = if self.frozen.keeps_statistics(name) { Mode::Inference } else { self.mode };
        let graph = self.graph.layer(name);
        match mode {
            Mode::Training => graph.batch_norm_training(x, affine, running, epsilon, 0.1),
            Mode::Inference => graph.batch_norm_inference(x, affine, running, epsilon),
        }
    }

    /// Rectified linear unit.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn relu(&mut self, name: &str, x: Value) -> Result<Value> {
        self.graph.layer(name).relu(x)
    }

    /// The maximum of each window.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn max_pool(&mut self, name: &str, x: Value, options: PoolOptions) -> Result<Value> {
        self.graph.layer(name).max_pool(x, options)
    }

    /// Local response normalisation.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn lrn(&mut self, name: &str, x: Value, options: LrnOptions) -> Result<Value> {
        self.graph.layer(name).lrn(x, options)
    }

    /// Dropout with this rate, in training only.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the sizes do not fit.
    pub fn dropout(&mut self, name: &str, x: Value, rate: f32) -> Result<Value> {
        if !self.training() {
            return Ok(x);
        }
        let key = match self.noise {
            Some(key) => key,
            None => *self.noise.insert(self.graph.input("noise", Shape::labels(4))),
        };
        self.dropouts += 1;
        self.graph.layer(name).dropout(x, key, rate, self.dropouts)
    }
}
