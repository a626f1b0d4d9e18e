//! One training step and one evaluation step as plans.

use super::Hyper;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::{Graph, Shape, Value};
use crate::models::{Arch, Mode, Network, Parameter, Settings};
use crate::plan::{Plan, PlanOptions, Session};
use std::sync::Arc;

/// What a step says of each picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Cross-entropy in nats.
    pub loss: Vec<f32>,
    /// How many classes are ahead of the right one.
    pub rank: Vec<f32>,
}

/// Values by which a step is fed and read.
#[derive(Debug, Clone)]
pub struct Ports {
    pixels: Value,
    labels: Value,
    loss: Value,
    rank: Value,
}

/// A parameter with its velocity.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The parameter or running statistic.
    pub parameter: Parameter,
    /// Its velocity; `None` for a running statistic.
    pub velocity: Option<Value>,
}

/// The graph of a training step: forward, loss, gradients, updates.
#[derive(Debug, Clone)]
pub struct TrainingGraph {
    /// The operations.
    pub graph: Graph,
    /// The parameters in the order of the layers.
    pub parameters: Vec<Trained>,
    ports: Ports,
    hyper: Value,
    noise: Option<Value>,
}

/// What the loss of an auxiliary classifier counts beside that of the network (Szegedy et al. 2014, section 5).
const AUXILIARY: f32 = 0.3;

fn with_loss(network: &mut Network, batch_size: usize) -> Result<Ports> {
    let labels = network.graph.input("labels", Shape::labels(batch_size));
    network.graph.layer("loss");
    let loss = network.graph.softmax_cross_entropy(network.logits, labels)?;
    let rank = network.graph.label_rank(network.logits, labels)?;
    Ok(Ports { pixels: network.pixels, labels, loss, rank })
}

impl TrainingGraph {
    /// The step of `arch`: stochastic gradient descent on the mean cross-entropy of the batch, to which auxiliary
    /// classifiers add theirs times 0.3.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the settings do not fit the network.
    pub fn new(arch: &Arch, settings: &Settings) -> Result<Self> {
        let mut network = arch.network(settings, Mode::Training)?;
        let ports = with_loss(&mut network, settings.batch_size)?;
        let Network { mut graph, parameters, noise, auxiliary, limited, .. } = network;
        let hyper = graph.input("hyper-parameters", Shape::vector(4));
        let share = 1.0 / settings.batch_size as f32;
        let mut losses = vec![(ports.loss, graph.fill(settings.batch_size, share)?)];
        for logits in auxiliary {
            let loss = graph.softmax_cross_entropy(logits, ports.labels)?;
            losses.push((loss, graph.fill(settings.batch_size, AUXILIARY * share)?));
        }
        let values: Vec<Value> = parameters.iter().filter(|p| p.trained).map(|p| p.value).collect();
        let mut gradients = graph.gradients_of_sum(&losses, &values)?.into_iter();
        let mut trained = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let gradient = if parameter.trained { gradients.next().flatten() } else { None };
            let velocity = match gradient {
                Some(gradient) => {
                    let velocity = graph.state(format!("{} velocity", parameter.key()), parameter.shape);
                    graph.layer(parameter.key()).sgd(hyper, gradient, parameter.value, velocity)?;
                    Some(velocity)
                }
                None => None,
            };
            trained.push(Trained { parameter, velocity });
        }
        for (filters, limit) in limited {
            graph.limit_rms(filters, limit)?;
        }
        Ok(Self { graph, parameters: trained, ports, hyper, noise })
    }

    /// The plan of the step.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        Plan::new(&self.graph, &[self.ports.loss, self.ports.rank], options)
    }
}

/// A training step on a GPU.
pub struct TrainingStep {
    session: Session,
    ports: Ports,
    hyper: Value,
    noise: Option<Value>,
    parameters: Vec<Trained>,
}

impl TrainingStep {
    /// Makes everything that the step needs. All states are zero until they are written.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(gpu: &Arc<Gpu>, arch: &Arch, settings: &Settings) -> Result<Self> {
        let TrainingGraph { graph, parameters, ports, hyper, noise } = TrainingGraph::new(arch, settings)?;
        let plan = Plan::new(&graph, &[ports.loss, ports.rank], &PlanOptions::for_gpu(gpu))?;
        let session = Session::new(gpu.clone(), plan, None)?;
        Ok(Self { session, ports, hyper, noise, parameters })
    }

    /// Feeds a batch, RGBA pixels and labels, and runs the step. The GPU may still be at work when this returns.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<()> {
        self.feed(pixels, labels, hyper)?;
        self.session.run()
    }

    /// Feeds a batch without running.
    ///
    /// # Errors
    /// As [`Session::write_stored`].
    pub fn feed(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<()> {
        self.session.write_stored(self.ports.pixels, pixels)?;
        self.session.write_stored(self.ports.labels, bytemuck::cast_slice(labels))?;
        if let Some(noise) = self.noise {
            self.session.write_stored(noise, bytemuck::cast_slice(&hyper.noise))?;
        }
        self.session.write(self.hyper, &[hyper.lr, hyper.momentum, hyper.weight_decay, 0.0])
    }

    /// Waits for the step and returns what it said.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn outcome(&self) -> Result<Outcome> {
        outcome(&self.session, &self.ports)
    }

    /// The parameters with their velocities.
    pub fn parameters(&self) -> &[Trained] {
        &self.parameters
    }

    /// The session, to read and write states.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// A forward step on a GPU: loss, rank and logits.
pub struct EvaluationStep {
    session: Session,
    ports: Ports,
    logits: Value,
    parameters: Vec<Parameter>,
}

impl EvaluationStep {
    /// Makes everything that the step needs; with `training` it works on the parameters of that step.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(
        gpu: &Arc<Gpu>,
        arch: &Arch,
        settings: &Settings,
        training: Option<&TrainingStep>,
    ) -> Result<Self> {
        let mut network = arch.network(settings, Mode::Inference)?;
        let ports = with_loss(&mut network, settings.batch_size)?;
        let outputs = [ports.loss, ports.rank, network.logits];
        let plan = Plan::new(&network.graph, &outputs, &PlanOptions::for_gpu(gpu))?;
        let session = Session::new(gpu.clone(), plan, training.map(|t| &t.session))?;
        Ok(Self { session, ports, logits: network.logits, parameters: network.parameters })
    }

    /// Feeds a batch, RGBA pixels and labels, and runs the step.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, pixels: &[u8], labels: &[u32]) -> Result<()> {
        self.session.write_stored(self.ports.pixels, pixels)?;
        self.session.write_stored(self.ports.labels, bytemuck::cast_slice(labels))?;
        self.session.run()
    }

    /// Waits for the step and returns what it said.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn outcome(&self) -> Result<Outcome> {
        outcome(&self.session, &self.ports)
    }

    /// Waits for the step and returns the logits, picture by picture.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn logits(&self) -> Result<Vec<f32>> {
        self.session.output(self.logits)
    }

    /// Parameters and running statistics.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The session, to read and write states.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

fn outcome(session: &Session, ports: &Ports) -> Result<Outcome> {
    Ok(Outcome { loss: session.output(ports.loss)?, rank: session.output(ports.rank)? })
}
