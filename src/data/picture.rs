//! A picture in memory.

use crate::error::{Error, Result};

/// A picture of 8-bit RGBA. Alpha is not used. The number of bytes always fits the size, and there is at least one pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    rgba: Vec<u8>,
}

impl Picture {
    /// A picture of `height * width * 4` bytes: red, green, blue and alpha of each pixel, row by row. Alpha is not used.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0 or the number of bytes does not fit the size.
    pub fn from_rgba(height: usize, width: usize, rgba: Vec<u8>) -> Result<Self> {
        check(height, width, 4, rgba.len())?;
        Ok(Self { height, width, rgba })
    }

    /// A picture of `height * width * 3` bytes: red, green and blue of each pixel, row by row.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0, the number of bytes does not fit the size, or the picture is too large.
    pub fn from_rgb(height: usize, width: usize, rgb: &[u8]) -> Result<Self> {
        check(height, width, 3, rgb.len())?;
        // `flat_map` would add the bytes one by one.
        let mut rgba = vec![255; height * width * 4];
        let pixels = rgba.as_chunks_mut::<4>().0.iter_mut().zip(rgb.as_chunks::<3>().0);
        pixels.for_each(|([r, g, b, _], from)| [*r, *g, *b] = *from);
        Self::from_rgba(height, width, rgba)
    }

    /// A picture of `height * width` bytes of grey, row by row. Red, green and blue become this value.
    ///
    /// # Errors
    /// [`Error::Data`] if a side is 0, the number of bytes does not fit the size, or the picture is too large.
    pub fn from_grey(height: usize, width: usize, grey: &[u8]) -> Result<Self> {
        check(height, width, 1, grey.len())?;
        Self::from_rgba(height, width, grey.iter().flat_map(|v| [*v, *v, *v, 255]).collect())
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The `height * width * 4` bytes of the pixels, row by row.
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// The bytes of the pixels, to change them.
    pub fn rgba_mut(&mut self) -> &mut [u8] {
        &mut self.rgba
    }

    /// The bytes of the pixels, without a copy.
    pub fn into_rgba(self) -> Vec<u8> {
        self.rgba
    }
}

/// Checks that a picture of this size has pixels and takes this number of bytes.
fn check(height: usize, width: usize, channels: usize, bytes: usize) -> Result<()> {
    if height == 0 || width == 0 {
        return Err(Error::data(format!("a picture of {height}x{width} has no pixels")));
    }
    let wanted = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
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
    fn grey_and_rgb_become_rgba() {
        let rgb = Picture::from_rgb(1, 2, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(rgb.rgba(), [1, 2, 3, 255, 4, 5, 6, 255]);
        let grey = Picture::from_grey(2, 1, &[7, 8]).unwrap();
        assert_eq!((grey.height(), grey.width(), grey.rgba()), (2, 1, &[7, 7, 7, 255, 8, 8, 8, 255][..]));
        for (height, width, bytes) in [(0, 3, 0), (1, 2, 5), (1, 2, 8), (usize::MAX, 2, 6)] {
            assert!(matches!(Picture::from_rgb(height, width, &vec![0; bytes]), Err(Error::Data(_))));
            assert!(matches!(Picture::from_grey(height, width, &vec![0; bytes]), Err(Error::Data(_))));
        }
        let says = Picture::from_rgb(1, 2, &[0; 5]).unwrap_err().to_string();
        assert_eq!(says, "a picture of 1x2 in 5 bytes; its size demands 6, 3 a pixel");
    }

    #[test]
    fn bytes_fit_the_size_or_there_is_no_picture() {
        let picture = Picture::from_rgba(2, 3, vec![7; 24]).unwrap();
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
            let made = Picture::from_rgba(height, width, vec![0; bytes]);
            assert!(matches!(made, Err(Error::Data(_))), "{height}x{width} in {bytes} bytes");
        }
    }
}
