//! The layers of a network: their activations, their times, and the filters of the first convolution.
//!
//! A layer is what one kernel computes: an operation with the batch norm, the sum and the ReLU that are fused into its kernel. Values
//! between fused operations are never stored, so they cannot be recorded. The recorded activations are those of inference, bit for bit.

use super::{InferenceStep, LayerInfo};
use crate::error::{Error, Result};
use crate::graph::Source;
use crate::plan::{Plan, Session};
use crate::tensor::{Layout, Value};
use serde::Serialize;

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

impl Filters {
    /// Filters from weights `(R, S, C, K)`, as they lie in the graph.
    pub(crate) fn of(layer: String, [r, s, c, k]: [usize; 4], weights: &[f32]) -> Self {
        let filters = (0..k).flat_map(|filter| weights.iter().skip(filter).step_by(k.max(1)).copied());
        Self { layer, shape: [k, r, s, c], data: filters.collect() }
    }
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
        Ok(Some(Filters::of(node.name.clone(), shape.dims(), &weights)))
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
