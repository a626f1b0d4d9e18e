//! Pages about training runs: one HTML file without scripts, that loads nothing. Figures as PNG files, and a page of them.

#[cfg(feature = "cli")]
mod canvas;
mod chart;
#[cfg(feature = "cli")]
mod compare;
mod confusion;
#[cfg(feature = "cli")]
mod figure;
#[cfg(feature = "cli")]
mod gallery;
mod html;
mod image;
mod page;
mod table;

#[cfg(feature = "cli")]
pub use compare::{Run, compare};
pub use confusion::Confusion;
#[cfg(feature = "cli")]
pub use figure::{ColourBar, Figure, Panel, Png};
#[cfg(feature = "cli")]
pub use gallery::{Gallery, Shown};
pub use image::Sheet;
pub use page::{Example, RunPage};
pub use table::Metrics;
