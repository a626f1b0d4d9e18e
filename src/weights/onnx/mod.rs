//! ONNX files: the protocol buffer messages, and the limits that a file must keep.

mod external;
mod file;
mod limits;
pub mod proto;
mod stored;

pub use file::{File, ReadOptions, is_onnx};
pub use stored::Stored;
