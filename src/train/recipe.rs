//! How each network is trained unless the caller says otherwise.

use super::Schedule;
use crate::data::Augment;
use crate::models::Arch;
use serde::Serialize;

/// The hyper-parameters of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recipe {
    /// Pictures in a batch.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Learning rate at the start.
    pub lr: f64,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// How the rate changes.
    pub schedule: Schedule,
    /// How the pictures are varied.
    pub augment: Augment,
}

/// He et al. 2015, section 4.2.
const RESNET: Recipe = Recipe {
    batch_size: 128,
    epochs: 164,
    lr: 0.1,
    momentum: 0.9,
    weight_decay: 1e-4,
    schedule: Schedule::Step,
    augment: Augment::Standard,
};

/// Krizhevsky et al. 2012, section 5; the paper lowered the rate by hand.
const ALEXNET: Recipe = Recipe { epochs: 90, lr: 0.01, weight_decay: 5e-4, ..RESNET };

impl Recipe {
    /// The recipe of the network's paper.
    pub fn of(arch: &Arch) -> Self {
        match arch.family {
            "AlexNet" => ALEXNET,
            _ => RESNET,
        }
    }
}
