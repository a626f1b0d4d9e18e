//! Networks and weights of others: what a file holds in terms of the networks here, and the reverse.

pub mod onnx_in;
