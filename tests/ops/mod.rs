//! Every operation against its f64 twin, on the adapter of this machine.

mod add;
mod batch_norm;
mod column;
mod concat;
mod conv2d;
mod dropout;
mod fill;
mod guard;
pub mod harness;
mod limit_rms;
mod linear;
mod lrn;
mod pool;
mod preprocess;
mod reduce;
mod relu;
mod reshape;
mod sgd;
mod sgd_together;
mod slice;
mod softmax_cross_entropy;
mod ungroup;
mod winograd;
