//! A run with what its settings name.

use super::checkpoint::Facts;
use super::{Config, TrainingGraph, TrainingOptions};
use crate::data::Normalization;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::models::{Arch, Settings};
use crate::tensor::Precision;
use std::sync::Arc;

/// A checked order to train a network.
pub(super) struct Job<'a> {
    pub(super) gpu: &'a Arc<Gpu>,
    pub(super) arch: &'static Arch,
    pub(super) config: &'a Config,
}

impl<'a> Job<'a> {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Usage`] if they make no sense; [`Error::Gpu`] if the adapter has no half precision and they ask for it.
    pub(super) fn new(gpu: &'a Arc<Gpu>, config: &'a Config) -> Result<Self> {
        config.check()?;
        let arch = Arch::find(&config.arch)?;
        if config.precision == Precision::F16 {
            gpu.check_half()?;
        }
        Ok(Self { gpu, arch, config })
    }

    /// The settings of the network on this data.
    pub(super) fn settings(&self, facts: &Facts) -> Settings {
        let Facts { size, batch_size, preprocessing, .. } = facts;
        let Normalization { mean, std } = preprocessing.channels();
        let (classes, precision) = (facts.classes.len(), self.config.precision);
        Settings { batch_size: *batch_size, size: *size, classes, mean, std, precision }
    }

    /// The graph of the training step.
    ///
    /// # Errors
    /// Those of [`TrainingGraph::new`].
    pub(super) fn graph(&self, settings: &Settings) -> Result<TrainingGraph> {
        let Config { accumulate, recompute, .. } = *self.config;
        let options = TrainingOptions::default().with_accumulate(accumulate).with_recompute(recompute);
        TrainingGraph::new(self.arch, settings, options)
    }
}
