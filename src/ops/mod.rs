//! The operations, one file each: shape rule, gradient, recording of the kernels, multiply-adds.
//!
//! An operation X is `src/ops/X.rs`, `shaders/X.wgsl` and `tests/ops/X.rs`; only `linear` has no shader. These files
//! add methods to [`Graph`](crate::graph::Graph), for example [`Graph::conv2d`](crate::graph::Graph::conv2d).

mod add;
mod batch_norm;
mod clip_grad_norm;
mod concat;
mod conv2d;
mod dropout;
mod fill;
mod limit_rms;
mod linear;
mod loss_scale;
mod lrn;
mod moving_average;
mod param_group;
mod pool;
mod preprocess;
mod reduce;
mod relu;
mod reshape;
mod sgd;
mod sgd_multi_tensor;
mod slice;
mod softmax_cross_entropy;
mod ungroup;

pub use crate::graph::{LrnOptions, PoolOptions};
pub use crate::kernels::ConvOptions;
pub use batch_norm::Running;
pub use loss_scale::SMALLEST_EXPONENT;
pub(crate) use sgd::record as record_sgd;
pub(crate) use sgd_multi_tensor::{
    ArenaRange, MAX_GRADIENTS, MAX_TENSORS, is_usable as has_multi_tensor_sgd,
    record as record_multi_tensor_sgd,
};
