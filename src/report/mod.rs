//! Pages about training runs: one HTML file without scripts, that loads nothing.

mod chart;
#[cfg(feature = "cli")]
mod compare;
mod confusion;
mod html;
mod image;
mod page;
mod table;

#[cfg(feature = "cli")]
pub use compare::{Run, compare};
pub use confusion::Confusion;
pub use image::Sheet;
pub use page::{Example, RunPage};
pub use table::Metrics;
