//! Adds layers to the graph: parameters by name, layers whose weights exceed a binding, and the recorded changes of activations.

use super::activation::{Activation, Base, Channels, Product};
use super::budget::Budget;
use super::constant::Constant;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::models::{Init, MAX_PIECE_BYTES, Parameter, pieces};
use crate::ops::ConvOptions;
use crate::ops::Running;
use crate::tensor::{Shape, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// The least epsilon of a batch norm that scales channels. Channels of padding have the variance 0 and must stay zero. It is too small to
/// change a real variance.
const LEAST_EPSILON: f32 = 1e-20;

/// A graph under construction, with its parameters.
pub(super) struct Emitter<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) parameters: Vec<Parameter>,
    /// The parameter of each name.
    pub(super) weights: BTreeMap<String, Weight>,
    /// The values of parameters by name and first row. Exporters let layers share equal tensors.
    values: BTreeMap<(String, usize, [usize; 4]), Value>,
    /// How many parameters have each name, if there is more than one.
    numbers: BTreeMap<String, usize>,
    /// The input of the network.
    pub(super) input: Value,
    /// The transformed input of the first layer.
    pub(super) transform: Option<(Value, Channels)>,
}

impl<'g> Emitter<'g> {
    pub(super) fn new(graph: &'g mut Graph, input: Value) -> Self {
        Self {
            graph,
            parameters: Vec::new(),
            weights: BTreeMap::new(),
            values: BTreeMap::new(),
            numbers: BTreeMap::new(),
            input,
            transform: None,
        }
    }

    /// Adds a parameter, or some rows of one. Equal parameters are shared. A different one of the same name gets a number.
    fn parameter(&mut self, weight: &Weight, shape: Shape, rows: Range<usize>, trained: bool) -> Value {
        let mut name = weight.name().to_owned();
        let differs = |name: &str| self.weights.get(name).is_some_and(|other| !other.is(weight));
        if differs(&name) {
            // It is compared only with the last one of this name: for a layer in pieces, that is the other piece.
            let number = self.numbers.entry(name.clone()).or_insert(2);
            name = format!("{}.{number}", weight.name());
            if differs(&name) {
                *number += 1;
                name = format!("{}.{number}", weight.name());
            }
        }
        self.weights.entry(name.clone()).or_insert_with(|| weight.clone());
        let key = (name.clone(), rows.start, shape.dims());
        if let Some(value) = self.values.get(&key) {
            return *value;
        }
        let mut parameter = Parameter {
            name,
            value: Value::default(),
            shape,
            torch_shape: weight.shape().to_vec(),
            rows,
            init: Init::Constant(0.0),
            trained,
        };
        parameter.value = self.graph.state(parameter.key(), shape);
        self.values.insert(key, parameter.value);
        let value = parameter.value;
        self.parameters.push(parameter);
        value
    }

    /// Adds a parameter with one number for each channel.
    fn vector(&mut self, weight: &Weight, rows: Range<usize>, trained: bool) -> Value {
        self.parameter(weight, Shape::vector(rows.len()), rows, trained)
    }

    /// Adds a batch norm with its four vectors.
    pub(super) fn batch_norm(
        &mut self,
        layer: &str,
        x: Value,
        [gamma, beta, mean, variance]: [&Weight; 4],
        epsilon: f32,
    ) -> Result<Value> {
        let all = 0..gamma.shape().first().copied().unwrap_or(0);
        let affine = [self.vector(gamma, all.clone(), true), self.vector(beta, all.clone(), true)];
        let running = Running {
            mean: self.vector(mean, all.clone(), false),
            variance: self.vector(variance, all, false),
        };
        self.graph.layer(layer).batch_norm_inference(x, affine, running, epsilon.max(LEAST_EPSILON))
    }

    /// Adds a product and its bias. Logits are stored in f32.
    fn product(&mut self, product: &Product, bias: Option<&Weight>, logits: bool) -> Result<Value> {
        let (x, weight) = (product.x, &product.weight);
        if let Some(options) = product.convolution {
            let [k, c, r, s] = *weight.shape() else {
                return Err(Error::internal("filters of another rank"));
            };
            let w = self.parameter(weight, Shape::filter(r, s, c, k), 0..k, true);
            let b = bias.map(|b| self.vector(b, 0..k, true));
            return self.graph.layer(&product.layer).conv2d(x, w, b, options);
        }
        let [_, h, w, c] = self.graph.shape(x)?.dims();
        let k = weight.shape().first().copied().unwrap_or(0);
        let mut joined = Vec::new();
        for rows in pieces([h, w, c], k, MAX_PIECE_BYTES) {
            let filter = self.parameter(weight, Shape::filter(h, w, c, rows.len()), rows.clone(), true);
            let b = bias.map(|b| self.vector(b, rows, true));
            let graph = self.graph.layer(&product.layer);
            joined.push(if logits { graph.logits(x, filter, b)? } else { graph.linear(x, filter, b)? });
        }
        self.graph.layer(&product.layer).concat(&joined)
    }

    /// The value of an activation in the graph, without its padding.
    pub(super) fn value(&mut self, x: &Activation, name: &str, budget: &Budget) -> Result<Value> {
        self.stored(x, name, budget, false)
    }

    /// The value of the result of the network, in f32.
    pub(super) fn logits(&mut self, x: &Activation, name: &str, budget: &Budget) -> Result<Value> {
        let [.., c] = x.map;
        let plain = x.step == [1; 2] && x.channels.as_ref().is_none_or(|channels| channels.only_adds(c));
        let layer = matches!(&x.base, Base::Product(product) if product.convolution.is_none());
        let value = self.stored(x, name, budget, plain && layer)?;
        if plain && layer {
            return Ok(value);
        }
        // No layer stores the result in f32, so one is added that multiplies each class by 1.
        let [.., c] = self.graph.shape(value)?.dims();
        budget.take(c.saturating_mul(c))?;
        let one = |i: usize| if i / c.max(1) == i % c.max(1) { 1.0 } else { 0.0 };
        let ones = Constant::floats(&format!("{name}.as_f32"), vec![c, c], (0..c * c).map(one).collect());
        let product = Product {
            layer: name.to_owned(),
            x: value,
            weight: Weight::new(ones),
            bias: None,
            convolution: None,
        };
        self.product(&product, None, true)
    }

    fn stored(&mut self, x: &Activation, name: &str, budget: &Budget, logits: bool) -> Result<Value> {
        let [.., c] = x.map;
        let base = match &x.base {
            Base::Value(value) => *value,
            Base::Product(product) => {
                // A constant for each channel is a bias.
                let adds = x.channels.as_ref().filter(|channels| channels.only_adds(c));
                let bias = match (&product.bias, adds) {
                    (bias, None) => bias.clone(),
                    (None, Some(Channels { added: Some(weight), .. })) => Some(weight.clone()),
                    (bias, Some(channels)) => {
                        let before = match bias {
                            Some(bias) => bias.rows(0..c)?,
                            None => vec![0.0; c],
                        };
                        budget.take(c)?;
                        let sum =
                            channels.of.iter().zip(before).map(|((.., add), b)| (f64::from(b) + add) as f32);
                        let sum = Constant::floats(&format!("{name}.bias"), vec![c], sum.collect());
                        Some(Weight::new(sum))
                    }
                };
                let value = self.product(product, bias.as_ref(), logits)?;
                if adds.is_some() {
                    return self.kept(value, None, x.step, name, budget);
                }
                value
            }
        };
        let value = self.kept(base, x.channels.as_ref(), x.step, name, budget)?;
        if let (Base::Value(base), Some(channels), None) = (&x.base, &x.channels, &self.transform)
            && *base == self.input
            && x.step == [1; 2]
        {
            self.transform = Some((value, channels.clone()));
        }
        Ok(value)
    }

    /// Applies the mapped channels and the stride of an activation.
    fn kept(
        &mut self,
        base: Value,
        channels: Option<&Channels>,
        step: [usize; 2],
        name: &str,
        budget: &Budget,
    ) -> Result<Value> {
        let [.., c] = self.graph.shape(base)?.dims();
        if step == [1; 2] {
            let Some(channels) = channels else { return Ok(base) };
            if channels.in_place(c) {
                return self.affine(base, channels, name, budget);
            }
        }
        // Other channels, or a stride: a 1x1 convolution.
        let whole;
        let channels = match channels {
            Some(channels) => channels,
            None => {
                whole = Channels::of_base(c);
                &whole
            }
        };
        let k = channels.of.len();
        budget.take(k.saturating_mul(c))?;
        let mut filters = vec![0.0; k * c];
        for (row, (from, scale, _)) in filters.chunks_exact_mut(c.max(1)).zip(&channels.of) {
            if let Some(number) = from.and_then(|from| row.get_mut(from)) {
                *number = *scale as f32;
            }
        }
        let weight = Weight::new(Constant::floats(&format!("{name}.select"), vec![k, c, 1, 1], filters));
        let shifts: Vec<f32> = channels.of.iter().map(|(.., shift)| *shift as f32).collect();
        let bias = shifts
            .iter()
            .any(|s| *s != 0.0)
            .then(|| Weight::new(Constant::floats(&format!("{name}.shift"), vec![k], shifts.clone())));
        let options = ConvOptions { stride: step, pad: [0; 2], groups: 1 };
        let product =
            Product { layer: name.to_owned(), x: base, weight, bias: None, convolution: Some(options) };
        self.product(&product, bias.as_ref(), false)
    }

    /// Scales and shifts each channel, by a batch norm with mean 0 and variance 1.
    fn affine(&mut self, x: Value, channels: &Channels, name: &str, budget: &Budget) -> Result<Value> {
        let c = channels.of.len();
        budget.take(c.saturating_mul(4))?;
        let numbers = |part: &str, numbers: Vec<f32>| {
            Weight::new(Constant::floats(&format!("{name}.{part}"), vec![c], numbers))
        };
        let gamma = numbers("scale", channels.of.iter().map(|(_, scale, _)| *scale as f32).collect());
        let beta = numbers("shift", channels.of.iter().map(|(.., shift)| *shift as f32).collect());
        let (mean, variance) = (numbers("zero", vec![0.0; c]), numbers("one", vec![1.0; c]));
        self.batch_norm(name, x, [&gamma, &beta, &mean, &variance], 0.0)
    }
}
