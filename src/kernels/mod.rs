//! The kernel layer that operations share: buffers without memory, dispatches as data, matrix products, epilogues.

mod buffer;
mod epilogue;
mod family;
pub(crate) mod fused_reduction;
mod fusion;
pub(crate) mod gemm;
mod map_grid;
mod options;
mod recorder;
pub(crate) mod shader;

/// The WGSL text of `flat`, which returns the index of an invocation of [`Recorder::flat`].
pub const FLAT: &str = include_str!("../../shaders/include/grid.wgsl");

pub use buffer::{Access, Batch, Buf, BufId, ChannelSlice, chunk_ranges};
pub use epilogue::{Epilogue, Stage, Update};
pub use family::KernelFamily;
pub use fused_reduction::{ChannelReduction, Partials, ReductionKind};
pub use fusion::{Fusion, Handover};
pub use gemm::{
    Algorithm, AlgorithmCache, ConvOptions, ConvProblem, GemmKernel, Pass, WinogradMode, WinogradTile,
};
pub(crate) use map_grid::{MapGrid, RowGrid};
pub use options::RecordOptions;
pub use recorder::{Dispatch, Recorder};
pub(crate) use recorder::{Recorded, SgdStep, fold};
