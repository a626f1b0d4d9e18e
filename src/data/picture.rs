//! A picture in memory, wherever it came from.

use crate::error::{Error, Result};

/// A picture of 8-bit RGBA; alpha is not used. Its bytes always fit its size, and it has at least one pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    rgba: Vec<u8>,
}

impl Picture {
    /// A picture of `height * width * 4` bytes of red, green, blue and alpha, row by row. Alpha is not used.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0 or there are more or fewer bytes than its size demands.
    pub fn new(height: usize, width: usize, rgba: Vec<u8>) -> Result<Self> {
        let wanted = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(4));
        if height == 0 || width == 0 {
            return Err(Error::data(format!("a picture of {height}x{width} has no pixels")));
        }
        if wanted != Some(rgba.len()) {
            let wanted = wanted.map_or_else(|| "more than there can be".to_owned(), |n| n.to_string());
            return Err(Error::data(format!(
                "a picture of {height}x{width} in {} bytes; its size demands {wanted}, 4 a pixel",
                rgba.len()
            )));
        }
        Ok(Self { height, width, rgba })
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `height * width * 4` bytes, row by row.
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// The same bytes, to change them.
    pub fn rgba_mut(&mut self) -> &mut [u8] {
        &mut self.rgba
    }

    /// The same bytes without a copy.
    pub fn into_rgba(self) -> Vec<u8> {
        self.rgba
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_fit_the_size_or_there_is_no_picture() {
        let picture = Picture::new(2, 3, vec![7; 24]).unwrap();
        assert_eq!((picture.height(), picture.width(), picture.rgba()), (2, 3, &[7; 24][..]));
        for (height, width, bytes) in [
            (2, 3, 23),
            (2, 3, 25),
            (2, 3, 48),
            (2, 3, 0),
            (0, 3, 0),
            (3, 0, 0),
            (0, 0, 0),
            (usize::MAX, 2, 7),
            (usize::MAX / 2 + 1, 2, 0),
        ] {
            let made = Picture::new(height, width, vec![0; bytes]);
            assert!(matches!(made, Err(Error::Data(_))), "{height}x{width} in {bytes} bytes");
        }
    }
}
