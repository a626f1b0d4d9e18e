//! The inputs of a plan besides the graph.

use super::watchdog;
use crate::gpu::{Gpu, Limits};
use crate::kernels::{AlgorithmCache, KernelFamily, RecordOptions, WinogradMode};
use std::sync::Arc;

/// The inputs of a plan besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// The selection of kernels, and the adapter's limits.
    pub record: RecordOptions,
}

impl PlanOptions {
    /// The default options for a device.
    pub fn for_gpu(gpu: &Gpu) -> Self {
        let mut options = Self::new(KernelFamily::for_adapter(gpu.info()), gpu.limits());
        options.record.call_macs = watchdog::call_macs(gpu.info().kind);
        options.record.cooperative = gpu.info().cooperative;
        options
    }

    /// The default options for a kernel family and given limits.
    pub fn new(family: KernelFamily, limits: Limits) -> Self {
        let busy_workgroups = match family {
            // One workgroup for each thread that llvmpipe uses at most. Twice as many gave weight gradients more sums
            // to add and no speed.
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
                cooperative: None,
                multi_tensor_sgd: true,
                largest_tile: u32::MAX,
                algorithms: Arc::default(),
            },
        }
    }

    /// Limits the tile that the heuristic selects on processors, in `vec4`s of the result. Smaller tiles compile
    /// faster.
    #[must_use]
    pub fn with_largest_tile(mut self, tile: u32) -> Self {
        self.record.largest_tile = tile;
        self
    }

    /// Gives each tensor its own buffer and its own SGD dispatch. A second plan needs it to update the states of
    /// another plan's session.
    #[must_use]
    pub fn with_separate_sgd(mut self) -> Self {
        self.record.multi_tensor_sgd = false;
        self
    }

    /// Uses measured algorithms. The heuristic selects the algorithm of other problems.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: AlgorithmCache) -> Self {
        self.record.algorithms = Arc::new(algorithms);
        self
    }
}
