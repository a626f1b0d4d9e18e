//! Every operation against its reference implementation in f64, on the adapter of this machine.

mod add;
mod batch_norm;
mod clip_grad_norm;
mod concat;
mod conv2d;
mod dropout;
mod fill;
pub mod harness;
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
