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
        check(height, width, rgba.len(), 4)?;
        Ok(Self { height, width, rgba })
    }

    /// A picture of `height * width * 3` bytes of red, green and blue, row by row.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0 or there are more or fewer bytes than its size demands.
    pub fn from_rgb(height: usize, width: usize, rgb: &[u8]) -> Result<Self> {
        Self::of_channels(height, width, rgb, 3, |pixel| match *pixel {
            [r, g, b] => [r, g, b, 255],
            _ => [0; 4],
        })
    }

    /// A grey picture of `height * width` bytes, row by row.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0 or there are more or fewer bytes than its size demands.
    pub fn from_grey(height: usize, width: usize, grey: &[u8]) -> Result<Self> {
        Self::of_channels(height, width, grey, 1, |pixel| match *pixel {
            [y] => [y, y, y, 255],
            _ => [0; 4],
        })
    }

    fn of_channels(
        height: usize,
        width: usize,
        bytes: &[u8],
        channels: usize,
        rgba: impl Fn(&[u8]) -> [u8; 4],
    ) -> Result<Self> {
        check(height, width, bytes.len(), channels)?;
        Ok(Self { height, width, rgba: bytes.chunks_exact(channels).flat_map(rgba).collect() })
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

/// Checks that so many bytes are a picture of this size.
fn check(height: usize, width: usize, bytes: usize, channels: usize) -> Result<()> {
    let wanted = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
    if height == 0 || width == 0 {
        return Err(Error::data(format!("a picture of {height}x{width} has no pixels")));
    }
    if wanted != Some(bytes) {
        let wanted = wanted.map_or_else(|| "more than there can be".to_owned(), |n| n.to_string());
        return Err(Error::data(format!(
            "a picture of {height}x{width} in {bytes} bytes; its size demands {wanted}, {channels} a pixel"
        )));
    }
    Ok(())
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

    #[test]
    fn rgb_and_grey_become_rgba() {
        let rgb = Picture::from_rgb(1, 2, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!((rgb.height(), rgb.width(), rgb.rgba()), (1, 2, &[1, 2, 3, 255, 4, 5, 6, 255][..]));
        let grey = Picture::from_grey(2, 1, &[7, 8]).unwrap();
        assert_eq!((grey.height(), grey.width(), grey.rgba()), (2, 1, &[7, 7, 7, 255, 8, 8, 8, 255][..]));
        for (height, width, bytes) in [(1, 2, 5), (1, 2, 8), (0, 2, 0), (usize::MAX, 1, 3)] {
            assert!(matches!(Picture::from_rgb(height, width, &vec![0; bytes]), Err(Error::Data(_))));
            assert!(matches!(Picture::from_grey(height, width, &vec![0; bytes]), Err(Error::Data(_))));
        }
    }
}
