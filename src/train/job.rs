//! A run with what its settings name.

use super::checkpoint::Facts;
use super::{Balance, Config, TrainingGraph, TrainingOptions};
use crate::data::Normalization;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::models::{Arch, Frozen, Mode, Settings};
use crate::tensor::Precision;
use std::sync::Arc;

/// A checked order to train a network.
pub(super) struct Job<'a> {
    pub(super) gpu: &'a Arc<Gpu>,
    pub(super) arch: &'static Arch,
    pub(super) config: &'a Config,
    /// The part of the network that is not trained.
    pub(super) frozen: Frozen,
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
        let mut frozen = Frozen { statistics: config.freeze_norm, ..Frozen::default() };
        if let Some(freeze) = &config.freeze {
            // Names do not depend on the sizes, which are not known yet.
            frozen.tensors = freeze.tensors(&arch.network(&arch.settings(1), Mode::Training)?)?;
        }
        Ok(Self { gpu, arch, config, frozen })
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
        let Config { accumulate, recompute, nesterov, label_smoothing, clip_norm, augment, .. } =
            *self.config;
        let mixes = augment.mixup > 0.0 || augment.cutmix > 0.0;
        let options = TrainingOptions::default()
            .with_accumulate(accumulate)
            .with_recompute(recompute)
            .with_nesterov(nesterov)
            .with_label_smoothing(label_smoothing)
            .with_soft_targets(mixes || self.config.balance == Balance::Weights)
            .with_clip_norm(clip_norm)
            .with_bias_decay(self.config.bias_decay)
            .with_body_rate(self.config.lr_body.unwrap_or(1.0))
            .with_averages(self.config.ema_decay.is_some())
            .with_frozen(self.frozen.clone());
        TrainingGraph::new(self.arch, settings, options)
    }
}
