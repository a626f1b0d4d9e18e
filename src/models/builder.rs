//! What the network files are written in: layers with parameters, named as PyTorch names them.

use super::Mode;
use crate::error::Result;
use crate::graph::{Graph, Shape, Value};
use crate::ops::{ConvOptions, PoolOptions, Running};
use crate::random::{Stream, normal, words};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Normal with mean 0 and this deviation.
    Normal(f32),
    /// Normal with mean 0 and variance 2/fan-in: He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    He,
}

/// A tensor that a network keeps.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// PyTorch's name, e.g. `layer1.0.conv1.weight`.
    pub name: String,
    /// Its value in the graph.
    pub value: Value,
    /// Its shape in the graph.
    pub shape: Shape,
    /// Its shape in PyTorch: OIHW for convolutions, `[out, in]` for linear layers, `[C]` for vectors.
    pub torch_shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether the optimiser changes it; running statistics are changed by batch norm itself.
    pub trained: bool,
}

impl Parameter {
    /// The first content, without padding, in the order of [`Shape::dims`]. It depends on the seed and on `index`,
    /// the place of the parameter in its network.
    pub fn initial(&self, seed: u64, index: usize) -> Vec<f32> {
        let count = self.shape.elements().unwrap_or(0);
        let [r, s, c, _] = self.shape.dims();
        let std = match self.init {
            Init::Constant(value) => return vec![value; count],
            Init::Normal(std) => std,
            Init::He => (2.0 / (r * s * c) as f32).sqrt(),
        };
        let draw = |i: usize| {
            let [a, b, ..] = words(seed, Stream::Init, index as u32, i as u32);
            std * normal(a, b)
        };
        (0..count).map(draw).collect()
    }
}

/// Adds layers to a graph and keeps the list of their parameters.
#[derive(Debug)]
pub struct Builder {
    /// The graph so far.
    pub graph: Graph,
    /// The parameters so far.
    pub parameters: Vec<Parameter>,
    /// What the network is built for.
    pub mode: Mode,
    /// Number of classes.
    pub classes: usize,
}

/// A convolution layer.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Number of filters.
    pub filters: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Stride.
    pub stride: usize,
    /// Padding.
    pub pad: usize,
    /// Groups.
    pub groups: usize,
    /// How the weights start.
    pub init: Init,
    /// How the bias starts, if there is one.
    pub bias: Option<f32>,
}

impl Builder {
    pub(super) fn new(mode: Mode, classes: usize) -> Self {
        Self { graph: Graph::new(), parameters: Vec::new(), mode, classes }
    }

    fn parameter(
        &mut self,
        name: String,
        shape: Shape,
        torch_shape: Vec<usize>,
        init: Init,
        trained: bool,
    ) -> Value {
        let value = self.graph.state(name.clone(), shape);
        self.parameters.push(Parameter { name, value, shape, torch_shape, init, trained });
        value
    }

    fn vector(&mut self, name: String, c: usize, value: f32, trained: bool) -> Value {
        self.parameter(name, Shape::vector(c), vec![c], Init::Constant(value), trained)
    }

    /// A convolution over `(N, H, W, C)`.
    pub(super) fn conv(&mut self, name: &str, x: Value, conv: Conv) -> Result<Value> {
        let Conv { filters: k, kernel: r, stride, pad, groups, init, bias } = conv;
        let [.., c] = self.graph.shape(x)?.dims();
        let shape = Shape::filter(r, r, c / groups, k);
        let w = self.parameter(format!("{name}.weight"), shape, vec![k, c / groups, r, r], init, true);
        let b = bias.map(|value| self.vector(format!("{name}.bias"), k, value, true));
        let options = ConvOptions { groups, ..ConvOptions::square(stride, pad) };
        self.graph.layer(name).conv2d(x, w, b, options)
    }

    /// A fully connected layer over all of `(N, H, W, C)`.
    pub(super) fn linear(&mut self, name: &str, x: Value, k: usize, init: Init, bias: f32) -> Result<Value> {
        let [_, h, w, c] = self.graph.shape(x)?.dims();
        let shape = Shape::filter(h, w, c, k);
        let weight = self.parameter(format!("{name}.weight"), shape, vec![k, c * h * w], init, true);
        let bias = self.vector(format!("{name}.bias"), k, bias, true);
        self.graph.layer(name).linear(x, weight, Some(bias))
    }

    /// Batch norm with epsilon 1e-5 and momentum 0.1, PyTorch's defaults.
    pub(super) fn batch_norm(&mut self, name: &str, x: Value) -> Result<Value> {
        let [.., c] = self.graph.shape(x)?.dims();
        let gamma = self.vector(format!("{name}.weight"), c, 1.0, true);
        let beta = self.vector(format!("{name}.bias"), c, 0.0, true);
        let mean = self.vector(format!("{name}.running_mean"), c, 0.0, false);
        let variance = self.vector(format!("{name}.running_var"), c, 1.0, false);
        let (affine, running) = ([gamma, beta], Running { mean, variance });
        let graph = self.graph.layer(name);
        match self.mode {
            Mode::Training => graph.batch_norm_training(x, affine, running, 1e-5, 0.1),
            Mode::Inference => graph.batch_norm_inference(x, affine, running, 1e-5),
        }
    }

    pub(super) fn relu(&mut self, name: &str, x: Value) -> Result<Value> {
        self.graph.layer(name).relu(x)
    }

    pub(super) fn max_pool(&mut self, name: &str, x: Value, kernel: usize, stride: usize) -> Result<Value> {
        self.graph.layer(name).max_pool(x, PoolOptions::square(kernel, stride))
    }
}
