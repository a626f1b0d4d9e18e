//! The evaluation step.

use super::ports::{Ports, with_loss};
use super::step::{outcome, outcome_of};
use super::{Outcome, Target, TrainingStep};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::infer::check_logits;
use crate::models::{Arch, Mode, Network, Parameter, Settings};
use crate::plan::{Plan, PlanOptions, Session, Started};
use crate::tensor::Value;
use std::sync::Arc;

/// A forward pass on a GPU that computes loss, rank of the right class and logits.
pub struct EvaluationStep {
    session: Session,
    ports: Ports,
    logits: Value,
    parameters: Vec<Parameter>,
}

impl EvaluationStep {
    /// Plans the step and allocates its memory. With `training` it shares the parameters of that step.
    ///
    /// # Errors
    /// [`crate::error::Error::Gpu`] if it does not fit the adapter.
    pub fn new(
        gpu: &Arc<Gpu>,
        arch: &Arch,
        settings: &Settings,
        training: Option<&TrainingStep>,
    ) -> Result<Self> {
        Self::planned(gpu, arch, settings, training, &PlanOptions::for_gpu(gpu))
    }

    /// As [`EvaluationStep::new`], with options of the plan.
    ///
    /// # Errors
    /// As [`EvaluationStep::new`].
    pub fn planned(
        gpu: &Arc<Gpu>,
        arch: &Arch,
        settings: &Settings,
        training: Option<&TrainingStep>,
        options: &PlanOptions,
    ) -> Result<Self> {
        let network = arch.network(settings, Mode::Inference)?;
        Self::of(gpu, network, settings.batch_size, training, options)
    }

    /// As [`EvaluationStep::planned`], for a network that is built for inference with this batch size.
    ///
    /// # Errors
    /// As [`EvaluationStep::new`].
    pub fn of(
        gpu: &Arc<Gpu>,
        mut network: Network,
        batch_size: usize,
        training: Option<&TrainingStep>,
        options: &PlanOptions,
    ) -> Result<Self> {
        let ports = with_loss(&mut network, batch_size, None)?;
        let outputs = [ports.loss, ports.rank, network.logits];
        let plan = Plan::new(&network.graph, &outputs, options)?;
        let session = Session::new(gpu.clone(), plan, training.map(|t| &t.session))?;
        Ok(Self { session, ports, logits: network.logits, parameters: network.parameters })
    }

    /// Writes a batch of RGBA pixels and labels, and runs the step.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, pixels: &[u8], labels: &[u32]) -> Result<()> {
        self.ports.feed(&self.session, pixels, &of_labels(labels))?;
        self.session.run()
    }

    /// As [`EvaluationStep::run`]. Another batch may be started before the outcome of this one is read.
    ///
    /// # Errors
    /// As [`Session::write_stored`].
    pub fn start(&self, pixels: &[u8], labels: &[u32]) -> Result<Started> {
        self.ports.feed(&self.session, pixels, &of_labels(labels))?;
        self.session.start()
    }

    /// Waits for a batch and returns its outcome.
    ///
    /// # Errors
    /// As [`Session::output_of`].
    pub fn outcome_of(&self, run: &Started) -> Result<Outcome> {
        outcome_of(&self.session, &self.ports, run)
    }

    /// Waits for the step and returns its outcome.
    ///
    /// # Errors
    /// As [`Session::output`].
    pub fn outcome(&self) -> Result<Outcome> {
        outcome(&self.session, &self.ports)
    }

    /// Waits for the step and returns the logits, picture by picture; every place of the batch must hold a picture.
    ///
    /// # Errors
    /// As [`check_logits`] and [`Session::output`].
    pub fn logits(&self) -> Result<Vec<f32>> {
        let logits = self.session.output(self.logits)?;
        check_logits(&logits, self.ports.classes)?;
        Ok(logits)
    }

    /// Waits for a batch and returns its logits, also of places without a picture. NaN and infinity are not looked for.
    ///
    /// # Errors
    /// As [`Session::output_of`].
    pub(crate) fn unchecked_logits_of(&self, run: &Started) -> Result<Vec<f32>> {
        self.session.output_of(run, self.logits)
    }

    /// Number of classes.
    pub(super) fn classes(&self) -> usize {
        self.ports.classes
    }

    /// Parameters and running statistics.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The session, to read and write parameters.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// The targets of labels.
pub(super) fn of_labels(labels: &[u32]) -> Vec<Target> {
    labels.iter().copied().map(Target::from).collect()
}
