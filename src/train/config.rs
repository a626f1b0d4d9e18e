//! What a run is started with.

use super::{Recipe, Schedule};
use crate::autotune::Tune;
use crate::data::{Augment, Normalization, Preprocessing};
use crate::error::{Error, Result};
use crate::models::{Arch, Init};
use crate::tensor::Precision;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How long a run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Whole passes over the data.
    Epochs(u64),
    /// Steps.
    Steps(u64),
}

/// How many pictures are in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchSize {
    /// As many as fit the budget of memory.
    Auto,
    /// So many.
    #[serde(untagged)]
    Fixed(usize),
}

impl From<usize> for BatchSize {
    fn from(n: usize) -> Self {
        Self::Fixed(n)
    }
}

/// How weights start, instead of as the network's paper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitRule {
    /// Normal with deviation 0.01: Krizhevsky et al. 2012.
    Normal,
    /// Normal with variance 2/fan-in: He et al. 2015.
    He,
    /// Uniform with variance 1/fan-in: Glorot and Bengio 2010.
    Xavier,
}

impl InitRule {
    /// The rule for one parameter.
    pub fn init(self) -> Init {
        match self {
            Self::Normal => Init::Normal(0.01),
            Self::He => Init::He,
            Self::Xavier => Init::Xavier,
        }
    }
}

/// What a run is started with; kept as `config.json` and in the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The variant of the network.
    pub arch: String,
    /// A folder, or `fashion-mnist`.
    pub data: String,
    /// How long the run lasts.
    pub length: Length,
    /// Pictures in a batch.
    pub batch_size: BatchSize,
    /// Batches whose gradients are added in a step.
    pub accumulate: usize,
    /// Learning rate at the start.
    pub lr: f64,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, added to the gradient of every parameter.
    pub weight_decay: f32,
    /// How the rate changes.
    pub schedule: Schedule,
    /// How the pictures are varied.
    pub augment: Augment,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Decides the first weights, the orders and the variations.
    pub seed: u64,
    /// Use only so many pictures of each split, spread over it evenly.
    pub limit: Option<usize>,
    /// Number of classes of the network; those of the data if absent.
    pub classes: Option<usize>,
    /// How weights start; as the network's paper says if absent. Biases and batch norm are not touched.
    pub init: Option<InitRule>,
    /// Start from the weights in this file.
    pub weights: Option<PathBuf>,
    /// Averaged weights or plain ones, where that file has both.
    #[serde(default)]
    pub averaged: Option<bool>,
    /// How activations and their gradients lie in memory.
    #[serde(default)]
    pub precision: Precision,
    /// Compute activations a second time instead of keeping them. Changes no bit of the result.
    pub recompute: bool,
    /// The most bytes of GPU memory that the run may take.
    pub memory_budget: Option<u64>,
    /// Height and width of the input: the weights', the data's or the network's own if absent.
    pub size: Option<[usize; 2]>,
    /// How pixels become numbers: as with the weights, or as usual for the data, if absent.
    pub normalization: Option<Normalization>,
    /// How much is measured to choose kernels. A run that is resumed keeps the choices that it was started with.
    #[serde(default)]
    pub tune: Tune,
    /// Go on where more than 1% of the pictures cannot be read.
    #[serde(default)]
    pub allow_unreadable: bool,
}

impl Config {
    /// The recipe of the network's paper on some data.
    pub fn new(arch: &Arch, data: impl Into<String>) -> Self {
        let Recipe { batch_size, epochs, lr, momentum, weight_decay, schedule, augment } = Recipe::of(arch);
        Self {
            arch: arch.name.to_owned(),
            data: data.into(),
            length: Length::Epochs(epochs),
            batch_size: batch_size.into(),
            accumulate: 1,
            lr,
            momentum,
            weight_decay,
            schedule,
            augment,
            shuffle: true,
            seed: 0,
            limit: None,
            classes: None,
            init: None,
            weights: None,
            averaged: None,
            precision: Precision::F32,
            recompute: false,
            memory_budget: None,
            size: None,
            normalization: None,
            tune: Tune::Off,
            allow_unreadable: false,
        }
    }

    /// Refuses settings with which there is nothing to do, and numbers that are none.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let (length, many) = match self.length {
            Length::Epochs(n) => ("--epochs", n),
            Length::Steps(n) => ("--steps", n),
        };
        let batch_size = match self.batch_size {
            BatchSize::Fixed(n) => Some(n),
            BatchSize::Auto => None,
        };
        let zeros = [
            (length, many == 0),
            ("--batch-size", batch_size == Some(0)),
            ("--accumulate", self.accumulate == 0),
            ("--limit", self.limit == Some(0)),
            ("--classes", self.classes == Some(0)),
            ("--size", self.size.is_some_and(|size| size.contains(&0))),
            ("--memory-budget", self.memory_budget == Some(0)),
        ];
        if let Some((flag, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::usage(format!("{flag} 0 makes no sense")).hint("give a number of at least 1"));
        }
        let (momentum, weight_decay) = (f64::from(self.momentum), f64::from(self.weight_decay));
        for (flag, value) in [("--lr", self.lr), ("--momentum", momentum), ("--weight-decay", weight_decay)] {
            // As the kernel of the update takes it.
            if !(value as f32).is_finite() || value < 0.0 {
                let error = Error::usage(format!("{flag} {value} makes no sense"));
                return Err(error.hint("give a number of at least 0 that f32 can hold"));
            }
        }
        let normalization = self.normalization.map(|n| Preprocessing::covering(n).check());
        normalization.unwrap_or(Ok(())).map_err(|e| Error::Usage(e.report().clone()))
    }

    /// Names the settings in which two runs differ, leaving out those that change no bit of what they do, or of the rest
    /// of a run that is resumed: how long they last, how memory is spent, how kernels are chosen.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut names = Vec::new();
        macro_rules! compare {
            ($($field:ident => $name:literal),* $(,)?) => { $(if self.$field != other.$field { names.push($name) })* };
        }
        compare! {
            arch => "--arch", data => "--data", batch_size => "--batch-size",
            accumulate => "--accumulate", lr => "--lr", momentum => "--momentum",
            weight_decay => "--weight-decay", schedule => "--schedule", augment => "--augment",
            shuffle => "--no-shuffle", seed => "--seed", limit => "--limit", classes => "--classes",
            init => "--init", precision => "--precision",
            weights => "--weights", averaged => "--ema", size => "--size", normalization => "the normalisation",
        }
        names
    }
}
