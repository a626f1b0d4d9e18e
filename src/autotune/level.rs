//! The tuning level: how much the tuner measures.

use serde::{Deserialize, Serialize};

/// How much the tuner measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tune {
    /// Nothing is measured. The built-in heuristic selects the algorithms.
    #[default]
    Off,
    /// The heuristic's algorithm, and the two that are the most likely to beat it.
    Quick,
    /// All candidates, at most eight.
    Full,
}

impl Tune {
    /// The most candidates that are measured for a product.
    pub(super) fn candidates(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Quick => 3,
            Self::Full => usize::MAX,
        }
    }

    /// The least run time of a measurement in milliseconds. A batch smaller than the network's is used if it takes that
    /// long.
    pub(super) fn long_enough_ms(self) -> f64 {
        match self {
            Self::Off | Self::Quick => 5.0,
            Self::Full => 25.0,
        }
    }
}
