//! What operations share, by itself: fused reductions and Winograd's algorithm.

mod fused_reduction;
mod winograd;
