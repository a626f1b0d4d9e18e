//! A tensor that a network keeps, and how it starts.

use crate::random::{Elements, Stream};
use crate::tensor::{Shape, Value};
use std::ops::Range;

/// What the names of the parameters of auxiliary classifiers start with.
pub(super) const AUXILIARY: &str = "aux";

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant(f32),
    /// Normal with mean 0 and this deviation.
    Normal(f32),
    /// Normal with mean 0 and variance 2/fan-in: He et al., "Delving Deep into Rectifiers", 2015, equation 10.
    He,
    /// The same with the fan-out, equation 14.
    HeOut,
    /// Uniform with mean 0 and variance 1/fan-in: Glorot and Bengio 2010 as Caffe has it.
    Xavier,
}

/// A tensor that a network keeps, or the part of one that is kept in a piece.
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
    /// Which rows of the tensor it holds: all of them, or those of a piece.
    pub rows: Range<usize>,
    /// How it starts.
    pub init: Init,
    /// Whether the optimiser changes it; running statistics are changed by batch norm itself.
    pub trained: bool,
}

impl Parameter {
    /// A name that no other piece has: the tensor's, and for one of several pieces the rows.
    pub fn key(&self) -> String {
        if self.is_whole() {
            return self.name.clone();
        }
        format!("{}[{}..{}]", self.name, self.rows.start, self.rows.end)
    }

    /// Whether it is of an auxiliary classifier, which inference does without.
    pub fn is_auxiliary(&self) -> bool {
        Self::names_auxiliary(&self.name)
    }

    /// Whether the name is that of a tensor of an auxiliary classifier.
    pub fn names_auxiliary(name: &str) -> bool {
        name.starts_with(AUXILIARY)
    }

    /// Whether it is the whole tensor.
    pub fn is_whole(&self) -> bool {
        Some(self.rows.len()) == self.torch_shape.first().copied()
    }

    /// The first content, without padding, in the order of [`Shape::dims`]. It depends on the seed and on `index`,
    /// the place of the parameter in its network. `init` replaces what the network's paper says of weights, and all
    /// biases then start at 0 (He et al. 2015, section 2.2; Glorot and Bengio 2010, section 2.3): those of 1 that AlexNet
    /// adds to its small weights make larger ones explode.
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
        let draw = |i: usize| {
            let mut draw = elements.draw(i as u32);
            let one = match init {
                // Uniform on (-sqrt(3), sqrt(3)) has variance 1.
                Init::Xavier => (2.0 * draw.unit() - 1.0) * 3f32.sqrt(),
                _ => draw.normal(),
            };
            std * one
        };
        (0..count).map(draw).collect()
    }
}
