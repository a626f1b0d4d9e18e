//! The settings of a run.

use super::{Balance, Freeze, Recipe, Schedule, Warmup};
use crate::autotune::Tune;
use crate::data::{Augment, Normalization, Preprocessing};
use crate::error::{Error, Result};
use crate::models::{Arch, Init};
use crate::tensor::Precision;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Passes over the training data.
    Epochs(u64),
    /// Updates of the parameters.
    Steps(u64),
}

impl Length {
    /// The steps of a run whose epochs have this many.
    pub(super) fn steps(self, steps_per_epoch: usize) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch as u64),
        }
    }
}

/// The number of pictures in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchSize {
    /// The largest number that fits the memory budget; without one, four fifths of the memory of a graphics card, or half of it where it
    /// is that of the system.
    Auto,
    /// This number.
    #[serde(untagged)]
    Fixed(usize),
}

impl From<usize> for BatchSize {
    fn from(n: usize) -> Self {
        Self::Fixed(n)
    }
}

/// An initialisation of the weights that replaces the one of the network's paper.
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
    /// The initialisation of one parameter.
    pub fn init(self) -> Init {
        match self {
            Self::Normal => Init::Normal(0.01),
            Self::He => Init::He,
            Self::Xavier => Init::Xavier,
        }
    }
}

/// The settings of a run. They are kept in `config.json` and in the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The name of the network, as `ocelli show` lists it.
    pub arch: String,
    /// The data set: a folder, or `fashion-mnist`. For data sets of one's own a name ([`super::TrainingRun::with_datasets`]).
    pub data: String,
    /// The length of the run.
    pub length: Length,
    /// Pictures in a batch.
    pub batch_size: BatchSize,
    /// Gradient accumulation: the number of batches whose gradients are added in a step.
    pub accumulate: usize,
    /// Initial learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f32,
    /// Nesterov's momentum instead of the classical one.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, added to the gradient of every parameter, or of every filter.
    pub weight_decay: f32,
    /// Whether biases and the scales and shifts of batch norm decay as filters do.
    #[serde(default = "yes")]
    pub bias_decay: bool,
    /// The largest norm of all gradients together.
    #[serde(default)]
    pub clip_norm: Option<f32>,
    /// Label smoothing: the part of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f32,
    /// The decay of an exponential moving average of the weights. It is then these that are validated and written.
    #[serde(default)]
    pub ema_decay: Option<f64>,
    /// The learning rate of all layers but the classifier heads, relative to that of the heads.
    #[serde(default)]
    pub lr_body: Option<f32>,
    /// The layers that keep the weights that training starts from.
    #[serde(default)]
    pub freeze: Option<Freeze>,
    /// Batch norm uses the running statistics of the weights that training starts from, and keeps them.
    #[serde(default)]
    pub freeze_norm: bool,
    /// What evens out classes of different size.
    #[serde(default)]
    pub balance: Balance,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
    /// The warm-up of the learning rate.
    #[serde(default)]
    pub warmup: Warmup,
    /// Data augmentation.
    pub augment: Augment,
    /// Whether the pictures are shuffled in each epoch.
    pub shuffle: bool,
    /// The seed of the first weights, of shuffling, augmentation and dropout, and of the pictures that are held out for validation.
    pub seed: u64,
    /// The share of the pictures of each class that is held out for validation if the data has no validation part; a fifth if absent.
    #[serde(default)]
    pub val_split: Option<f64>,
    /// Use only this number of pictures of each split, spread over it evenly.
    pub limit: Option<usize>,
    /// The number of classes of the network; that of the data if absent.
    pub classes: Option<usize>,
    /// The initialisation of the weights; that of the network's paper if absent. Biases then start at 0, and batch norm is unchanged.
    pub init: Option<InitRule>,
    /// The file of weights that the run starts from.
    pub weights: Option<PathBuf>,
    /// Averaged weights or plain ones, if that file has both.
    #[serde(default)]
    pub averaged: Option<bool>,
    /// Load everything from that file except the classifier heads, which start with new weights. Without this a head starts with new
    /// weights too if the file is for other classes; but the classes that the file names as the data does keep their rows.
    #[serde(default)]
    pub new_classifier: bool,
    /// How activations and their gradients are stored.
    #[serde(default)]
    pub precision: Precision,
    /// Activation checkpointing: activations are recomputed in the backward pass instead of being kept. Changes no bit of the result.
    pub recompute: bool,
    /// The GPU memory that the run may allocate, in bytes.
    pub memory_budget: Option<u64>,
    /// Height and width of the input. If absent, those of the file of weights, of the data, or of the network's paper.
    pub size: Option<[usize; 2]>,
    /// The normalisation of pixels. If absent, that of the file of weights, or the usual one of the data.
    pub normalization: Option<Normalization>,
    /// How much is measured to select algorithms. A resumed run keeps the algorithms that it was started with.
    #[serde(default)]
    pub tune: Tune,
    /// Go on if more than 1% of the pictures cannot be read.
    #[serde(default)]
    pub allow_unreadable: bool,
    /// Decode JPEGs for training at a reduced scale where they are much larger than the input, see
    /// [`Loader::fast_jpeg`](crate::data::Loader::fast_jpeg).
    #[serde(default)]
    pub fast_jpeg: bool,
    /// End the run if the accuracy on the validation pictures has not improved for this number of epochs.
    #[serde(default)]
    pub early_stop: Option<u32>,
    /// The minutes after which a checkpoint is written within an epoch.
    #[serde(default = "checkpoint_minutes")]
    pub checkpoint_minutes: f64,
}

/// Refuses a setting that is not what its text means.
fn same_as_text<T: FromStr + Display + PartialEq>(flag: &str, setting: &T) -> Result<()> {
    let text = setting.to_string();
    if text.parse().is_ok_and(|read: T| read == *setting) {
        return Ok(());
    }
    Err(Error::usage(format!("{flag} {text} makes no sense"))
        .hint("`ocelli train --help` lists what can be given"))
}

/// The default of [`Config::bias_decay`].
const fn yes() -> bool {
    true
}

/// The default of [`Config::checkpoint_minutes`].
const fn checkpoint_minutes() -> f64 {
    10.0
}

impl Config {
    /// The recipe of the network's paper, for this data.
    pub fn new(arch: &Arch, data: impl Into<String>) -> Self {
        Self::with_recipe(arch, data, Recipe::of(arch))
    }

    /// A recipe for this data.
    pub fn with_recipe(arch: &Arch, data: impl Into<String>, recipe: Recipe) -> Self {
        let Recipe { batch_size, epochs, lr, momentum, weight_decay, schedule, warmup, augment, .. } = recipe;
        Self {
            arch: arch.name.to_owned(),
            data: data.into(),
            length: Length::Epochs(epochs),
            batch_size: batch_size.into(),
            accumulate: 1,
            lr,
            momentum,
            nesterov: recipe.nesterov,
            weight_decay,
            bias_decay: recipe.bias_decay,
            clip_norm: None,
            label_smoothing: recipe.label_smoothing,
            ema_decay: recipe.ema_decay,
            lr_body: None,
            freeze: None,
            freeze_norm: false,
            balance: Balance::None,
            schedule,
            warmup,
            augment,
            shuffle: true,
            seed: 0,
            val_split: None,
            limit: None,
            classes: None,
            init: None,
            weights: None,
            averaged: None,
            new_classifier: false,
            precision: Precision::F32,
            recompute: false,
            memory_budget: None,
            size: None,
            normalization: None,
            tune: Tune::Off,
            allow_unreadable: false,
            fast_jpeg: false,
            early_stop: None,
            checkpoint_minutes: checkpoint_minutes(),
        }
    }

    /// The time between checkpoints within an epoch.
    pub(super) fn checkpoint_every(&self) -> Duration {
        Duration::try_from_secs_f64(60.0 * self.checkpoint_minutes).unwrap_or(Duration::MAX)
    }

    /// Refuses settings with which there is nothing to do, and numbers that are not finite.
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
            ("--early-stop", self.early_stop == Some(0)),
            ("--size", self.size.is_some_and(|size| size.contains(&0))),
            ("--memory-budget", self.memory_budget == Some(0)),
        ];
        if let Some((flag, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::usage(format!("{flag} 0 makes no sense")).hint("give a number of at least 1"));
        }
        if !self.checkpoint_minutes.is_finite() || self.checkpoint_minutes <= 0.0 {
            let what = format!("--checkpoint-every {} makes no sense", self.checkpoint_minutes);
            return Err(
                Error::usage(what).hint("give minutes, more than 0; a large number for after epochs only")
            );
        }
        // They are kept as text. What cannot be read back would be a run that cannot be resumed.
        same_as_text("--schedule", &self.schedule)?;
        same_as_text("--warmup", &self.warmup)?;
        same_as_text("--augment", &self.augment)?;
        let (momentum, weight_decay) = (f64::from(self.momentum), f64::from(self.weight_decay));
        for (flag, value) in [("--lr", self.lr), ("--momentum", momentum), ("--weight-decay", weight_decay)] {
            // The kernel of the update takes f32.
            if !(value as f32).is_finite() || value < 0.0 {
                let error = Error::usage(format!("{flag} {value} makes no sense"));
                return Err(error.hint("give a number of at least 0 that f32 can hold"));
            }
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::usage(format!("--label-smoothing {} makes no sense", self.label_smoothing))
                .hint("give a number of at least 0 and below 1, as in 0.1"));
        }
        if self.clip_norm.is_some_and(|norm| !norm.is_finite() || norm <= 0.0) {
            return Err(Error::usage("--clip-norm is the largest norm of the gradients")
                .hint("give a number above 0, as in 1 or 5"));
        }
        if self.ema_decay.is_some_and(|decay| !(0.0..1.0).contains(&decay)) {
            return Err(Error::usage("--ema-decay is what an average keeps of itself in a step")
                .hint("give a number of at least 0 and below 1, as in 0.9999"));
        }
        if self.lr_body.is_some_and(|factor| !factor.is_finite() || factor < 0.0) {
            return Err(Error::usage("--lr-body is a factor of the learning rate")
                .hint("give a number of at least 0, as in 0.1"));
        }
        let fine_tuning = [("--freeze", self.freeze.is_some()), ("--freeze-norm", self.freeze_norm)];
        if let Some((flag, _)) = fine_tuning.into_iter().find(|(_, given)| *given && self.weights.is_none()) {
            return Err(Error::usage(format!("{flag} without --weights makes no sense"))
                .hint("layers that are drawn at random must be trained"));
        }
        if self.balance == Balance::Sampling && !self.shuffle {
            return Err(Error::usage(
                "--balance sampling draws pictures at random, and --no-shuffle forbids it",
            )
            .hint("use --balance weights"));
        }
        if self.val_split.is_some_and(|share| !(share > 0.0 && share < 1.0)) {
            return Err(Error::usage("--val-split is a share of the pictures")
                .hint("give a number between 0 and 1, as in 0.2"));
        }
        if self.new_classifier && self.weights.is_none() {
            return Err(Error::usage("--new-classifier without --weights makes no sense")
                .hint("without weights every layer starts with new ones"));
        }
        let normalization = self.normalization.map(|n| Preprocessing::covering(n).check());
        normalization.unwrap_or(Ok(())).map_err(|e| Error::Usage(e.report().clone()))
    }

    /// Names the settings that differ and prevent a run from being resumed. Length, memory options and the selection of algorithms do
    /// not: they change no bit of the remaining steps.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut names = Vec::new();
        macro_rules! compare {
            ($($field:ident => $name:literal),* $(,)?) => { $(if self.$field != other.$field { names.push($name) })* };
        }
        compare! {
            arch => "--arch", data => "--data", batch_size => "--batch-size",
            accumulate => "--accumulate", lr => "--lr", momentum => "--momentum",
            nesterov => "--nesterov", weight_decay => "--weight-decay", bias_decay => "--bias-decay",
            clip_norm => "--clip-norm", label_smoothing => "--label-smoothing", ema_decay => "--ema-decay",
            lr_body => "--lr-body", freeze => "--freeze", freeze_norm => "--freeze-norm", balance => "--balance",
            schedule => "--schedule", warmup => "--warmup", augment => "--augment",
            shuffle => "--no-shuffle", seed => "--seed", val_split => "--val-split", limit => "--limit", classes => "--classes",
            init => "--init", fast_jpeg => "--fast-jpeg", precision => "--precision",
            weights => "--weights", averaged => "--ema", new_classifier => "--new-classifier", size => "--size", normalization => "the normalisation",
        }
        names
    }
}
