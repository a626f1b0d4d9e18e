//! The hyperparameters of each network.

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
    /// Nesterov's momentum instead of the classical one.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether biases and the scales and shifts of batch norm decay as filters do.
    pub bias_decay: bool,
    /// Label smoothing.
    pub label_smoothing: f32,
    /// The decay of averaged weights, if they are kept.
    pub ema_decay: Option<f64>,
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
    nesterov: false,
    weight_decay: 1e-4,
    bias_decay: true,
    label_smoothing: 0.0,
    ema_decay: None,
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

/// The schedule of torchvision's references.
const EVERY_30: Schedule = Schedule::Every { epochs: 30.0, factor: 0.1 };

/// What is usual since about 2018, for pictures of 32x32: the parts of He et al., "Bag of Tricks for Image Classification with
/// Convolutional Neural Networks", 2018, that change no network, and averaged weights.
const MODERN_CIFAR: Recipe = Recipe {
    epochs: 100,
    nesterov: true,
    weight_decay: 5e-4,
    bias_decay: false,
    label_smoothing: 0.1,
    ema_decay: Some(0.999),
    schedule: Schedule::Cosine,
    warmup: MODERN_WARMUP,
    augment: Augment { erase: 0.25, ..Augment::CIFAR },
    ..CIFAR
};

/// The same for larger pictures, with mixup; after torchvision's second recipe for ResNet-50.
const MODERN_IMAGENET: Recipe = Recipe {
    batch_size: 256,
    weight_decay: 5e-5,
    ema_decay: Some(0.9998),
    augment: Augment { trivial: true, mixup: 0.2, erase: 0.1, ..TORCHVISION },
    ..MODERN_CIFAR
};

const MODERN_WARMUP: Warmup = Warmup { epochs: 5.0, ..Warmup::NONE };

/// A recipe by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecipeName {
    /// That of the network's paper, or of the authors of the variant.
    #[default]
    Paper,
    /// That of torchvision's references.
    Torchvision,
    /// What is usual since about 2018: cosine, label smoothing, averaged weights.
    Modern,
}

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
    /// The recipe of this name.
    pub fn named(name: RecipeName, arch: &Arch) -> Self {
        let paper = Self::of(arch);
        // Without batch norm a rate of 0.1 diverges.
        let lr = paper.lr;
        match name {
            RecipeName::Paper => paper,
            // torchvision has no recipe for 32x32; its schedule and augmentation are for larger pictures.
            RecipeName::Torchvision if arch.size == 32 => paper,
            RecipeName::Torchvision if lr < 0.1 => Self { schedule: EVERY_30, ..WITHOUT_NORM },
            RecipeName::Torchvision => Self { schedule: EVERY_30, augment: TORCHVISION, ..IMAGENET },
            RecipeName::Modern if arch.size == 32 => Self { lr, ..MODERN_CIFAR },
            RecipeName::Modern => Self { lr, ..MODERN_IMAGENET },
        }
    }

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
