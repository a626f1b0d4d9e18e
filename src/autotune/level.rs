//! How much the tuner measures.

use serde::{Deserialize, Serialize};

/// How much is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tune {
    /// Nothing: the built-in heuristic chooses.
    #[default]
    Off,
    /// The heuristic's algorithm and the two that are most likely to beat it.
    Quick,
    /// All candidates, at most eight.
    Full,
}

impl Tune {
    /// Candidates of a product that are measured.
    pub(super) fn candidates(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Quick => 3,
            Self::Full => usize::MAX,
        }
    }

    /// Milliseconds that a product must take: with a smaller batch than that of the network, if that is enough.
    pub(super) fn long_enough_ms(self) -> f64 {
        match self {
            Self::Off | Self::Quick => 5.0,
            Self::Full => 25.0,
        }
    }
}
