//! Choosing by measurement how the products of a network are computed.

use super::{TrainingGraph, TrainingOptions};
use crate::error::Result;
use crate::models::{Arch, Network, Settings};
use crate::plan::Tuner;

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
