//! ONNX files: messages, and the limits within which they are read.

mod external;
mod file;
mod limits;
pub mod proto;
mod stored;

pub use file::{File, is_onnx};
pub use stored::Stored;
