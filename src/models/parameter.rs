//! The parameters of a network and their initial values.

use crate::random::{Elements, Stream};
use crate::tensor::{Shape, Value};
use std::ops::Range;

/// The prefix of the parameter names of auxiliary classifiers.
pub(super) const AUXILIARY: &str = "aux";

/// The initial distribution of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All elements have this value.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Normal with mean 0 and variance 2/fan-in: He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    He,
    /// Like [`Init::He`], but with the fan-out: equation 14.
    HeOut,
    /// Uniform with mean 0 and variance 1/fan-in: Glorot and Bengio 2010, as in Caffe.
    Xavier,
}

/// A tensor of a network (weights, a bias or running statistics), or one shard of it.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// PyTorch's name of the tensor, e.g. `layer1.0.conv1.weight`.
    pub name: String,
    /// Its value in the graph.
    pub value: Value,
    /// Its shape in the graph.
    pub shape: Shape,
    /// The shape of the whole tensor in PyTorch: OIHW for convolutions, `[out, in]` for linear layers, `[C]` for
    /// vectors.
    pub torch_shape: Vec<usize>,
    /// The rows of the tensor that it holds: all of them, or those of a shard.
    pub rows: Range<usize>,
    /// The initial distribution.
    pub init: Init,
    /// Whether the optimiser updates it. Running statistics are updated by batch norm.
    pub trained: bool,
}

impl Parameter {
    /// The unique name of the shard: the name of the tensor, followed by the rows if it is one of several shards.
    pub fn key(&self) -> String {
        if self.is_whole() {
            return self.name.clone();
        }
        format!("{}[{}..{}]", self.name, self.rows.start, self.rows.end)
    }

    /// Whether it belongs to an auxiliary classifier, which inference does not have.
    pub fn is_auxiliary(&self) -> bool {
        Self::names_auxiliary(&self.name)
    }

    /// Whether a tensor of this name belongs to an auxiliary classifier.
    pub fn names_auxiliary(name: &str) -> bool {
        name.starts_with(AUXILIARY)
    }

    /// Whether it is the whole tensor.
    pub fn is_whole(&self) -> bool {
        Some(self.rows.len()) == self.torch_shape.first().copied()
    }

    /// The initial values, without padding, in the order of [`Shape::dims`]. They depend on the seed and on `index`,
    /// the position of the parameter in its network. `init` replaces the paper's distribution of weights. All biases
    /// are then 0 (He et al. 2015, section 2.2; Glorot and Bengio 2010, section 2.3): AlexNet's biases of 1 suit its
    /// small weights, but activations explode with larger ones.
    pub fn initial(&self, seed: u64, index: usize, init: Option<Init>) -> Vec<f32> {
        let count = self.shape.elements().unwrap_or(0);
        let [r, s, c, k] = self.shape.dims();
        let init = match (self.init, init) {
            (Init::Constant(_), Some(_)) if self.name.ends_with(".bias") => return vec![0.0; count],
            (Init::Constant(value), _) => return vec![value; count],
            (_, Some(other)) => other,
            (own, None) => own,
        };
        let taps = (r * s) as f32;
        let std = match init {
            Init::Constant(value) => return vec![value; count],
            Init::Normal(std) => std,
            Init::He => (2.0 / (taps * c as f32)).sqrt(),
            Init::HeOut => (2.0 / (taps * k as f32)).sqrt(),
            Init::Xavier => (1.0 / (taps * c as f32)).sqrt(),
        };
        let elements = Elements::new(seed, Stream::Init, index as u32);
        elements.values(count, |mut draw| {
            let one = match init {
                // Uniform on (-sqrt(3), sqrt(3)) has variance 1.
                Init::Xavier => (2.0 * draw.unit() - 1.0) * 3f32.sqrt(),
                _ => draw.normal(),
            };
            std * one
        })
    }
}
