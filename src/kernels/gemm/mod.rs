//! Matrix products: the three products of a convolution as implicit GEMM or by Winograd's algorithm.

mod algorithm;
#[cfg(not(target_family = "wasm"))]
mod candidates;
pub(crate) mod dispatch;
pub(crate) mod excluded;
mod heuristic;
mod problem;
pub(crate) mod tiles;
pub(crate) mod winograd;
pub(crate) mod winograd_tiles;

pub use algorithm::{Algorithm, AlgorithmCache};
pub use problem::{ConvOptions, ConvProblem, Pass};
pub use tiles::GemmKernel;
pub use winograd_tiles::{WinogradMode, WinogradTile};
