//! The default hyperparameters of each network.

use super::{Schedule, Warmup};
use crate::data::{Augment, Crop};
use crate::models::Arch;
use serde::Serialize;

/// The hyperparameters of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Pictures in a batch.
    pub batch_size: usize,
    /// Passes over the data.
    pub epochs: u64,
    /// Initial learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
    /// The warm-up of the learning rate.
    pub warmup: Warmup,
    /// Data augmentation.
    pub augment: Augment,
}

/// He et al. 2015, section 4.2, for CIFAR.
const CIFAR: Recipe = Recipe {
    batch_size: 128,
    epochs: 164,
    lr: 0.1,
    momentum: 0.9,
    weight_decay: 1e-4,
    schedule: Schedule::Step,
    warmup: Warmup::NONE,
    augment: Augment::CIFAR,
};

/// He et al. 2015, section 4.2: 110 layers converge only if the first steps are small.
const RESNET110: Recipe = Recipe { warmup: Warmup::RESNET110, ..CIFAR };

/// He et al. 2016, with the 200 epochs of the authors' code.
const PREACTIVATION: Recipe = Recipe { epochs: 200, ..CIFAR };

/// He et al. 2015, section 3.4, and torchvision's references for networks with batch norm.
const IMAGENET: Recipe = Recipe { batch_size: 256, epochs: 90, augment: Augment::RESNET, ..CIFAR };

/// torchvision's references: random resized crops and mirroring.
const TORCHVISION: Augment = Augment { mirror: true, crop: Crop::Resized(0.08, 1.0), ..Augment::NONE };

/// torchvision's references for networks without batch norm.
const WITHOUT_NORM: Recipe = Recipe { lr: 0.01, augment: TORCHVISION, ..IMAGENET };

/// Krizhevsky et al. 2012, section 5; the paper lowered the rate by hand.
const ALEXNET: Recipe =
    Recipe { batch_size: 128, lr: 0.01, weight_decay: 5e-4, augment: Augment::ALEXNET, ..IMAGENET };

/// Caffe's solver for its two networks.
const CAFFENET: Recipe = Recipe { batch_size: 256, ..ALEXNET };

/// Zeiler and Fergus 2013, section 3; the weight decay is AlexNet's.
const ZFNET: Recipe = Recipe { epochs: 70, ..ALEXNET };

/// Simonyan and Zisserman 2014, section 3.1.
const VGG: Recipe = Recipe { batch_size: 256, epochs: 74, augment: Augment::VGG, ..ALEXNET };

/// Caffe's quick solver for GoogLeNet.
const GOOGLENET: Recipe = Recipe {
    batch_size: 32,
    epochs: 60,
    weight_decay: 2e-4,
    schedule: Schedule::Poly(0.5),
    augment: Augment::INCEPTION,
    ..ALEXNET
};

impl Recipe {
    /// The recipe of the network's paper, or of the authors of the variant.
    pub fn of(arch: &Arch) -> Self {
        match (arch.family, arch.name) {
            (_, "caffenet") => CAFFENET,
            (_, "alexnet-tv") => WITHOUT_NORM,
            (_, "googlenet") => GOOGLENET,
            (_, "resnet110" | "resnet1202") => RESNET110,
            (_, "preresnet1001") => Self { batch_size: 64, ..PREACTIVATION },
            ("AlexNet", _) => ALEXNET,
            ("ZFNet", _) => ZFNET,
            ("VGG", name) if !name.ends_with("-bn") => VGG,
            (_, name) if name.starts_with("preresnet") => PREACTIVATION,
            (_, _) if arch.size == 32 => CIFAR,
            _ => IMAGENET,
        }
    }
}
