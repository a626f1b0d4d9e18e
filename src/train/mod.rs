//! Training: the step, the schedule, the loop, checkpoints.

mod bench;
mod step;

pub use bench::{BenchMode, Measurement, measure};
pub use step::{EvaluationStep, Outcome, Trained, TrainingGraph, TrainingStep};

/// The numbers of one step of stochastic gradient descent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, added to the gradient of every parameter.
    pub weight_decay: f32,
}
