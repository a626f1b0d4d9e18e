//! The part of a network that training leaves as it is.

use super::Parameter;
use std::collections::BTreeSet;

/// The part of a network that training leaves as it is, in fine-tuning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Names of the tensors that get no gradient. A batch norm with one of them uses its running statistics and keeps them.
    pub tensors: BTreeSet<String>,
    /// Whether every batch norm uses its running statistics and keeps them. Its scale and shift are trained nevertheless.
    pub statistics: bool,
}

impl Frozen {
    /// Whether a tensor gets no gradient.
    pub(super) fn has(&self, parameter: &Parameter) -> bool {
        self.tensors.contains(&parameter.name)
    }

    /// Whether the batch norm of this layer keeps its running statistics.
    pub(super) fn keeps_statistics(&self, layer: &str) -> bool {
        self.statistics
            || ["weight", "bias"].iter().any(|part| self.tensors.contains(&format!("{layer}.{part}")))
    }
}
