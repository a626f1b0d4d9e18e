//! Dynamic loss scaling (Micikevicius et al., "Mixed Precision Training", 2018, section 3.2). The loss is multiplied by a scale, so
//! that f16 can hold small gradients of activations. A step is skipped if a scaled gradient is not finite.
//!
//! The scale is kept and changed on the GPU, see [`crate::graph::Graph::loss_scale`], so the next step need not wait for the host.

use crate::ops::SMALLEST_EXPONENT;

/// The state of dynamic loss scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossScale {
    /// The loss is multiplied by 2 to this power, which is exact.
    pub exponent: i32,
    /// Steps since the scale last changed.
    pub steps: u32,
    /// Steps of the whole run that were skipped because a gradient was not finite.
    pub skipped: u32,
    /// Steps that were skipped since the last one that was not.
    pub skipped_in_a_row: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { exponent: 16, steps: 0, skipped: 0, skipped_in_a_row: 0 }
    }
}

impl LossScale {
    /// The state as it is stored on the GPU.
    pub(super) fn stored(self) -> [f32; 4] {
        [self.exponent as f32, self.steps as f32, self.skipped as f32, self.skipped_in_a_row as f32]
    }

    /// The state that is stored on the GPU.
    pub(super) fn from_stored(stored: &[f32]) -> Option<Self> {
        let [exponent, steps, skipped, in_a_row] = *stored else { return None };
        Some(Self {
            exponent: exponent as i32,
            steps: steps as u32,
            skipped: skipped as u32,
            skipped_in_a_row: in_a_row as u32,
        })
    }

    /// Whether the last step was skipped.
    pub fn has_skipped(&self) -> bool {
        self.skipped_in_a_row > 0
    }

    /// Whether gradients overflow at the smallest scale: the training has diverged.
    pub fn is_lost(&self) -> bool {
        self.has_skipped() && self.exponent <= SMALLEST_EXPONENT
    }
}
