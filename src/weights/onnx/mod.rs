//! ONNX files: messages, and the limits within which they are read.

pub mod proto;
