//! What a value holds and how it lies in memory.

use std::fmt;

/// Rounds a number of channels up to whole `vec4`s.
pub fn pad4(n: usize) -> usize {
    n.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

/// What kind of thing a value is. It decides the layout in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Activations `(N, H, W, C)`, f32. C is padded to a multiple of 4 and the padding is zero.
    Image,
    /// Weights of a convolution `(R, S, C, K)`: kernel height and width, input channels of one group,
    /// output channels, f32. C and K are padded to multiples of 4 and the padding is zero.
    Filter,
    /// One number a channel `(C)`, f32, padded to a multiple of 4 with zeros.
    Vector,
    /// Class indices `(N)`, u32.
    Labels,
    /// Pictures `(N, H, W)` of 8-bit RGBA, one u32 a pixel, red in the lowest byte.
    Pixels,
    /// Nothing: the result of an operation that only updates its inputs.
    Nothing,
}

/// The layout and sizes of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    layout: Layout,
    dims: [usize; 4],
}

impl Shape {
    /// Activations of `n` pictures of `h` x `w` with `c` channels.
    pub const fn image(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { layout: Layout::Image, dims: [n, h, w, c] }
    }

    /// Weights of `k` filters of `r` x `s` over `c` channels.
    pub const fn filter(r: usize, s: usize, c: usize, k: usize) -> Self {
        Self { layout: Layout::Filter, dims: [r, s, c, k] }
    }

    /// One number for each of `c` channels.
    pub const fn vector(c: usize) -> Self {
        Self { layout: Layout::Vector, dims: [1, 1, 1, c] }
    }

    /// Class indices of `n` pictures.
    pub const fn labels(n: usize) -> Self {
        Self { layout: Layout::Labels, dims: [n, 1, 1, 1] }
    }

    /// `n` pictures of `h` x `w` 8-bit RGBA pixels.
    pub const fn pixels(n: usize, h: usize, w: usize) -> Self {
        Self { layout: Layout::Pixels, dims: [n, h, w, 1] }
    }

    /// No value at all.
    pub const fn nothing() -> Self {
        Self { layout: Layout::Nothing, dims: [0; 4] }
    }

    /// What kind of thing it is.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The four sizes, without padding; unused ones are 1.
    pub const fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// The same for a batch of `n` pictures.
    pub(crate) const fn with_images(self, n: usize) -> Self {
        let [_, h, w, c] = self.dims;
        Self { dims: [n, h, w, c], ..self }
    }

    /// The sizes as they lie in memory, with the padding.
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

    /// Bytes in memory, padding included (every layout has elements of 4 bytes). Saturates.
    pub fn bytes(&self) -> u64 {
        self.stored().map_or(u64::MAX, |n| (n as u64).saturating_mul(4))
    }

    /// Copies values without padding (in the order of [`Shape::dims`]) into the padded layout.
    pub fn pad(&self, dense: &[f32]) -> Vec<f32> {
        let [a, b, c, d] = self.dims;
        let [.., pc, pd] = self.padded();
        let mut out = vec![0.0; a * b * pc * pd];
        for (i, row) in dense.chunks_exact(d.max(1)).enumerate() {
            let at = ((i / c) * pc + i % c) * pd;
            out[at..at + d].copy_from_slice(row);
        }
        out
    }

    /// The reverse of [`Shape::pad`].
    pub fn unpad(&self, stored: &[f32]) -> Vec<f32> {
        let [a, b, c, d] = self.dims;
        let [.., pc, pd] = self.padded();
        let mut out = Vec::with_capacity(a * b * c * d);
        for i in 0..a * b * c {
            let at = ((i / c) * pc + i % c) * pd;
            out.extend_from_slice(&stored[at..at + d]);
        }
        out
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.dims;
        match self.layout {
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
    fn pad_and_unpad_are_inverse() {
        for shape in [Shape::image(2, 3, 1, 5), Shape::filter(2, 1, 3, 6), Shape::vector(7)] {
            let n = shape.elements().unwrap();
            let dense: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let stored = shape.pad(&dense);
            assert_eq!(stored.len() as u64 * 4, shape.bytes());
            assert_eq!(stored.iter().filter(|x| **x != 0.0).count(), n);
            assert_eq!(shape.unpad(&stored), dense);
        }
    }

    #[test]
    fn overflow_is_seen() {
        let shape = Shape::image(4_194_305, 4_194_305, 211_106_198_978_564, 1);
        assert_eq!(shape.elements(), None);
        assert_eq!(shape.bytes(), u64::MAX);
    }
}
