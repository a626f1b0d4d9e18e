#![deny(unsafe_code)]
#[cfg(feature = "train")]
pub mod classifier;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod error;
pub mod gpu;
pub mod graph;
pub mod models;
pub mod ops;
pub mod plan;
pub mod random;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;
