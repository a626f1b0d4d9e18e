//! Measurements of the adapter: which algorithm is the fastest for each problem, and what it can do at best.

mod cache;
mod level;
mod microbench;
mod roofline;
mod tuner;

pub use cache::cache_folder;
pub use level::Tune;
pub use roofline::Roofline;
pub use tuner::{Measured, Notice, Tuner};
