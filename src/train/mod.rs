//! Training: the step, the schedule, the loop, checkpoints, evaluation, measurement.
//!
//! [`TrainingRun`] is the whole run, from data to files of weights. [`TrainingStep`] is one step of it, for a loop of one's own.

mod balance;
mod bench;
mod budget;
pub mod checkpoint;
mod classifier_head;
mod config;
mod disk;
mod divergence;
mod epochs;
mod evaluate;
mod event;
mod folder;
mod forward;
mod freeze;
mod graph;
mod hyper;
mod initial_weights;
mod job;
mod loss_scale;
mod lost_device;
mod metrics;
mod optimizer;
mod outline;
mod ports;
mod prepare;
mod recipe;
mod run;
mod schedule;
mod settings;
mod shown;
mod step;
mod target;
mod tensorboard;
mod tune;
mod waiting;
mod warnings;

pub use crate::infer::transfer;
pub use balance::Balance;
pub use bench::{BenchMode, BenchOptions, Measurement, Profile, measure};
pub use config::{BatchSize, Config, InitRule, Length};
pub use evaluate::{
    Averaging, Bin, Calibration, ClassScore, Confusion, Dense, Evaluation, Evaluator, Progress, Score,
    Scores, evaluate, score, score_averaged,
};
pub use event::{Control, Event, Finished};
pub use forward::EvaluationStep;
pub use freeze::Freeze;
pub use graph::{Trained, TrainingGraph, TrainingOptions};
pub use hyper::Hyper;
pub use loss_scale::LossScale;
pub use metrics::Row;
pub use recipe::{Recipe, RecipeName};
pub use run::{TrainingRun, train};
pub use schedule::{Place, Schedule, Warmup};
pub use settings::SettingsFile;
pub use step::{InFlightStep, Outcome, TrainingStep};
pub use target::Target;
pub use tune::{tune_inference, tune_training};
pub use warnings::Warning;
