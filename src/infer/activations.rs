//! A look inside a network: its layers, what each of them makes of a picture, its first filters, and how long each layer takes.
//!
//! A layer here is what one kernel computes: an operation with the batch norm, sum and ReLU that are done in its kernel. What lies
//! between them is never in memory, in a look inside neither, so that one sees what is computed otherwise, with the same bits.

use super::InferenceStep;
use crate::error::{Error, Result};
use crate::graph::{Graph, Source};
use crate::models::Parameter;
use crate::plan::{Plan, Session};
use crate::tensor::{Layout, Value};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A layer that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// The name of its first operation, e.g. `layer1.0.conv1`.
    pub name: String,
    /// The name of its last one, whose result is what is seen, e.g. `layer1.0.relu1`.
    pub output: String,
    /// Its operations in order, e.g. `conv2d`, `batch_norm`, `relu`.
    pub operations: Vec<&'static str>,
    /// Height, width and channels of the result.
    pub shape: [usize; 3],
    /// Trained numbers.
    pub parameters: u64,
    /// Multiply-adds for one picture.
    pub macs: u64,
    #[serde(skip)]
    value: Value,
    /// The steps of the plan whose time is that of the layer.
    #[serde(skip)]
    steps: Vec<usize>,
}

/// The filters of a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Filters {
    /// The convolution, e.g. `conv1`.
    pub layer: String,
    /// Filters, height, width and channels.
    pub shape: [usize; 4],
    /// The weights in the order of `shape`.
    pub data: Vec<f32>,
}

/// How the time of layers was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// By the GPU's own clock.
    Timestamps,
    /// One layer at a time, from its start until the host knew of its end.
    Waiting,
}

/// The layers that a plan computes of a network, in order.
pub(super) fn layers(graph: &Graph, parameters: &[Parameter], plan: &Plan) -> Result<Vec<LayerInfo>> {
    let trained: HashMap<Value, u64> = parameters
        .iter()
        .filter(|p| p.trained)
        .map(|p| (p.value, p.shape.elements().unwrap_or(0) as u64))
        .collect();
    let mut layers: Vec<LayerInfo> = Vec::new();
    // Steps that compute no activations belong to the layer that reads them.
    let mut before = Vec::new();
    for (i, step) in plan.steps().iter().enumerate() {
        let (Some(head), node) = (step.members.first(), graph.node(step.value)?) else { continue };
        let head = graph.node(*head)?;
        let (Source::Op(op), Source::Op(first)) = (&node.source, &head.source) else { continue };
        before.push(i);
        if node.shape.layout() != Layout::Image || op.traits().is_reshape() {
            continue;
        }
        let [n, h, w, c] = node.shape.dims();
        let mut seen = HashSet::new();
        let mut layer = LayerInfo {
            name: head.name.clone(),
            output: node.name.clone(),
            operations: Vec::new(),
            shape: [h, w, c],
            parameters: 0,
            macs: plan.macs_of(step.value) / n.max(1) as u64,
            value: step.value,
            steps: std::mem::take(&mut before),
        };
        for member in &step.members {
            let member = graph.node(*member)?;
            if let Source::Op(op) = &member.source {
                layer.operations.push(op.name());
            }
            for input in &member.inputs {
                layer.parameters += numbers(graph, &trained, *input, &mut seen)?;
            }
        }
        // The pieces of a layer whose weights are kept in several make one.
        if first.traits().is_concat() {
            let own = layers.iter().rev().take_while(|l| l.name == layer.name).count();
            for piece in layers.split_off(layers.len() - own) {
                layer.operations = piece.operations;
                layer.parameters += piece.parameters;
                layer.macs += piece.macs;
                layer.steps.extend(piece.steps);
            }
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// Trained numbers that an input is made of; activations are made of none of the layer's own.
fn numbers(
    graph: &Graph,
    trained: &HashMap<Value, u64>,
    value: Value,
    seen: &mut HashSet<Value>,
) -> Result<u64> {
    let node = graph.node(value)?;
    if node.shape.layout() == Layout::Image || !seen.insert(value) {
        return Ok(0);
    }
    let mut sum = trained.get(&value).copied().unwrap_or(0);
    for input in &node.inputs {
        sum += numbers(graph, trained, *input, seen)?;
    }
    Ok(sum)
}

impl InferenceStep {
    /// Its layers in the order of their computation, the prepared picture first and the logits last.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The filters of the first convolution; `None` of a network that has none, or one with groups.
    ///
    /// # Errors
    /// As [`Session::kept`].
    pub async fn filters(&self) -> Result<Option<Filters>> {
        let graph = &self.graph;
        let convolution =
            graph.nodes().iter().find(|node| matches!(&node.source, Source::Op(op) if op.name() == "conv2d"));
        let Some((node, &weights)) = convolution.and_then(|node| Some((node, node.inputs.get(1)?))) else {
            return Ok(None);
        };
        let shape = graph.shape(weights)?;
        if shape.layout() != Layout::Filter || !matches!(graph.node(weights)?.source, Source::State) {
            return Ok(None);
        }
        let weights = self.session().kept(weights).await?;
        let [r, s, c, k] = shape.dims();
        let mut data = Vec::with_capacity(weights.len());
        for filter in 0..k {
            data.extend(weights.iter().skip(filter).step_by(k));
        }
        Ok(Some(Filters { layer: node.name.clone(), shape: [k, r, s, c], data }))
    }

    /// Runs the network once more on the last picture and measures each layer in milliseconds, by the GPU's clock where it has one and by
    /// `now`, a clock of the host in milliseconds, where it has none.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_layers(&self, now: &dyn Fn() -> f64) -> Result<(Clock, Vec<f64>)> {
        let (clock, steps) = match self.session().time_steps().await? {
            // A browser may round all of them to nothing.
            Some(times) if times.iter().sum::<f64>() > 0.0 => (Clock::Timestamps, times),
            _ => (Clock::Waiting, self.session().time_steps_waiting(now).await?),
        };
        Ok((clock, self.by_layer(&steps)))
    }

    /// Adds up the milliseconds of each step of the plan by the layers.
    pub fn by_layer(&self, steps: &[f64]) -> Vec<f64> {
        let of_steps = |layer: &LayerInfo| layer.steps.iter().filter_map(|i| steps.get(*i)).sum();
        self.layers.iter().map(of_steps).collect()
    }
}

/// The network once more, on the same weights, with memory in which what each layer computes stays until the next picture.
pub struct ActivationRecorder {
    session: Session,
    pixels: Value,
    layers: Vec<LayerInfo>,
}

impl ActivationRecorder {
    /// Makes the memory for it, besides that of the step.
    ///
    /// # Errors
    /// [`Error::Gpu`] if there is not enough; the step can be used as before.
    pub async fn new(step: &InferenceStep) -> Result<Self> {
        let layers = step.layers.clone();
        let values: Vec<Value> = layers.iter().map(|layer| layer.value).collect();
        let plan = Plan::keeping(&step.graph, &values, &step.options)?;
        let gpu = step.session().gpu();
        plan.compiled(gpu).await?;
        let make = || -> Result<Session> {
            let session = Session::new(gpu.clone(), plan, Some(step.session()))?;
            session.bound()?;
            Ok(session)
        };
        let session = gpu.if_memory_suffices(make).await?;
        Ok(Self { session, pixels: step.pixels, layers })
    }

    /// Runs a batch of RGBA pixels through it. The GPU may still be at work when this returns.
    ///
    /// # Errors
    /// As [`InferenceStep::start`].
    pub fn run(&self, pixels: &[u8]) -> Result<()> {
        self.session.write_stored(self.pixels, pixels)?;
        self.session.run()
    }

    /// What a layer has made of the last batch: (N, H, W, C).
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no layer of this number, [`Error::Data`] if a number of it is not finite; otherwise as
    /// [`Session::kept`].
    pub async fn activations(&self, layer: usize) -> Result<Vec<f32>> {
        let Some(found) = self.layers.get(layer) else {
            let layers = self.layers.len();
            return Err(Error::usage(format!("there is no layer {layer}"))
                .hint(format!("they are counted from 0 to {}", layers.saturating_sub(1))));
        };
        let activations = self.session.kept(found.value).await?;
        match activations.iter().find(|x| !x.is_finite()) {
            None => Ok(activations),
            Some(number) => Err(Error::data(format!("numbers of this layer overflow: one is {number}"))
                .at(format!("layer {}", found.output))
                .hint("the weights hold numbers that are too large, or those of another network")),
        }
    }
}
