//! The hyperparameters of one step.

use crate::random::{Draw, Stream};

/// The hyperparameters of one step of stochastic gradient descent with momentum.
///
/// ```
/// use ocelli::train::Hyper;
///
/// let hyper = Hyper { lr: 0.05, ..Hyper::default() }.with_noise(7, 120);
/// assert_ne!(hyper.noise, Hyper::default().with_noise(7, 121).noise);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyper {
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, which is added to the gradient of every parameter.
    pub weight_decay: f32,
    /// 1 minus the decay of the averages, if they are kept: `average += share * (w - average)`.
    pub average_share: f32,
    /// The seed of the dropout masks; a different one in each step.
    pub noise: [u32; 4],
}

impl Default for Hyper {
    /// A learning rate of 0.01, a momentum of 0.9, a weight decay of 1e-4, averages over 1000 steps.
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, weight_decay: 1e-4, average_share: 1e-3, noise: [0; 4] }
    }
}

impl Hyper {
    /// With the dropout masks of step `step` of a run with this seed. Only networks with dropout need it.
    #[must_use]
    pub fn with_noise(self, seed: u64, step: u64) -> Self {
        Self { noise: Draw::new(seed, Stream::Dropout, step as u32, 0).shader_key(), ..self }
    }

    /// The input of the update kernel.
    pub(super) fn rates(&self) -> [f32; 4] {
        [self.lr, self.momentum, self.weight_decay, 1.0]
    }
}
