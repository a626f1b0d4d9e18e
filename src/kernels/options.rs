//! The inputs of a recording besides the graph.

use super::KernelFamily;
use super::gemm::{AlgorithmCache, WinogradMode};
use crate::gpu::{Excluded, Limits};
use std::sync::Arc;

/// The inputs of a recording besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOptions {
    /// The family of GEMM kernels.
    pub family: KernelFamily,
    /// The adapter's limits.
    pub limits: Limits,
    /// The number of workgroups that keep the adapter busy. A weight gradient with fewer workgroups uses split-K.
    pub busy_workgroups: u32,
    /// The most multiply-adds of one dispatch. An operation with more is recorded for ranges of images.
    pub call_macs: u64,
    /// The measured algorithms. The heuristic selects the algorithm of other problems.
    pub algorithms: Arc<AlgorithmCache>,
    /// The kernels that compute wrongly on the adapter. No plan uses them.
    pub excluded: Arc<Excluded>,
    /// Which convolutions may use Winograd's algorithm.
    pub winograd: WinogradMode,
    /// The adapter's largest subgroup, if it has cooperative matrices of 16x16x16 with half-precision operands and
    /// single-precision sums.
    pub cooperative: Option<u32>,
    /// Whether small tensors share a buffer and one SGD dispatch (multi-tensor apply).
    pub multi_tensor_sgd: bool,
    /// The largest tile of a lane of [`super::GemmKernel::Direct`] that the heuristic selects, in `vec4`s of the
    /// result. A weight gradient needs at least four rows.
    pub largest_tile: u32,
}
