//! The graph of a training step.

use super::classifier_head;
use super::optimizer::{LOSS_SCALE, Updates};
use super::ports::{Ports, with_loss};
use crate::error::Result;
use crate::graph::{Graph, Kind, Node, Source};
use crate::models::{Arch, Mode, Network, Parameter, Settings};
use crate::plan::{Memory, Plan, PlanOptions};
use crate::tensor::{Precision, Shape, Value};
use std::collections::{BTreeSet, HashSet};

/// The weight of the loss of an auxiliary classifier (Szegedy et al. 2014, section 5).
const AUXILIARY_WEIGHT: f32 = 0.3;

/// How a training step is built.
///
/// ```
/// use ocelli::train::TrainingOptions;
///
/// let options = TrainingOptions::default().with_accumulate(4).with_recompute(true);
/// assert_eq!(options.accumulate, 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainingOptions {
    /// Gradient accumulation: the number of batches whose gradients are added before the parameters change.
    pub accumulate: usize,
    /// Activation checkpointing: activations are recomputed in the backward pass instead of being kept.
    pub recompute: bool,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self { accumulate: 1, recompute: false }
    }
}

impl TrainingOptions {
    /// Sets [`TrainingOptions::accumulate`].
    #[must_use]
    pub const fn with_accumulate(self, accumulate: usize) -> Self {
        Self { accumulate, ..self }
    }

    /// Sets [`TrainingOptions::recompute`].
    #[must_use]
    pub const fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }
}

/// A parameter with its velocity.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The parameter or running statistic.
    pub parameter: Parameter,
    /// Its velocity; `None` for a running statistic.
    pub velocity: Option<Value>,
}

/// The graph of a training step: forward pass, loss, gradients, updates.
#[derive(Debug, Clone)]
pub struct TrainingGraph {
    /// The operations.
    pub graph: Graph,
    /// The parameters in the order of the layers.
    pub parameters: Vec<Trained>,
    pub(super) ports: Ports,
    pub(super) hyper: Value,
    /// The input that seeds the dropout masks.
    pub(super) noise: Option<Value>,
    /// The state of the loss scale, in f16.
    pub(super) scale: Option<Value>,
    /// The updates of the parameters if gradients are accumulated. Otherwise they are part of `graph`.
    pub(super) update: Option<Graph>,
    /// Names of the tensors of the classifier heads.
    pub(super) heads: BTreeSet<String>,
    pub(super) batch_size: usize,
    pub(super) accumulate: usize,
}

impl TrainingGraph {
    /// The training step of `arch`, as [`TrainingGraph::of_network`] builds it.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the settings do not fit the network.
    pub fn new(arch: &Arch, settings: &Settings, options: TrainingOptions) -> Result<Self> {
        Self::of_network(arch.network(settings, Mode::Training)?, options)
    }

    /// The training step of any network that was built for [`Mode::Training`]: stochastic gradient descent on the mean
    /// cross-entropy of the batch. The loss of each auxiliary classifier is added with a weight of 0.3.
    ///
    /// Activations in f16 get a loss scale, as [`super::LossScale`] describes.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the logits are not `(N, 1, 1, classes)`, or an operation of the network has no gradient.
    pub fn of_network(mut network: Network, options: TrainingOptions) -> Result<Self> {
        let heads = classifier_head::tensors(&network)?;
        let [batch_size, ..] = network.graph.shape(network.logits)?.dims();
        let ports = with_loss(&mut network, batch_size)?;
        let half = has_half(&network.graph);
        let Network { mut graph, parameters, noise, auxiliary, limited, .. } = network;
        let scale = half.then(|| graph.state(LOSS_SCALE, Shape::vector(4)));
        let share = 1.0 / (batch_size as f32 * options.accumulate.max(1) as f32);
        let losses = losses(&mut graph, &ports, &auxiliary, |graph, weight| match scale {
            None => graph.fill(batch_size, weight * share),
            Some(scale) => graph.scaled_fill(batch_size, weight * share, scale),
        })?;
        let values: Vec<Value> = parameters.iter().filter(|p| p.trained).map(|p| p.value).collect();
        let gradients = graph.gradients_of_sum(&losses, &values)?;
        if options.recompute {
            graph.recompute();
        }
        let mut updates = Updates::new(options.accumulate > 1, &mut graph, &limited);
        let parameters = update_parameters(&mut graph, &mut updates, parameters, gradients, scale)?;
        let (Updates { hyper, separate, .. }, accumulate) = (updates, options.accumulate.max(1));
        Ok(Self {
            graph,
            parameters,
            ports,
            hyper,
            noise,
            scale,
            update: separate,
            heads,
            batch_size,
            accumulate,
        })
    }

    /// The plan of the step. With gradient accumulation it is the part that runs on each batch.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        Plan::new(&self.graph, &self.outputs(), options)
    }

    /// The outputs of the step: loss and rank of each picture, and in f16 the state of the loss scale.
    pub fn outputs(&self) -> Vec<Value> {
        [self.ports.loss, self.ports.rank].into_iter().chain(self.scale).collect()
    }

    /// The memory of the whole step before any of it is allocated.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn memory(&self, options: &PlanOptions) -> Result<Memory> {
        let mut memory = self.plan(options)?.memory();
        if let Some(update) = &self.update {
            // Parameters and accumulated gradients are shared with the first plan.
            let more = Plan::new(update, &[], options)?.memory();
            memory.momentum += more.momentum;
            memory.transfer += more.transfer;
        }
        Ok(memory)
    }

    /// A lower estimate of the memory of the step, in bytes: parameters, their gradients, momentum, and the activations that
    /// gradients are computed from. A plan can need less, because it uses each gradient as soon as it is computed.
    pub fn essential_bytes(&self) -> u64 {
        let of = |t: &Trained| t.parameter.shape.bytes() * if t.velocity.is_some() { 3 } else { 1 };
        let nodes = self.graph.nodes();
        let op = |node: &Node| match &node.source {
            Source::Op(op) => Some(op.clone()),
            _ => None,
        };
        // An early operation, such as the positions of maxima, frees its inputs. The inputs of a concatenation lie in its result.
        let readers =
            nodes.iter().filter(|n| n.kind == Kind::Gradient && !op(n).is_some_and(|op| op.traits().early));
        let joined = nodes.iter().filter(|n| op(n).is_some_and(|op| op.traits().is_concat()));
        let joined: HashSet<Value> = joined.flat_map(|n| n.inputs.iter().copied()).collect();
        let read: HashSet<Value> = readers.flat_map(|n| n.inputs.iter().copied()).collect();
        let kept = read.difference(&joined).filter_map(|v| nodes.get(v.index()));
        let kept =
            kept.filter(|n| n.kind == Kind::Forward && op(n).is_some_and(|op| !op.traits().is_reshape()));
        self.parameters.iter().map(of).sum::<u64>() + kept.map(|n| n.shape.bytes()).sum::<u64>()
    }
}

/// Whether activations are stored in f16.
fn has_half(graph: &Graph) -> bool {
    graph.nodes().iter().any(|node| node.shape.precision() == Precision::F16)
}

/// The losses of a batch, each with the value that the backward pass starts from: `seed` makes it of the weight of the loss.
fn losses(
    graph: &mut Graph,
    ports: &Ports,
    auxiliary: &[Value],
    seed: impl Fn(&mut Graph, f32) -> Result<Value>,
) -> Result<Vec<(Value, Value)>> {
    let mut losses = vec![(ports.loss, seed(graph, 1.0)?)];
    for logits in auxiliary {
        let loss = graph.softmax_cross_entropy(*logits, ports.labels)?;
        losses.push((loss, seed(graph, AUXILIARY_WEIGHT)?));
    }
    Ok(losses)
}

/// Adds the updates of all parameters. `gradients` has one entry for each parameter that is trained.
fn update_parameters(
    graph: &mut Graph,
    updates: &mut Updates,
    parameters: Vec<Parameter>,
    gradients: Vec<Option<Value>>,
    scale: Option<Value>,
) -> Result<Vec<Trained>> {
    let mut gradients = gradients.into_iter();
    let mut pairs = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let gradient = if parameter.trained { gradients.next().flatten() } else { None };
        let gradient = gradient.map(|g| updates.summed(graph, &parameter, g)).transpose()?;
        pairs.push((parameter, gradient));
    }
    if let Some(scale) = scale {
        let gradients: Vec<Value> = pairs.iter().filter_map(|(_, gradient)| *gradient).collect();
        updates.loss_scale(graph, scale, &gradients)?;
    }
    let mut trained = Vec::with_capacity(pairs.len());
    for (parameter, gradient) in pairs {
        let velocity = gradient.map(|g| updates.add(graph, &parameter, g)).transpose()?;
        trained.push(Trained { parameter, velocity });
    }
    Ok(trained)
}
