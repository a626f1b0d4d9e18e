//! What a recording depends on besides the graph.

use super::KernelFamily;
use super::gemm::{AlgorithmCache, WinogradMode};
use crate::gpu::Limits;
use std::sync::Arc;

/// What a recording depends on besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOptions {
    /// The GEMM kernels.
    pub family: KernelFamily,
    /// The adapter's limits.
    pub limits: Limits,
    /// Workgroups that keep the adapter busy; a weight gradient with fewer splits its depth.
    pub busy_workgroups: u32,
    /// The most multiply-adds of one call: an operation with more is recorded some pictures at a time.
    pub call_macs: u64,
    /// Algorithms that were measured; the heuristic chooses for other problems.
    pub algorithms: Arc<AlgorithmCache>,
    /// Which convolutions may be computed by Winograd's algorithm.
    pub winograd: WinogradMode,
    /// Whether small tensors share a buffer and one call of SGD (multi-tensor apply).
    pub multi_tensor_sgd: bool,
    /// The most `vec4`s of a product that the heuristic gives a lane of [`super::GemmKernel::Direct`] to compute, where so small a tile can
    /// compute it: the gradient of weights has four rows at least.
    pub largest_tile: u32,
}
