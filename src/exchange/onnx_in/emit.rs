//! Writing the graph: parameters by name, layers whose weights exceed a binding, and what was put off.

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

/// What is added to a variance at least, so that the channels of zeros that pad a map stay zeros; nothing to
/// one that is a variance.
const LEAST_EPSILON: f32 = 1e-20;

/// A graph in the making with its parameters.
pub(super) struct Emitter<'g> {
    pub(super) graph: &'g mut Graph,
    pub(super) parameters: Vec<Parameter>,
    /// What each name stands for.
    pub(super) weights: BTreeMap<String, Weight>,
    /// Values of parameters by name and first row: exporters let layers share equal tensors.
    values: BTreeMap<(String, usize, [usize; 4]), Value>,
    /// How many parameters each name stands for, if it is more than one.
    numbers: BTreeMap<String, usize>,
    /// The input of the network.
    pub(super) input: Value,
    /// What was made of the input before the first layer.
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

    /// A parameter, or some rows of one. Equal ones are one; another of the same name gets a number.
    fn parameter(&mut self, weight: &Weight, shape: Shape, rows: Range<usize>, trained: bool) -> Value {
        let mut name = weight.name().to_owned();
        let differs = |name: &str| self.weights.get(name).is_some_and(|other| !other.is(weight));
        if differs(&name) {
            // Only with the last one of the name: that is the other half of a layer in pieces, if any is
            // equal.
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

    /// One number a channel.
    fn vector(&mut self, weight: &Weight, rows: Range<usize>, trained: bool) -> Value {
        self.parameter(weight, Shape::vector(rows.len()), rows, trained)
    }

    /// Batch norm by its four vectors.
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

    /// A product with what is added to its result; logits are stored in f32.
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

    /// The value of an activation without the zeros around it, in the graph.
    pub(super) fn value(&mut self, x: &Activation, name: &str, budget: &Budget) -> Result<Value> {
        self.stored(x, name, budget, false)
    }

    /// The value of an activation that is the result of the network: in f32.
    pub(super) fn logits(&mut self, x: &Activation, name: &str, budget: &Budget) -> Result<Value> {
        let [.., c] = x.map;
        let plain = x.step == [1; 2] && x.channels.as_ref().is_none_or(|channels| channels.only_adds(c));
        let layer = matches!(&x.base, Base::Product(product) if product.convolution.is_none());
        let value = self.stored(x, name, budget, plain && layer)?;
        if plain && layer {
            return Ok(value);
        }
        // No layer that could store them so whatever they are in: each class times one.
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
                // What is added to each channel is its bias.
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

    /// The channels and pixels of a value that are kept.
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
        // Other channels or every n-th pixel: a 1x1 convolution.
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

    /// Each channel times and plus something: a batch norm whose statistics are 0 and 1.
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
