//! Dynamic loss scaling: gradients of activations are made larger so that f16 can hold the small ones, and a step is skipped if
//! that made the large ones infinite (Micikevicius et al., "Mixed Precision Training", 2018, section 3.2).
//!
//! The scale lives and changes on the GPU, see [`crate::graph::Graph::guard`]: the next step need not wait for the host.

use crate::ops::SMALLEST_EXPONENT;

/// What the loss is multiplied by, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossScale {
    /// The factor is 2 to this power, so that it rounds nothing.
    pub exponent: i32,
    /// Steps since it last changed.
    pub steps: u32,
    /// Steps of the whole run that were skipped because a gradient was not finite.
    pub skipped: u32,
    /// Those of them that were the last ones.
    pub skipped_in_a_row: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { exponent: 16, steps: 0, skipped: 0, skipped_in_a_row: 0 }
    }
}

impl LossScale {
    /// As the GPU has it.
    pub(super) fn stored(self) -> [f32; 4] {
        [self.exponent as f32, self.steps as f32, self.skipped as f32, self.skipped_in_a_row as f32]
    }

    /// The reverse.
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

    /// Whether gradients overflow that no scale could help: the training has diverged.
    pub fn is_lost(&self) -> bool {
        self.has_skipped() && self.exponent <= SMALLEST_EXPONENT
    }
}
