//! Choosing by measurement how the products of a network are computed.

use super::{Config, Control, Event, TrainingGraph, TrainingOptions, budget};
use crate::autotune::{Tune, Tuner, cache_folder};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::AlgorithmCache;
use crate::models::{Arch, Mode, Network, Settings};
use crate::plan::PlanOptions;
use std::cell::Cell;
use std::sync::Arc;

/// Chooses for the products of a training step.
///
/// # Errors
/// As [`Tuner::tune`]; [`crate::error::Error::Usage`] if the settings do not fit the network.
pub fn tune_training(
    tuner: &mut Tuner,
    arch: &Arch,
    settings: &Settings,
    options: TrainingOptions,
) -> Result<()> {
    let step = TrainingGraph::new(arch, settings, options)?;
    tuner.tune(&step.graph, &step.outputs())
}

/// Chooses for the products of a forward step.
///
/// # Errors
/// As [`tune_training`].
pub fn tune_inference(tuner: &mut Tuner, network: &Network) -> Result<()> {
    tuner.tune(&network.graph, &[network.logits])
}

/// How the products of a new run are computed.
///
/// # Errors
/// As [`tune_training`]; [`crate::error::Error::Stopped`] if `observe` asked for it.
pub(super) fn choose(
    gpu: &Arc<Gpu>,
    arch: &Arch,
    settings: &Settings,
    config: &Config,
    training: TrainingOptions,
    observe: &mut dyn FnMut(Event) -> Control,
) -> Result<AlgorithmCache> {
    let stopped = Cell::new(false);
    let mut notices = |notice| stopped.set(stopped.get() | (observe(Event::Tuning(notice)) == Control::Stop));
    let folder = if config.tune == Tune::Off { None } else { cache_folder() };
    let mut tuner = Tuner::new(gpu, config.tune, folder, &mut notices).until(&stopped);
    tune_training(&mut tuner, arch, settings, training)?;
    tune_inference(&mut tuner, &arch.network(settings, Mode::Inference)?)?;
    // Other ways may take more memory than those of the table.
    let fits = |options: &PlanOptions| budget::check(options, arch, settings, config).is_ok();
    let within = fits(&tuner.options()) || !fits(&PlanOptions::for_gpu(gpu));
    Ok(if within { tuner.into_algorithms() } else { AlgorithmCache::default() })
}
