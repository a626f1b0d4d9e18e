//! Ways to compute a product of a convolution, and the cache of those that were measured.

use super::problem::ConvProblem;
#[cfg(not(target_family = "wasm"))]
use super::problem::Pass;
use super::tiles::GemmKernel;
use super::winograd_tiles::WinogradTile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A way to compute a product, as an algorithm of cuDNN. Files keep the names that its members had first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// One implicit GEMM (forward, input gradient).
    #[serde(rename = "core")]
    Gemm(GemmKernel),
    /// An implicit GEMM whose depth, the pixels, is divided among workgroups (weight gradient).
    #[serde(rename = "split")]
    SplitK {
        /// The kernel.
        #[serde(rename = "core")]
        kernel: GemmKernel,
        /// Parts of the depth, whose partial sums are added in a fixed order.
        splits: u32,
        /// The most pixels that one call takes of each split; later calls add to what it has stored.
        #[serde(rename = "wave")]
        k_chunk: u32,
    },
    /// Winograd's algorithm (any of the three products of 3x3 filters and stride 1).
    #[serde(rename = "winograd")]
    Winograd {
        /// The block of the result that comes from one set of products.
        #[serde(rename = "block")]
        tile: WinogradTile,
    },
}

impl Algorithm {
    /// The kernel of the product itself; `None` of Winograd's algorithm, whose products are others.
    pub fn kernel(self) -> Option<GemmKernel> {
        match self {
            Self::Gemm(kernel) | Self::SplitK { kernel, .. } => Some(kernel),
            Self::Winograd { .. } => None,
        }
    }

    /// The algorithm that the others are compared with.
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

/// Algorithms that were measured, by problem; the heuristic chooses for all others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(ConvProblem, Algorithm)>", into = "Vec<(ConvProblem, Algorithm)>")]
pub struct AlgorithmCache(BTreeMap<ConvProblem, Algorithm>);

impl AlgorithmCache {
    /// The algorithm of a problem.
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
