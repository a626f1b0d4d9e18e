//! The graph of a training step.

use super::classifier_head;
use super::optimizer::{LOSS_SCALE, Updates};
use super::ports::{Ports, with_loss};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Node, Source};
use crate::models::{Arch, Frozen, Mode, Network, Parameter, Settings};
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
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrainingOptions {
    /// Gradient accumulation: the number of batches whose gradients are added before the parameters change.
    pub accumulate: usize,
    /// Activation checkpointing: activations are recomputed in the backward pass instead of being kept.
    pub recompute: bool,
    /// Nesterov's momentum instead of the classical one ([`Graph::sgd_nesterov`]).
    pub nesterov: bool,
    /// The part of the target that is spread over all classes ([`Graph::soft_cross_entropy`]).
    pub label_smoothing: f32,
    /// Whether a step takes targets with two classes and a weight ([`TrainingStep::start_with`](super::TrainingStep::start_with)).
    pub soft_targets: bool,
    /// The largest norm of all gradients together ([`Graph::clip_grad_norm`]).
    pub clip_norm: Option<f32>,
    /// Whether biases and the scales and shifts of batch norm decay as filters do.
    pub bias_decay: bool,
    /// The learning rate of all layers but the classifier heads, relative to that of the heads.
    pub body_rate: f32,
    /// Whether an exponential moving average of the parameters and running statistics is kept.
    pub averages: bool,
    /// What is not trained. [`TrainingGraph::of_network`] takes a network that is built with it.
    pub frozen: Frozen,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            accumulate: 1,
            recompute: false,
            nesterov: false,
            label_smoothing: 0.0,
            soft_targets: false,
            clip_norm: None,
            bias_decay: true,
            body_rate: 1.0,
            averages: false,
            frozen: Frozen::default(),
        }
    }
}

impl TrainingOptions {
    /// Sets [`TrainingOptions::accumulate`].
    #[must_use]
    pub fn with_accumulate(self, accumulate: usize) -> Self {
        Self { accumulate, ..self }
    }

    /// Sets [`TrainingOptions::recompute`].
    #[must_use]
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Sets [`TrainingOptions::nesterov`].
    #[must_use]
    pub fn with_nesterov(self, nesterov: bool) -> Self {
        Self { nesterov, ..self }
    }

    /// Sets [`TrainingOptions::label_smoothing`].
    #[must_use]
    pub fn with_label_smoothing(self, label_smoothing: f32) -> Self {
        Self { label_smoothing, ..self }
    }

    /// Sets [`TrainingOptions::soft_targets`].
    #[must_use]
    pub fn with_soft_targets(self, soft_targets: bool) -> Self {
        Self { soft_targets, ..self }
    }

    /// Sets [`TrainingOptions::clip_norm`].
    #[must_use]
    pub fn with_clip_norm(self, clip_norm: Option<f32>) -> Self {
        Self { clip_norm, ..self }
    }

    /// Sets [`TrainingOptions::bias_decay`].
    #[must_use]
    pub fn with_bias_decay(self, bias_decay: bool) -> Self {
        Self { bias_decay, ..self }
    }

    /// Sets [`TrainingOptions::body_rate`].
    #[must_use]
    pub fn with_body_rate(self, body_rate: f32) -> Self {
        Self { body_rate, ..self }
    }

    /// Sets [`TrainingOptions::averages`].
    #[must_use]
    pub fn with_averages(self, averages: bool) -> Self {
        Self { averages, ..self }
    }

    /// Sets [`TrainingOptions::frozen`].
    #[must_use]
    pub fn with_frozen(self, frozen: Frozen) -> Self {
        Self { frozen, ..self }
    }

    /// Whether the loss takes soft targets.
    pub(super) fn has_soft_loss(&self) -> bool {
        self.soft_targets || self.label_smoothing != 0.0
    }
}

/// A parameter with its velocity.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The parameter or running statistic.
    pub parameter: Parameter,
    /// Its velocity; `None` for a running statistic or a frozen parameter.
    pub velocity: Option<Value>,
    /// Its moving average, if averages are kept and training changes it. It belongs to the session of the velocities.
    pub average: Option<Value>,
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
    /// The input for the share of the new weights in the averages.
    pub(super) average: Option<Value>,
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
        Self::of_network(arch.network_with_frozen(settings, Mode::Training, &options.frozen)?, options)
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
        let soft = options.has_soft_loss().then_some(options.label_smoothing);
        let ports = with_loss(&mut network, batch_size, soft)?;
        let half = has_half(&network.graph);
        let Network { mut graph, parameters, noise, auxiliary, limited, .. } = network;
        let scale = half.then(|| graph.state(LOSS_SCALE, Shape::vector(4)));
        let share = 1.0 / (batch_size as f32 * options.accumulate.max(1) as f32);
        let losses = losses(&mut graph, &ports, &auxiliary, |graph, weight| match scale {
            None => graph.fill(batch_size, weight * share),
            Some(scale) => graph.scaled_fill(batch_size, weight * share, scale),
        })?;
        let values: Vec<Value> = parameters.iter().filter(|p| p.trained).map(|p| p.value).collect();
        if values.is_empty() {
            return Err(Error::usage("a network of which everything is frozen cannot be trained"));
        }
        let gradients = graph.gradients_of_sum(&losses, &values)?;
        if options.recompute {
            graph.recompute();
        }
        let mut updates = Updates::new(&options, &mut graph, &limited);
        let parameters = update_parameters(&mut graph, &mut updates, parameters, gradients, scale, &heads)?;
        let (Updates { hyper, average, separate, .. }, accumulate) = (updates, options.accumulate.max(1));
        Ok(Self {
            graph,
            parameters,
            ports,
            hyper,
            average,
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
        let of = |t: &Trained| {
            let copies = if t.velocity.is_some() { 3 } else { 1 } + u64::from(t.average.is_some());
            t.parameter.shape.bytes() * copies
        };
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
        let loss = ports.loss_of(graph, *logits)?;
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
    heads: &BTreeSet<String>,
) -> Result<Vec<Trained>> {
    let mut gradients = gradients.into_iter();
    let mut pairs = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let gradient = if parameter.trained { gradients.next().flatten() } else { None };
        let gradient = gradient.map(|g| updates.summed(graph, &parameter, g)).transpose()?;
        pairs.push((parameter, gradient));
    }
    let gradients: Vec<Value> = pairs.iter().filter_map(|(_, gradient)| *gradient).collect();
    if let Some(scale) = scale {
        updates.loss_scale(graph, scale, &gradients)?;
    }
    updates.clip(graph, &gradients)?;
    let mut trained = Vec::with_capacity(pairs.len());
    for (parameter, gradient) in pairs {
        let is_head = heads.contains(&parameter.name);
        let velocity = gradient.map(|g| updates.add(graph, &parameter, g, is_head)).transpose()?;
        trained.push(Trained { parameter, velocity, average: None });
    }
    let order: Vec<Value> = graph.values().collect();
    let updated = graph.updated(&order)?;
    for Trained { parameter, velocity, average } in &mut trained {
        if velocity.is_some() || updated.contains(&parameter.value) {
            *average = updates.add_average(graph, parameter)?;
        }
    }
    Ok(trained)
}
