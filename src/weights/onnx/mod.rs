//! ONNX files: messages, and the limits within which they are read.

pub mod proto;

/// Whether a file that begins so may be an ONNX model.
pub fn is_onnx(start: &[u8]) -> bool {
    // The first field of the message, the version of the format as a varint: 1 to 2 digits so far.
    matches!(start, [0x08, 1..=64, ..])
}
