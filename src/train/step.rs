//! A training step on a GPU.

use super::classifier_head::Heads;
use super::forward::of_labels;
use super::graph::{Trained, TrainingGraph, TrainingOptions};
use super::initial_weights;
use super::ports::Ports;
use super::{Hyper, LossScale, Target, transfer};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::{Arch, Init, Network, Parameter, Settings};
use crate::plan::{Plan, PlanOptions, Session, Started};
use crate::tensor::Value;
use crate::weights::{Source, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The results of a step for each picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Cross-entropy in nats.
    pub loss: Vec<f32>,
    /// The number of classes with a larger logit than the label.
    pub rank: Vec<f32>,
    /// The loss scale after the step, and whether the step was skipped; `None` in f32 and for a forward step.
    pub loss_scale: Option<LossScale>,
}

impl Outcome {
    fn add(&mut self, more: Self) {
        self.loss.extend(more.loss);
        self.rank.extend(more.rank);
        self.loss_scale = more.loss_scale;
    }
}

/// A training step whose outcome has not been read. At most two may be in flight.
#[derive(Debug)]
pub struct InFlightStep {
    /// The outcome of the batches before the last one.
    outcome: Outcome,
    last: Option<Started>,
}

/// A training step on a GPU.
///
/// A network of one's own is trained from memory with one call each for loss, gradients and updates
/// ([`TrainingStep::of_network`]), first weights ([`TrainingStep::initialize`]), a step ([`TrainingStep::step`]) and the result
/// ([`TrainingStep::weights`]). `examples/own_network.rs` shows it.
pub struct TrainingStep {
    pub(super) session: Session,
    /// The updates of the parameters, if gradients are accumulated.
    update: Option<Session>,
    ports: Ports,
    hyper: Value,
    average: Option<Value>,
    noise: Option<Value>,
    scale: Option<Value>,
    parameters: Vec<Trained>,
    heads: BTreeSet<String>,
    batch_size: usize,
    accumulate: usize,
}

impl TrainingStep {
    /// The training step of `arch`. All states are zero until they are written, except the loss scale.
    ///
    /// # Errors
    /// [`Error::Usage`] if the settings do not fit the network; [`Error::Gpu`] if the step does not fit the adapter.
    pub fn new(gpu: &Arc<Gpu>, arch: &Arch, settings: &Settings, options: TrainingOptions) -> Result<Self> {
        Self::of_graph(gpu, TrainingGraph::new(arch, settings, options)?, &PlanOptions::for_gpu(gpu))
    }

    /// The training step of any network that was built for [`crate::models::Mode::Training`]. The size of a batch is that of its
    /// logits.
    ///
    /// # Errors
    /// Those of [`TrainingGraph::of_network`] and [`TrainingStep::new`].
    pub fn of_network(gpu: &Arc<Gpu>, network: Network, options: TrainingOptions) -> Result<Self> {
        Self::of_graph(gpu, TrainingGraph::of_network(network, options)?, &PlanOptions::for_gpu(gpu))
    }

    /// The training step of a graph, planned with these options.
    ///
    /// # Errors
    /// Those of [`TrainingStep::new`].
    pub fn of_graph(gpu: &Arc<Gpu>, graph: TrainingGraph, options: &PlanOptions) -> Result<Self> {
        let session = Session::new(gpu.clone(), graph.plan(options)?, None)?;
        let update = match &graph.update {
            None => None,
            Some(update) => {
                let plan = Plan::new(update, &[], options)?;
                Some(Session::new(gpu.clone(), plan, Some(&session))?)
            }
        };
        let TrainingGraph { parameters, ports, hyper, average, noise, scale, heads, .. } = graph;
        let (batch_size, accumulate) = (graph.batch_size, graph.accumulate);
        let step = Self {
            session,
            update,
            ports,
            hyper,
            average,
            noise,
            scale,
            parameters,
            heads,
            batch_size,
            accumulate,
        };
        step.set_loss_scale(LossScale::default())?;
        Ok(step)
    }

    /// Writes the first weights of all parameters. They depend on the seed; `init` replaces the rules of the network, as
    /// [`crate::models::Parameter::initial`] describes.
    ///
    /// # Errors
    /// Those of [`Session::write`].
    pub fn initialize(&self, seed: u64, init: Option<Init>) -> Result<()> {
        initial_weights::initialize(self, seed, init, |_| true)?;
        self.reset_averages()
    }

    /// Loads all parameters. Auxiliary classifiers that the source does not have get first weights, which depend on the seed.
    ///
    /// # Errors
    /// Those of [`transfer::load`].
    pub fn load(&self, source: &dyn Source, seed: u64) -> Result<()> {
        self.load_with(source, seed, &Heads::Loaded)
    }

    /// Loads all parameters except the classifier heads, to train for other classes. The heads get first weights, which depend
    /// on the seed; those of the source may have another number of classes.
    ///
    /// # Errors
    /// Those of [`transfer::load`].
    pub fn load_except_classifier(&self, source: &dyn Source, seed: u64) -> Result<()> {
        self.load_with(source, seed, &Heads::New)
    }

    fn load_with(&self, source: &dyn Source, seed: u64, heads: &Heads) -> Result<()> {
        let options = initial_weights::LoadOptions { heads, seed, init: None };
        initial_weights::load(self, source, options, &mut |name, rows| source.rows(name, rows))?;
        self.reset_averages()
    }

    /// Sets all averages to the parameters of now.
    ///
    /// # Errors
    /// Those of [`Session::read_stored`].
    pub(super) fn reset_averages(&self) -> Result<()> {
        for Trained { parameter, average, .. } in &self.parameters {
            if let Some(average) = average {
                let stored = self.session.read_stored(parameter.value)?;
                self.optimizer().write_stored(*average, bytemuck::cast_slice(&stored))?;
            }
        }
        Ok(())
    }

    /// Reads all parameters as tensors in PyTorch's layout, to write them to a file or to load them elsewhere
    /// ([`crate::weights::InMemory`]). Waits for the steps in flight.
    ///
    /// # Errors
    /// Those of [`transfer::save`].
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        // With gradient accumulation another session changes the parameters.
        self.optimizer().finish()?;
        transfer::save(&self.session, self.parameters.iter().map(|t| &t.parameter))
    }

    /// Reads the averages of all parameters and running statistics, as [`TrainingStep::weights`] reads these. What has no average
    /// comes as it is: everything, unless [`TrainingOptions::averages`] is set, and frozen parameters.
    ///
    /// # Errors
    /// Those of [`transfer::save`].
    pub fn averaged_weights(&self) -> Result<BTreeMap<String, Tensor>> {
        self.optimizer().finish()?;
        let plain = self.parameters.iter().filter(|t| t.average.is_none()).map(|t| &t.parameter);
        let mut tensors = transfer::save(&self.session, plain)?;
        let averaged = self
            .parameters
            .iter()
            .filter_map(|t| t.average.map(|value| Parameter { value, ..t.parameter.clone() }));
        let averaged: Vec<Parameter> = averaged.collect();
        tensors.extend(transfer::save(self.optimizer(), averaged.iter())?);
        Ok(tensors)
    }

    /// Runs a whole step on `accumulate` batches of RGBA pixels and labels, and returns its outcome.
    ///
    /// # Errors
    /// [`Error::Usage`] if pixels or labels are not those of a step; those of [`Session::run`].
    pub fn step(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<Outcome> {
        self.finish(self.start(pixels, labels, hyper)?)
    }

    /// Starts a whole step. The caller may start the next step before it finishes this one, so that the GPU does not wait while
    /// the host looks at the outcome.
    ///
    /// # Errors
    /// Those of [`TrainingStep::step`].
    pub fn start(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<InFlightStep> {
        self.start_with(pixels, &of_labels(labels), hyper)
    }

    /// As [`TrainingStep::start`], with targets, which may be mixed or weighted if [`TrainingOptions::soft_targets`] is set.
    ///
    /// # Errors
    /// Those of [`TrainingStep::step`]; [`Error::Usage`] for mixed or weighted targets of a step that does not take them.
    pub fn start_with(&self, pixels: &[u8], targets: &[Target], hyper: &Hyper) -> Result<InFlightStep> {
        self.check_step(pixels, targets)?;
        let mut step = InFlightStep { outcome: Outcome::default(), last: None };
        let pixels = pixels.chunks(pixels.len().div_ceil(self.accumulate).max(1));
        for (i, (pixels, targets)) in (0..).zip(pixels.zip(targets.chunks(self.batch_size))) {
            let [a, b, c, d] = hyper.noise;
            let hyper = Hyper { noise: [a, b, c, d.wrapping_add(i)], ..*hyper };
            self.feed_with(pixels, targets, &hyper)?;
            if let Some(before) = step.last.replace(self.session.start()?) {
                step.outcome.add(self.outcome_of(&before)?);
            }
        }
        if let Some(update) = &self.update {
            self.feed_rates(update, hyper)?;
            update.run()?;
            // The batches of the next step would overwrite the memory of this outcome.
            let outcome = self.finish(step)?;
            let loss_scale = self.loss_scale()?;
            step = InFlightStep { outcome: Outcome { loss_scale, ..outcome }, last: None };
        }
        Ok(step)
    }

    fn check_step(&self, pixels: &[u8], labels: &[Target]) -> Result<()> {
        let pictures = self.batch_size * self.accumulate;
        if labels.len() == pictures && !pixels.is_empty() && pixels.len().is_multiple_of(pictures.max(1)) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} labels and {} bytes of pixels for a step of {} batches of {} pictures",
            labels.len(),
            pixels.len(),
            self.accumulate,
            self.batch_size
        )))
    }

    /// Waits for a step and returns its outcome.
    ///
    /// # Errors
    /// Those of [`Session::output_of`].
    pub fn finish(&self, mut step: InFlightStep) -> Result<Outcome> {
        if let Some(last) = &step.last {
            step.outcome.add(self.outcome_of(last)?);
        }
        Ok(step.outcome)
    }

    /// Whether the GPU is done with a step. It does not wait.
    pub fn is_done(&self, step: &InFlightStep) -> bool {
        step.last.as_ref().is_none_or(|last| self.session.is_done(last))
    }

    /// Feeds a batch, RGBA pixels and labels, and runs the step. With gradient accumulation it runs the part before the update.
    /// The GPU may still be busy when this returns.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn run(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<()> {
        self.feed(pixels, labels, hyper)?;
        self.session.run()
    }

    /// Feeds a batch without running.
    ///
    /// # Errors
    /// Those of [`Session::write_stored`].
    pub fn feed(&self, pixels: &[u8], labels: &[u32], hyper: &Hyper) -> Result<()> {
        self.feed_with(pixels, &of_labels(labels), hyper)
    }

    fn feed_with(&self, pixels: &[u8], targets: &[Target], hyper: &Hyper) -> Result<()> {
        self.ports.feed(&self.session, pixels, targets)?;
        if let Some(noise) = self.noise {
            self.session.write_stored(noise, bytemuck::cast_slice(&hyper.noise))?;
        }
        match self.update {
            None => self.feed_rates(&self.session, hyper),
            Some(_) => Ok(()),
        }
    }

    /// Writes the hyperparameters of the update.
    fn feed_rates(&self, session: &Session, hyper: &Hyper) -> Result<()> {
        session.write(self.hyper, &hyper.rates())?;
        self.average.map_or(Ok(()), |to| session.write(to, &[hyper.average_share, 0.0, 0.0, 0.0]))
    }

    /// Waits for the last [`TrainingStep::run`] and returns its outcome.
    ///
    /// # Errors
    /// Those of [`Session::output`].
    pub fn outcome(&self) -> Result<Outcome> {
        outcome(&self.session, &self.ports)
    }

    fn outcome_of(&self, run: &Started) -> Result<Outcome> {
        let outcome = outcome_of(&self.session, &self.ports, run)?;
        let scale = self.scale.map(|scale| self.session.output_of(run, scale)).transpose()?;
        Ok(Outcome { loss_scale: scale.and_then(|stored| LossScale::from_stored(&stored)), ..outcome })
    }

    /// The loss scale of the next step; `None` in f32, which needs none.
    ///
    /// # Errors
    /// Those of [`Session::read`].
    pub fn loss_scale(&self) -> Result<Option<LossScale>> {
        let stored = self.scale.map(|scale| self.session.read(scale)).transpose()?;
        Ok(stored.and_then(|stored| LossScale::from_stored(&stored)))
    }

    /// Sets the loss scale. Does nothing in f32.
    ///
    /// # Errors
    /// Those of [`Session::write`]; [`Error::Usage`] for a factor that f32 cannot hold.
    pub fn set_loss_scale(&self, to: LossScale) -> Result<()> {
        if !(-126..=126).contains(&to.exponent) {
            return Err(Error::usage(format!("a loss scale of 2^{}", to.exponent)));
        }
        self.scale.map_or(Ok(()), |scale| self.session.write(scale, &to.stored()))
    }

    /// The parameters with their velocities. Velocities belong to the session of [`TrainingStep::optimizer`].
    pub fn parameters(&self) -> &[Trained] {
        &self.parameters
    }

    /// Names of the tensors of the classifier heads.
    pub(super) fn heads(&self) -> &BTreeSet<String> {
        &self.heads
    }

    /// The state of the loss scale, in f16.
    pub(super) fn scale(&self) -> Option<Value> {
        self.scale
    }

    /// The session, to read and write parameters.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session that updates the parameters, to read and write the optimizer state.
    pub fn optimizer(&self) -> &Session {
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
