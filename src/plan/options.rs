//! What a plan depends on besides the graph.

use super::watchdog;
use crate::gpu::{Gpu, Limits};
use crate::kernels::{AlgorithmCache, KernelFamily, RecordOptions, WinogradMode};
use std::sync::Arc;

/// What a plan depends on besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which kernels to use, and the adapter's limits.
    pub record: RecordOptions,
}

impl PlanOptions {
    /// What suits a device.
    pub fn for_gpu(gpu: &Gpu) -> Self {
        let mut options = Self::new(KernelFamily::for_adapter(gpu.info()), gpu.limits());
        options.record.call_macs = watchdog::call_macs(gpu.info().kind);
        options
    }

    /// A kernel family under given limits.
    pub fn new(family: KernelFamily, limits: Limits) -> Self {
        let busy_workgroups = match family {
            // One for each thread that llvmpipe uses at most; twice as many gave weight gradients more sums to add, for nothing.
            KernelFamily::Direct | KernelFamily::Subgroup => 32,
            KernelFamily::Tiled => 1024,
        };
        Self {
            record: RecordOptions {
                family,
                limits,
                busy_workgroups,
                call_macs: u64::MAX,
                winograd: WinogradMode::Auto,
                multi_tensor_sgd: true,
                largest_tile: u32::MAX,
                algorithms: Arc::default(),
            },
        }
    }

    /// With tiles of so many `vec4`s at most where the heuristic chooses, on processors: the smaller they are, the sooner they are
    /// compiled.
    #[must_use]
    pub fn with_largest_tile(mut self, tile: u32) -> Self {
        self.record.largest_tile = tile;
        self
    }

    /// With a buffer and a call of SGD for each tensor: for a second plan that takes steps on the states of a session of another one.
    #[must_use]
    pub fn with_separate_sgd(mut self) -> Self {
        self.record.multi_tensor_sgd = false;
        self
    }

    /// With algorithms that were measured; the heuristic chooses the others.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: AlgorithmCache) -> Self {
        self.record.algorithms = Arc::new(algorithms);
        self
    }
}
