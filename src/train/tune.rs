//! Selecting the algorithms for the products of a network by measurement.

use super::disk::Observe;
use super::job::Job;
use super::{Control, Event, TrainingGraph, budget};
use crate::autotune::{Tune, Tuner, cache_folder};
use crate::error::Result;
use crate::kernels::AlgorithmCache;
use crate::models::{Mode, Network, Settings};
use crate::plan::PlanOptions;
use std::cell::Cell;

/// Selects the algorithms of a training step.
///
/// # Errors
/// Those of [`Tuner::tune`].
pub fn tune_training(tuner: &mut Tuner, step: &TrainingGraph) -> Result<()> {
    tuner.tune(&step.graph, &step.outputs())
}

/// Selects the algorithms of a forward step.
///
/// # Errors
/// Those of [`Tuner::tune`].
pub fn tune_inference(tuner: &mut Tuner, network: &Network) -> Result<()> {
    tuner.tune(&network.graph, &[network.logits])
}

/// Selects the algorithms of a new run.
///
/// # Errors
/// Those of [`Tuner::tune`]; [`crate::error::Error::Usage`] if the settings do not fit the network;
/// [`crate::error::Error::Stopped`] if `observe` asked for it.
pub(super) fn choose(job: &Job, settings: &Settings, observe: &mut Observe) -> Result<AlgorithmCache> {
    let stopped = Cell::new(false);
    let mut notices = |notice| stopped.set(stopped.get() | (observe(Event::Tuning(notice)) == Control::Stop));
    let folder = if job.config.tune == Tune::Off { None } else { cache_folder() };
    let mut tuner = Tuner::new(job.gpu, job.config.tune, folder, &mut notices).until(&stopped);
    tune_training(&mut tuner, &job.graph(settings)?)?;
    tune_inference(&mut tuner, &job.arch.network(settings, Mode::Inference)?)?;
    // The measured algorithms may need more memory than those of the built-in heuristic.
    let fits = |options: &PlanOptions| budget::check(job, settings, options).is_ok();
    let within = fits(&tuner.options()) || !fits(&PlanOptions::for_gpu(job.gpu));
    Ok(if within { tuner.into_algorithms() } else { AlgorithmCache::default() })
}
