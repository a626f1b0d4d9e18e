//! The layers of a network: their activations, their times, and the filters of the first convolution.
//!
//! A layer is what one kernel computes: an operation with the batch norm, the sum and the ReLU that are fused into its kernel. Values
//! between fused operations are never stored, so they cannot be recorded. The recorded activations are those of inference, bit for bit.

use super::InferenceStep;
use crate::error::{Error, Result, Untrusted};
use crate::graph::{Graph, Source};
use crate::models::Parameter;
use crate::plan::{Plan, Session};
use crate::tensor::{Layout, Value};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A layer whose activations can be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// The name of its first operation, e.g. `layer1.0.conv1`.
    pub name: String,
    /// The name of its last operation, whose result is recorded, e.g. `layer1.0.relu1`.
    pub output: String,
    /// Its operations in order, e.g. `conv2d`, `batch_norm`, `relu`.
    pub operations: Vec<&'static str>,
    /// Height, width and channels of the result.
    pub shape: [usize; 3],
    /// Number of trained parameters.
    pub parameters: u64,
    /// Multiply-adds for one picture.
    pub macs: u64,
    #[serde(skip)]
    value: Value,
    /// The steps of the plan whose times add up to that of the layer.
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

/// How the times of layers were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// By timestamps of the GPU.
    Timestamps,
    /// By the host, which waits for one layer at a time.
    Waiting,
}

/// What a layer computes for one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// The numbers in the order of `shape`.
    pub data: Vec<f32>,
}

/// The number of the layer of this name: that of its last operation, or else of its first.
///
/// # Errors
/// [`Error::Usage`] if there is none.
pub(super) fn find(layers: &[LayerInfo], name: &str) -> Result<usize> {
    let by_output = layers.iter().position(|layer| layer.output == name);
    by_output.or_else(|| layers.iter().position(|layer| layer.name == name)).ok_or_else(|| {
        let ends =
            layers.first().zip(layers.last()).map(|(a, z)| format!(", from {} to {}", a.output, z.output));
        let which = format!("`layer_names` lists the {} layers{}", layers.len(), ends.unwrap_or_default());
        Error::usage(format!("there is no layer {}", Untrusted::short(name))).hint(which)
    })
}

/// The layers of a network in the order of its plan.
pub(super) fn layers(graph: &Graph, parameters: &[Parameter], plan: &Plan) -> Result<Vec<LayerInfo>> {
    let trained: HashMap<Value, u64> = parameters
        .iter()
        .filter(|p| p.trained)
        .map(|p| (p.value, p.shape.elements().unwrap_or(0) as u64))
        .collect();
    let mut layers: Vec<LayerInfo> = Vec::new();
    // A step without activations is counted with the layer that reads its result.
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
        // Large weights are kept in several pieces, each with a step of its own: they are one layer.
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

/// The number of trained parameters that a value is computed from. Activations count as none: they belong to earlier layers.
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
    /// The layers in the order of their computation: the prepared picture first, the logits last.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The filters of the first convolution; `None` if there is no convolution, or the first has groups.
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

    /// Runs the network again on the last batch and measures each layer in milliseconds. Adapters without timestamps are measured by
    /// `now`, a clock of the host in milliseconds.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_layers(&self, now: &dyn Fn() -> f64) -> Result<(Clock, Vec<f64>)> {
        let (clock, steps) = match self.session().time_steps().await? {
            // A browser may round all of them to 0.
            Some(times) if times.iter().sum::<f64>() > 0.0 => (Clock::Timestamps, times),
            _ => (Clock::Waiting, self.session().time_steps_waiting(now).await?),
        };
        Ok((clock, self.by_layer(&steps)))
    }

    /// The time of each layer from the times of the steps of the plan.
    pub fn by_layer(&self, steps: &[f64]) -> Vec<f64> {
        let of_steps = |layer: &LayerInfo| layer.steps.iter().filter_map(|i| steps.get(*i)).sum();
        self.layers.iter().map(of_steps).collect()
    }
}

/// A second plan of the network that keeps the activations of all layers until the next batch. It shares the weights of the step.
pub struct ActivationRecorder {
    session: Session,
    pixels: Value,
    layers: Vec<LayerInfo>,
}

impl ActivationRecorder {
    /// Allocates memory for the activations of all layers.
    ///
    /// # Errors
    /// [`Error::Gpu`] if there is not enough memory; the step can still be used.
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

    /// Runs a batch of RGBA pixels. The GPU may still be computing when this returns.
    ///
    /// # Errors
    /// As [`InferenceStep::start`].
    pub fn run(&self, pixels: &[u8]) -> Result<()> {
        self.session.write_stored(self.pixels, pixels)?;
        self.session.run()
    }

    /// The activations of a layer for the last batch: (N, H, W, C). Layers are counted from 0, as in [`InferenceStep::layers`].
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no layer of this number, [`Error::Data`] if the activations hold NaN or infinity; otherwise as
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
