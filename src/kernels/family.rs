//! The family of GEMM kernels for each kind of adapter.

use crate::gpu::{AdapterInfo, AdapterKind};

/// The GEMM kernels that the heuristic selects for convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelFamily {
    /// Kernels with tiles in workgroup memory, for GPUs.
    Tiled,
    /// Kernels without workgroup memory and barriers, for adapters that compute on a processor.
    Direct,
    /// Like `Direct`, for adapters with subgroups of eight lanes ([`KernelFamily::SUBGROUP_LANES`]). The lanes share
    /// their loads.
    Subgroup,
}

impl KernelFamily {
    /// The subgroup size that [`KernelFamily::Subgroup`] requires.
    pub const SUBGROUP_LANES: u32 = 8;

    /// The family for an adapter.
    pub fn for_adapter(info: &AdapterInfo) -> Self {
        match info.kind {
            AdapterKind::Cpu if info.subgroup_sizes == Some([Self::SUBGROUP_LANES; 2]) => Self::Subgroup,
            AdapterKind::Cpu => Self::Direct,
            _ => Self::Tiled,
        }
    }
}
