//! Kernels that operations share: fused reductions and Winograd's algorithm.

mod fused_reduction;
mod winograd;
