#![deny(unsafe_code)]
pub mod error;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod ops;
pub mod plan;
pub mod random;
#[cfg(feature = "train")]
pub mod train;
