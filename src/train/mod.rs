//! Training: the step, the schedule, the loop, checkpoints, evaluation, measurement.

mod bench;
mod budget;
pub mod checkpoint;
mod config;
mod divergence;
mod evaluate;
mod event;
mod folder;
mod forward;
mod initial_weights;
mod loss_scale;
mod metrics;
mod optimizer;
mod recipe;
mod run;
mod schedule;
mod step;
mod tune;

pub use crate::infer::transfer;
pub use bench::{BenchMode, Measurement, Profile, measure};
pub use config::{BatchSize, Config, InitRule, Length};
pub use evaluate::{Evaluation, Evaluator, Progress, evaluate};
pub use event::{Control, Event, Finished};
pub use forward::EvaluationStep;
pub use loss_scale::LossScale;
pub use metrics::Row;
pub use recipe::Recipe;
pub use run::train;
pub use schedule::Schedule;
pub use step::{Outcome, StepUnderWay, Trained, TrainingGraph, TrainingOptions, TrainingStep};
pub use tune::{tune_inference, tune_training};

/// The numbers of one step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, added to the gradient of every parameter.
    pub weight_decay: f32,
    /// What the masks of dropout depend on; another one each step.
    pub noise: [u32; 4],
}

impl Hyper {
    /// As the kernel of the update takes them.
    fn rates(&self) -> [f32; 4] {
        [self.lr, self.momentum, self.weight_decay, 1.0]
    }
}
