//! Measurements of the adapter: the fastest algorithm for each problem, and the roofline.

pub(crate) mod adapter_file;
mod cache;
pub(crate) mod error_bound;
mod level;
mod microbench;
mod roofline;
mod tuner;

pub use cache::cache_folder;
pub use level::Tune;
pub use roofline::Roofline;
pub use tuner::{Measured, Notice, Tuner};
