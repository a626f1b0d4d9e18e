//! The algorithms of a convolution's matrix products, and the cache of those that were measured.

use super::problem::ConvProblem;
#[cfg(not(target_family = "wasm"))]
use super::problem::Pass;
use super::tiles::GemmKernel;
use super::winograd_tiles::WinogradTile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An algorithm of a matrix product, like an algorithm of cuDNN. The serialised names are older than the variants'
/// names; they are kept so that existing files stay readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// One implicit GEMM (forward, input gradient).
    #[serde(rename = "core")]
    Gemm(GemmKernel),
    /// An implicit GEMM with split-K: its depth, the pixels, is divided among workgroups (weight gradient).
    #[serde(rename = "split")]
    SplitK {
        /// The kernel.
        #[serde(rename = "core")]
        kernel: GemmKernel,
        /// The number of parts of the depth. Their partial sums are added in a fixed order.
        splits: u32,
        /// The most pixels of each split that one dispatch reads. Later dispatches add to the sums that it has stored.
        #[serde(rename = "wave")]
        k_chunk: u32,
    },
    /// Winograd's algorithm, for each of the three products of a convolution with 3x3 filters and stride 1.
    #[serde(rename = "winograd")]
    Winograd {
        /// The tile of the result that one set of products computes.
        #[serde(rename = "block")]
        tile: WinogradTile,
    },
}

impl Algorithm {
    /// The GEMM kernel; `None` for Winograd's algorithm, whose GEMMs are other problems.
    pub fn kernel(self) -> Option<GemmKernel> {
        match self {
            Self::Gemm(kernel) | Self::SplitK { kernel, .. } => Some(kernel),
            Self::Winograd { .. } => None,
        }
    }

    /// The algorithm that the results of the others are compared with.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn reference(pass: Pass) -> Self {
        let kernel = GemmKernel::REFERENCE;
        match pass {
            Pass::Forward | Pass::InputGrad => Self::Gemm(kernel),
            Pass::WeightGrad => Self::SplitK { kernel, splits: 1, k_chunk: u32::MAX },
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gemm(kernel) => write!(f, "{kernel}"),
            Self::SplitK { kernel, splits, k_chunk: u32::MAX } => write!(f, "{kernel} in {splits}"),
            Self::SplitK { kernel, splits, k_chunk } => write!(f, "{kernel} in {splits} by {k_chunk}"),
            Self::Winograd { tile } => write!(f, "{tile}"),
        }
    }
}

/// The measured algorithms by problem. The heuristic selects the algorithm of all other problems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(ConvProblem, Algorithm)>", into = "Vec<(ConvProblem, Algorithm)>")]
pub struct AlgorithmCache(BTreeMap<ConvProblem, Algorithm>);

impl AlgorithmCache {
    /// The algorithm of a problem, if it was measured.
    pub fn get(&self, problem: &ConvProblem) -> Option<Algorithm> {
        self.0.get(problem).copied()
    }

    /// Sets the algorithm of a problem.
    pub fn insert(&mut self, problem: ConvProblem, algorithm: Algorithm) {
        self.0.insert(problem, algorithm);
    }

    /// All entries in the order of the problems.
    pub fn iter(&self) -> impl Iterator<Item = (&ConvProblem, &Algorithm)> {
        self.0.iter()
    }
}

impl From<Vec<(ConvProblem, Algorithm)>> for AlgorithmCache {
    fn from(list: Vec<(ConvProblem, Algorithm)>) -> Self {
        Self(list.into_iter().collect())
    }
}

impl From<AlgorithmCache> for Vec<(ConvProblem, Algorithm)> {
    fn from(cache: AlgorithmCache) -> Self {
        cache.0.into_iter().collect()
    }
}
