//! What a value of a graph is: its layout, its sizes and how its numbers lie in memory.

mod shape;
mod value;

pub use shape::{Layout, Precision, Shape, pad4};
pub use value::Value;
