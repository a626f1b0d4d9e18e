//! From a file of weights to a network and the options of its plan.

use super::{ClassifierOptions, ModelCard};
use crate::error::{Error, Result};
use crate::exchange::ModelFile;
use crate::gpu::Gpu;
use crate::models::{Network, Settings};
use crate::plan::PlanOptions;
use std::path::Path;

/// A network that is ready to be planned.
pub(crate) struct Prepared {
    pub card: ModelCard,
    pub network: Network,
    pub settings: Settings,
    pub plan: PlanOptions,
}

/// Builds the network of a file for inference, and chooses its kernels.
///
/// # Errors
/// [`Error::Usage`] for a batch of 0 pictures and a network that cannot be built with this metadata; otherwise as
/// [`crate::exchange::Model::network`] and `Tuner::tune`.
pub(crate) fn prepare(gpu: &Gpu, file: &ModelFile, options: ClassifierOptions) -> Result<Prepared> {
    let batch_size = options.batch_size;
    check_batch_size(batch_size)?;
    let settings = Settings { precision: options.precision, ..file.settings(batch_size) };
    let network = file.model.network(&settings)?;
    let plan = options.plan.unwrap_or_else(|| PlanOptions::for_gpu(gpu));
    #[cfg(not(target_family = "wasm"))]
    let plan = match options.tuner {
        Some(tuner) => {
            tuner.tune(&network.graph, &[network.logits])?;
            tuner.options()
        }
        None => plan,
    };
    Ok(Prepared { card: ModelCard::of(file), network, settings, plan })
}

/// Refuses a batch without pictures.
///
/// # Errors
/// [`Error::Usage`].
pub(crate) fn check_batch_size(batch_size: usize) -> Result<()> {
    if batch_size == 0 {
        return Err(Error::usage("a batch of 0 pictures").hint("give a number of at least 1"));
    }
    Ok(())
}

/// Places an error at the file. Metadata that makes no sense is the fault of the file, not of the caller.
pub(crate) fn fault_of_file(error: Error, path: Option<&Path>) -> Error {
    let place = path.map(|path| path.display().to_string());
    match (error, place) {
        (Error::Usage(report), None) => Error::Data(report).at("its metadata"),
        (Error::Usage(report), Some(place)) => Error::Data(report).at(format!("{place}: its metadata")),
        (other, None) => other,
        (other, Some(place)) => other.at(place),
    }
}
