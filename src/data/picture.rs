//! A picture in memory, wherever it came from.

/// A picture of 8-bit RGBA; alpha is always 255.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `height * width * 4` bytes, row by row.
    pub rgba: Vec<u8>,
}
