//! The network of a file of weights, to be evaluated.

use super::{Evaluation, Progress, Scores, evaluate, score};
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::exchange::{Model, ModelFile};
use crate::gpu::Gpu;
use crate::infer::{
    ClassifierOptions, ModelCard, Prepared, check_batch_size, fault_of_file, prepare, transfer,
};
use crate::models::{DenseNetwork, Settings};
use crate::plan::{Plan, PlanOptions, Session};
use crate::tensor::Value;
use crate::train::{Control, EvaluationStep};
use std::path::Path;
use std::sync::Arc;

/// A network with trained weights whose accuracy is measured.
pub struct Evaluator {
    step: EvaluationStep,
    card: ModelCard,
    batch_size: usize,
    // To build the network for pictures of other sizes.
    gpu: Arc<Gpu>,
    model: Model,
    settings: Settings,
    plan: PlanOptions,
}

/// A network for pictures of one size, with the parameters of an [`Evaluator`].
pub(super) struct SizedStep {
    session: Session,
    pixels: Value,
    logits: Value,
}

impl SizedStep {
    /// The logits of a batch, picture by picture. NaN and infinity are not looked for.
    pub(super) fn logits(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        self.session.write_stored(self.pixels, pixels)?;
        let run = self.session.start()?;
        self.session.output_of(&run, self.logits)
    }
}

impl Evaluator {
    /// Loads a file of weights, as [`crate::infer::Classifier::open`]. The batches of the loader must be of `options.batch_size`
    /// pictures.
    ///
    /// # Errors
    /// As [`crate::infer::Classifier::open`].
    pub fn open(gpu: &Arc<Gpu>, path: impl AsRef<Path>, options: ClassifierOptions) -> Result<Self> {
        fn open(gpu: &Arc<Gpu>, path: &Path, options: ClassifierOptions) -> Result<Evaluator> {
            check_batch_size(options.batch_size)?;
            let file = ModelFile::open(path, options.file)?;
            let fault = |e| fault_of_file(e, Some(path));
            let Prepared { card, network, settings, plan } = prepare(gpu, &file, options).map_err(fault)?;
            let batch_size = settings.batch_size;
            let step = EvaluationStep::of(gpu, network, batch_size, None, &plan).map_err(fault)?;
            transfer::load(step.session(), step.parameters().iter(), file.tensors.as_ref())
                .map_err(|e| e.at(path.display().to_string()))?;
            Ok(Evaluator { step, card, batch_size, gpu: gpu.clone(), model: file.model, settings, plan })
        }
        open(gpu, path.as_ref(), options)
    }

    /// The network as a convolutional one, for batches of this many pictures of any size.
    ///
    /// # Errors
    /// [`Error::Usage`] for a graph that is none of the networks here; those of [`crate::models::Arch::dense`].
    pub(super) fn dense(&self, batch_size: usize) -> Result<DenseNetwork> {
        match &self.model {
            Model::Arch(arch) => arch.dense(&Settings { batch_size, ..self.settings }),
            Model::Imported(_) => Err(Error::usage("an ONNX graph is for pictures of one size")
                .hint("dense evaluation takes the networks here; `ocelli show` lists them")),
        }
    }

    /// The network for pictures of this height and width. It shares the parameters.
    ///
    /// # Errors
    /// Those of [`DenseNetwork::network`]; [`Error::Gpu`] if it does not fit the adapter.
    pub(super) fn sized(&self, dense: &DenseNetwork, size: [usize; 2]) -> Result<SizedStep> {
        let network = dense.network(size)?;
        let plan = Plan::new(&network.graph, &[network.logits], &self.plan)?;
        let session = Session::new(self.gpu.clone(), plan, Some(self.step.session()))?;
        Ok(SizedStep { session, pixels: network.pixels, logits: network.logits })
    }

    pub(super) fn step(&self) -> &EvaluationStep {
        &self.step
    }

    /// Pictures in one run of the network.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// What is known of the network besides its weights.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What is known of the network, to name its classes.
    pub fn card_mut(&mut self) -> &mut ModelCard {
        &mut self.card
    }

    /// Measures accuracy and loss over the pictures of a loader, as [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(
        &self,
        loader: &Loader,
        progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Evaluation> {
        evaluate(&self.step, loader, progress)
    }

    /// As [`Evaluator::evaluate`], and keeps what the network says of each picture, as [`score`].
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn score(&self, loader: &Loader, progress: &mut dyn FnMut(Progress) -> Control) -> Result<Scores> {
        score(&self.step, loader, progress)
    }
}
