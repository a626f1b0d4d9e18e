//! One training step as a plan.

use super::optimizer::{LOSS_SCALE, Updates};
use super::{Hyper, LossScale};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Kind, Node, Source};
use crate::models::{Arch, Mode, Network, Parameter, Settings};
use crate::plan::{Memory, Plan, PlanOptions, Session, Started};
use crate::tensor::{Precision, Shape, Value};
use std::collections::HashSet;
use std::sync::Arc;

/// What a step says of each picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Cross-entropy in nats.
    pub loss: Vec<f32>,
    /// How many classes are ahead of the right one.
    pub rank: Vec<f32>,
    /// The scale of the loss after the step, and whether it was skipped; `None` in f32, and of a forward step.
    pub loss_scale: Option<LossScale>,
}

impl Outcome {
    fn add(&mut self, more: Self) {
        self.loss.extend(more.loss);
        self.rank.extend(more.rank);
        self.loss_scale = more.loss_scale;
    }
}

/// A training step whose outcome has not been read. At most two may be under way.
#[derive(Debug)]
pub struct StepUnderWay {
    /// Of the batches before the last one.
    outcome: Outcome,
    last: Option<Started>,
}

/// Values by which a step is fed and read.
#[derive(Debug, Clone)]
pub struct Ports {
    pub(super) pixels: Value,
    pub(super) labels: Value,
    pub(super) classes: usize,
    pub(super) loss: Value,
    pub(super) rank: Value,
}

impl Ports {
    /// Writes a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if pixels or labels are not those of a batch, or a label is no class of the network.
    pub(super) fn feed(&self, session: &Session, pixels: &[u8], labels: &[u32]) -> Result<()> {
        if let Some(label) = labels.iter().find(|label| **label as usize >= self.classes) {
            let classes = self.classes;
            return Err(Error::usage(format!("class {label} of a network with {classes} classes"))
                .hint("classes are counted from 0"));
        }
        session.write_stored(self.pixels, pixels)?;
        session.write_stored(self.labels, bytemuck::cast_slice(labels))
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
    /// The state of the scale of the loss, in f16.
    scale: Option<Value>,
    /// The update of the parameters, where it is not part of the graph.
    update: Option<Graph>,
}

/// What the loss of an auxiliary classifier counts beside that of the network (Szegedy et al. 2014, section 5).
const AUXILIARY: f32 = 0.3;

pub(super) fn with_loss(network: &mut Network, batch_size: usize) -> Result<Ports> {
    let labels = network.graph.input("labels", Shape::labels(batch_size));
    network.graph.layer("loss");
    let loss = network.graph.softmax_cross_entropy(network.logits, labels)?;
    let rank = network.graph.label_rank(network.logits, labels)?;
    let classes = network.graph.shape(network.logits)?.dims()[3];
    Ok(Ports { pixels: network.pixels, labels, classes, loss, rank })
}

/// How a training step is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingOptions {
    /// The gradients of so many batches are added before the parameters change.
    pub accumulate: usize,
    /// Whether activations are computed a second time for the gradient instead of being kept.
    pub recompute: bool,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self { accumulate: 1, recompute: false }
    }
}

impl TrainingGraph {
    /// The step of `arch`: stochastic gradient descent on the mean cross-entropy of the batch, to which auxiliary
    /// classifiers add theirs times 0.3.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the settings do not fit the network.
    pub fn new(arch: &Arch, settings: &Settings, options: TrainingOptions) -> Result<Self> {
        let mut network = arch.network(settings, Mode::Training)?;
        let ports = with_loss(&mut network, settings.batch_size)?;
        let Network { mut graph, parameters, noise, auxiliary, limited, .. } = network;
        let share = 1.0 / (settings.batch_size as f32 * options.accumulate.max(1) as f32);
        let half = settings.precision == Precision::F16;
        let scale = half.then(|| graph.state(LOSS_SCALE, Shape::vector(4)));
        let seed = |graph: &mut Graph, share: f32| match scale {
            None => graph.fill(settings.batch_size, share),
            Some(scale) => graph.scaled_fill(settings.batch_size, share, scale),
        };
        let mut losses = vec![(ports.loss, seed(&mut graph, share)?)];
        for logits in auxiliary {
            let loss = graph.softmax_cross_entropy(logits, ports.labels)?;
            losses.push((loss, seed(&mut graph, AUXILIARY * share)?));
        }
        let values: Vec<Value> = parameters.iter().filter(|p| p.trained).map(|p| p.value).collect();
        let gradients = graph.gradients_of_sum(&losses, &values)?;
        if options.recompute {
            graph.recompute();
        }
        let mut updates = Updates::new(options.accumulate > 1, &mut graph, &limited);
        let mut gradients = gradients.into_iter();
        let mut steps = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let gradient = if parameter.trained { gradients.next().flatten() } else { None };
            let gradient = gradient.map(|g| updates.summed(&mut graph, &parameter, g)).transpose()?;
            steps.push((parameter, gradient));
        }
        if let Some(scale) = scale {
            let gradients: Vec<Value> = steps.iter().filter_map(|(_, gradient)| *gradient).collect();
            updates.loss_scale(&mut graph, scale, &gradients)?;
        }
        let mut trained = Vec::with_capacity(steps.len());
        for (parameter, gradient) in steps {
            let velocity = gradient.map(|g| updates.add(&mut graph, &parameter, g)).transpose()?;
            trained.push(Trained { parameter, velocity });
        }
        let Updates { hyper, apart, .. } = updates;
        Ok(Self { graph, parameters: trained, ports, hyper, noise, scale, update: apart })
    }

    /// The plan of the step, or of the part of it that runs on each batch.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        Plan::new(&self.graph, &self.outputs(), options)
    }

    /// What the step says: loss and rank of each picture, and in f16 the state of the scale of the loss.
    pub fn outputs(&self) -> Vec<Value> {
        [self.ports.loss, self.ports.rank].into_iter().chain(self.scale).collect()
    }

    /// The memory of the whole step before any of it is taken.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn memory(&self, options: &PlanOptions) -> Result<Memory> {
        let mut memory = self.plan(options)?.memory();
        if let Some(update) = &self.update {
            // Parameters and sums of gradients are those of the first plan.
            let more = Plan::new(update, &[], options)?.memory();
            memory.momentum += more.momentum;
            memory.transfer += more.transfer;
        }
        Ok(memory)
    }
}

impl TrainingGraph {
    /// The bytes of what a step is about: parameters, their gradients and momentum, and the activations that gradients
    /// are computed from. A plan may be below it, since it uses each gradient as soon as it is there.
    pub fn essential_bytes(&self) -> u64 {
        let of = |t: &Trained| t.parameter.shape.bytes() * if t.velocity.is_some() { 3 } else { 1 };
        let nodes = self.graph.nodes();
        let op = |node: &Node| match &node.source {
            Source::Op(op) => Some(op.clone()),
            _ => None,
        };
        // What is computed early, such as the places of maxima, lets go of what it is computed from; what is joined
        // lies in the joined value.
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

/// A training step on a GPU.
pub struct TrainingStep {
    pub(super) session: Session,
    /// Where gradients of several batches are summed: the update behind them.
    update: Option<Session>,
    ports: Ports,
    hyper: Value,
    noise: Option<Value>,
    scale: Option<Value>,
    parameters: Vec<Trained>,
    batch_size: usize,
    accumulate: usize,
}

impl TrainingStep {
    /// Makes everything that the step needs. All states are zero until they are written, but the scale of the loss.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(gpu: &Arc<Gpu>, arch: &Arch, settings: &Settings, options: TrainingOptions) -> Result<Self> {
        Self::planned(gpu, arch, settings, options, &PlanOptions::for_gpu(gpu))
    }

    /// The same with other than the usual options of a plan.
    ///
    /// # Errors
    /// As [`TrainingStep::new`].
    pub fn planned(
        gpu: &Arc<Gpu>,
        arch: &Arch,
        settings: &Settings,
        options: TrainingOptions,
        plan_options: &PlanOptions,
    ) -> Result<Self> {
        let graph = TrainingGraph::new(arch, settings, options)?;
        let session = Session::new(gpu.clone(), graph.plan(plan_options)?, None)?;
        let update = match &graph.update {
            None => None,
            Some(update) => {
                let plan = Plan::new(update, &[], plan_options)?;
                Some(Session::new(gpu.clone(), plan, Some(&session))?)
            }
        };
        let TrainingGraph { parameters, ports, hyper, noise, scale, .. } = graph;
        let (batch_size, accumulate) = (settings.batch_size, options.accumulate.max(1));
        let step = Self { session, update, ports, hyper, noise, scale, parameters, batch_size, accumulate };
        step.set_loss_scale(LossScale::default())?;
        Ok(step)
    }

    /// Runs a whole step, on `accumulate` batches of RGBA pixels and labels, and returns what it said of them.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn step(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<Outcome> {
        self.finish(self.start(pixels, labels, hyper)?)
    }

    /// Starts a whole step as [`TrainingStep::step`] does. Another one may be started before it is finished, so that the GPU
    /// goes on while the host looks at what it said.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn start(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<StepUnderWay> {
        let mut step = StepUnderWay { outcome: Outcome::default(), last: None };
        let pictures = self.batch_size * self.accumulate;
        if labels.len() != pictures || pixels.is_empty() || !pixels.len().is_multiple_of(pictures.max(1)) {
            return Err(Error::usage(format!(
                "{} labels and {} bytes of pixels for a step of {} batches of {} pictures",
                labels.len(),
                pixels.len(),
                self.accumulate,
                self.batch_size
            )));
        }
        let pixels = pixels.chunks(pixels.len().div_ceil(self.accumulate).max(1));
        for (i, (pixels, labels)) in (0..).zip(pixels.zip(labels.chunks(self.batch_size))) {
            let [a, b, c, d] = hyper.noise;
            let hyper = Hyper { noise: [a, b, c, d.wrapping_add(i)], ..*hyper };
            self.feed(pixels, labels, &hyper)?;
            if let Some(before) = step.last.replace(self.session.start()?) {
                step.outcome.add(self.outcome_of(&before)?);
            }
        }
        if let Some(update) = &self.update {
            update.write(self.hyper, &hyper.rates())?;
            update.run()?;
            // The batches of the next step would use the memory of this outcome.
            let outcome = self.finish(step)?;
            let loss_scale = self.loss_scale()?;
            step = StepUnderWay { outcome: Outcome { loss_scale, ..outcome }, last: None };
        }
        Ok(step)
    }

    /// Waits for a step and returns what it said.
    ///
    /// # Errors
    /// As [`Session::output_of`].
    pub fn finish(&self, mut step: StepUnderWay) -> Result<Outcome> {
        if let Some(last) = &step.last {
            step.outcome.add(self.outcome_of(last)?);
        }
        Ok(step.outcome)
    }

    /// Feeds a batch, RGBA pixels and labels, and runs the step, or of one that sums gradients the part before the
    /// update. The GPU may still be at work when this returns.
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
        self.ports.feed(&self.session, pixels, labels)?;
        if let Some(noise) = self.noise {
            self.session.write_stored(noise, bytemuck::cast_slice(&hyper.noise))?;
        }
        match self.update {
            None => self.session.write(self.hyper, &hyper.rates()),
            Some(_) => Ok(()),
        }
    }

    /// Waits for the step and returns what it said.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn outcome(&self) -> Result<Outcome> {
        outcome(&self.session, &self.ports)
    }

    fn outcome_of(&self, run: &Started) -> Result<Outcome> {
        let outcome = outcome_of(&self.session, &self.ports, run)?;
        let scale = self.scale.map(|scale| self.session.output_of(run, scale)).transpose()?;
        Ok(Outcome { loss_scale: scale.and_then(|stored| LossScale::from_stored(&stored)), ..outcome })
    }

    /// The scale of the loss for the next step; `None` in f32, where there is none.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn loss_scale(&self) -> Result<Option<LossScale>> {
        let stored = self.scale.map(|scale| self.session.read(scale)).transpose()?;
        Ok(stored.and_then(|stored| LossScale::from_stored(&stored)))
    }

    /// Sets the scale of the loss, where there is one.
    ///
    /// # Errors
    /// As [`Session::write`]; [`Error::Usage`] for a factor that f32 cannot hold.
    pub fn set_loss_scale(&self, to: LossScale) -> Result<()> {
        if !(-126..=126).contains(&to.exponent) {
            return Err(Error::usage(format!("a loss scale of 2^{}", to.exponent)));
        }
        self.scale.map_or(Ok(()), |scale| self.session.write(scale, &to.stored()))
    }

    /// The parameters with their velocities, which live in the session of [`TrainingStep::optimiser`].
    pub fn parameters(&self) -> &[Trained] {
        &self.parameters
    }

    /// The state of the scale of the loss, in f16.
    pub(super) fn scale(&self) -> Option<Value> {
        self.scale
    }

    /// The session, to read and write parameters.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session that changes the parameters, to read and write velocities.
    pub fn optimiser(&self) -> &Session {
        self.update.as_ref().unwrap_or(&self.session)
    }
}

pub(super) fn outcome(session: &Session, ports: &Ports) -> Result<Outcome> {
    Ok(Outcome { loss: session.output(ports.loss)?, rank: session.output(ports.rank)?, loss_scale: None })
}

pub(super) fn outcome_of(session: &Session, ports: &Ports, run: &Started) -> Result<Outcome> {
    let (loss, rank) = (session.output_of(run, ports.loss)?, session.output_of(run, ports.rank)?);
    Ok(Outcome { loss, rank, loss_scale: None })
}
