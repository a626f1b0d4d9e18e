//! The kernels that suit an adapter.

use crate::gpu::{AdapterInfo, AdapterKind};

/// Which GEMM kernels compute convolutions where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelFamily {
    /// Tiles in workgroup memory: for GPUs.
    Tiled,
    /// No workgroup memory and no barriers: for adapters that compute on a processor.
    Direct,
    /// As `Direct`, for adapters whose subgroups have eight lanes ([`KernelFamily::SUBGROUP_LANES`]): they share what they load.
    Subgroup,
}

impl KernelFamily {
    /// The one size of subgroups that [`KernelFamily::Subgroup`] works with.
    pub const SUBGROUP_LANES: u32 = 8;

    /// The family that suits an adapter.
    pub fn for_adapter(info: &AdapterInfo) -> Self {
        match info.kind {
            AdapterKind::Cpu if info.subgroup_sizes == Some([Self::SUBGROUP_LANES; 2]) => Self::Subgroup,
            AdapterKind::Cpu => Self::Direct,
            _ => Self::Tiled,
        }
    }
}
