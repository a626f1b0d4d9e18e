//! The meaning of an axis of a tensor.

/// The meaning of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Channel,
    Row,
    Column,
    /// Rows and columns together.
    Pixel,
    /// None: the size is 1.
    One,
}

/// The axes of a map in ONNX.
pub(super) const MAP: &[Axis] = &[Axis::Channel, Axis::Row, Axis::Column];

/// The axes of a map in TensorFlow.
pub(super) const MAP_LAST: &[Axis] = &[Axis::Row, Axis::Column, Axis::Channel];
