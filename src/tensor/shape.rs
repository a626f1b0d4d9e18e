//! The layout, shape and number format of a value in memory.

use crate::error::{Error, Result};
use half::f16;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Rounds a channel count up to a multiple of 4, the size of a `vec4`.
pub fn pad4(n: usize) -> usize {
    n.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

/// The number format of activations and their gradients in memory. It does not change the arithmetic, which is always
/// f32. Parameters, statistics, logits and losses are stored as f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision, 4 bytes a number.
    #[default]
    F32,
    /// Half precision, 2 bytes a number: 11 significant bits, up to 65504.
    F16,
}

impl Precision {
    /// The name of the type in WGSL.
    pub(crate) const fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

/// The kind of a value. It decides the layout in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Activations `(N, H, W, C)`, f32 or f16. C is padded to a multiple of 4 and the padding is zero.
    Image,
    /// Weights of a convolution `(R, S, C, K)`, f32: kernel height and width, input channels of one group, output
    /// channels. C and K are padded to multiples of 4 and the padding is zero.
    Filter,
    /// One number for each channel, `(C)`, f32. C is padded to a multiple of 4 and the padding is zero.
    Vector,
    /// Class indices `(N)`, u32.
    Labels,
    /// Images `(N, H, W)` of 8-bit RGBA pixels, one u32 a pixel, red in the lowest byte.
    Pixels,
    /// No content: the result of an operation that only updates its inputs.
    Nothing,
}

/// The layout and the four sizes of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    layout: Layout,
    dims: [usize; 4],
    precision: Precision,
}

impl Shape {
    const fn of(layout: Layout, dims: [usize; 4]) -> Self {
        Self { layout, dims, precision: Precision::F32 }
    }

    /// Activations of `n` images of `h` x `w` pixels with `c` channels, f32.
    pub const fn image(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self::of(Layout::Image, [n, h, w, c])
    }

    /// Weights of `k` filters of `r` x `s` over `c` channels.
    pub const fn filter(r: usize, s: usize, c: usize, k: usize) -> Self {
        Self::of(Layout::Filter, [r, s, c, k])
    }

    /// One number for each of `c` channels.
    pub const fn vector(c: usize) -> Self {
        Self::of(Layout::Vector, [1, 1, 1, c])
    }

    /// Class indices of `n` images.
    pub const fn labels(n: usize) -> Self {
        Self::of(Layout::Labels, [n, 1, 1, 1])
    }

    /// `n` images of `h` x `w` 8-bit RGBA pixels.
    pub const fn pixels(n: usize, h: usize, w: usize) -> Self {
        Self::of(Layout::Pixels, [n, h, w, 1])
    }

    /// The shape of an operation without a result.
    pub const fn nothing() -> Self {
        Self::of(Layout::Nothing, [0; 4])
    }

    /// The kind of the value.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The four sizes, without padding; unused ones are 1.
    pub const fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Returns the shape with another number format. Only activations have a choice; other shapes do not change.
    #[must_use]
    pub const fn stored_as(self, precision: Precision) -> Self {
        match self.layout {
            Layout::Image => Self { precision, ..self },
            _ => self,
        }
    }

    /// The number format in memory.
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// The size of one number in bytes.
    pub(crate) const fn number_bytes(&self) -> u64 {
        match self.precision {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    /// Returns the shape with a batch of `n` images.
    pub(crate) const fn with_images(self, n: usize) -> Self {
        let [_, h, w, c] = self.dims;
        Self { dims: [n, h, w, c], ..self }
    }

    /// The four sizes in memory, with padding.
    pub fn padded(&self) -> [usize; 4] {
        let [a, b, c, d] = self.dims;
        match self.layout {
            Layout::Image | Layout::Vector => [a, b, c, pad4(d)],
            Layout::Filter => [a, b, pad4(c), pad4(d)],
            Layout::Labels | Layout::Pixels | Layout::Nothing => self.dims,
        }
    }

    /// The number of elements without padding; `None` if it overflows.
    pub fn elements(&self) -> Option<usize> {
        self.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// The number of elements in memory, padding included; `None` if it overflows.
    pub fn stored(&self) -> Option<usize> {
        self.padded().iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// The size in memory in bytes, padding included; `u64::MAX` if it overflows.
    pub fn bytes(&self) -> u64 {
        self.stored().map_or(u64::MAX, |n| (n as u64).saturating_mul(self.number_bytes()))
    }

    /// Converts numbers to their bytes in memory. f16 rounds to the nearest value that it can represent.
    pub fn encode(&self, numbers: &[f32]) -> Vec<u8> {
        match self.precision {
            Precision::F32 => bytemuck::cast_slice(numbers).to_vec(),
            Precision::F16 => numbers.iter().flat_map(|x| f16::from_f32(*x).to_ne_bytes()).collect(),
        }
    }

    /// Converts bytes in memory to numbers: the inverse of [`Shape::encode`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of bytes is not that of the shape.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        self.fits("bytes", bytes.len(), usize::try_from(self.bytes()).ok())?;
        Ok(match self.precision {
            Precision::F32 => bytemuck::pod_collect_to_vec(bytes),
            Precision::F16 => {
                bytes.chunks_exact(2).map(|b| f16::from_ne_bytes([b[0], b[1]]).to_f32()).collect()
            }
        })
    }

    /// Copies values without padding, in the order of [`Shape::dims`], into the padded layout.
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of values is not that of the shape.
    pub fn pad(&self, dense: &[f32]) -> Result<Vec<f32>> {
        self.fits("numbers without padding", dense.len(), self.elements())?;
        let stored = self.stored().ok_or_else(|| self.too_large())?;
        let [.., c, d] = self.dims;
        let [.., pc, pd] = self.padded();
        let mut out = vec![0.0; stored];
        for (i, row) in dense.chunks_exact(d.max(1)).enumerate() {
            let at = ((i / c) * pc + i % c) * pd;
            out[at..at + d].copy_from_slice(row);
        }
        Ok(out)
    }

    /// Removes the padding: the inverse of [`Shape::pad`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the number of values is not that of the padded shape.
    pub fn unpad(&self, stored: &[f32]) -> Result<Vec<f32>> {
        self.fits("numbers with padding", stored.len(), self.stored())?;
        let [a, b, c, d] = self.dims;
        let [.., pc, pd] = self.padded();
        let mut out = Vec::with_capacity(self.elements().ok_or_else(|| self.too_large())?);
        for i in 0..a * b * c {
            let at = ((i / c) * pc + i % c) * pd;
            out.extend_from_slice(&stored[at..at + d]);
        }
        Ok(out)
    }

    fn fits(&self, what: &str, given: usize, wanted: Option<usize>) -> Result<()> {
        match wanted {
            Some(wanted) if wanted == given => Ok(()),
            Some(wanted) => Err(Error::usage(format!("{given} {what} for {self:?}, which has {wanted}"))),
            None => Err(self.too_large()),
        }
    }

    fn too_large(&self) -> Error {
        Error::usage(format!("{self:?} has more numbers than there can be"))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.dims;
        match self.layout {
            Layout::Image if self.precision == Precision::F16 => write!(f, "{a}x{b}x{c}x{d} f16"),
            Layout::Image | Layout::Filter => write!(f, "{a}x{b}x{c}x{d}"),
            Layout::Vector => write!(f, "{d}"),
            Layout::Labels => write!(f, "{a}"),
            Layout::Pixels => write!(f, "{a}x{b}x{c}"),
            Layout::Nothing => f.write_str("-"),
        }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_takes_half_the_bytes_and_only_activations_have_it() {
        let half = |shape: Shape| shape.stored_as(Precision::F16);
        let image = Shape::image(2, 3, 1, 5);
        assert_eq!(half(image).bytes() * 2, image.bytes());
        assert_ne!(half(image), image);
        for shape in [Shape::filter(2, 1, 3, 6), Shape::vector(7), Shape::labels(3), Shape::pixels(1, 2, 3)] {
            assert_eq!(half(shape), shape);
        }
        // f16 rounds to eleven significant bits, ties to even; larger numbers become infinite.
        let shape = Shape::image(2, 1, 1, 4);
        let numbers = [1.0, -0.1, 2049.0, 2051.0, 65504.0, 65520.0, 5.97e-8, 0.0];
        let kept = [1.0, -0.099_975_586, 2048.0, 2052.0, 65504.0, f32::INFINITY, 5.960_464_5e-8, 0.0];
        assert_eq!(half(shape).decode(&half(shape).encode(&numbers)).unwrap(), kept);
        assert_eq!(shape.decode(&shape.encode(&numbers)).unwrap(), numbers);
    }

    #[test]
    fn pad_and_unpad_are_inverse() {
        for shape in [Shape::image(2, 3, 1, 5), Shape::filter(2, 1, 3, 6), Shape::vector(7)] {
            let n = shape.elements().unwrap();
            let dense: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let stored = shape.pad(&dense).unwrap();
            assert_eq!(stored.len() as u64 * 4, shape.bytes());
            assert_eq!(stored.iter().filter(|x| **x != 0.0).count(), n);
            assert_eq!(shape.unpad(&stored).unwrap(), dense);
        }
    }

    #[test]
    fn overflow_is_seen() {
        let shape = Shape::image(4_194_305, 4_194_305, 211_106_198_978_564, 1);
        assert_eq!(shape.elements(), None);
        assert_eq!(shape.bytes(), u64::MAX);
    }
}
