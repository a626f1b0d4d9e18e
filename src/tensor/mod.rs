//! The values of a graph: their layouts, shapes and number formats.

mod shape;
mod value;

pub use shape::{Layout, Precision, Shape, pad4};
pub use value::Value;
