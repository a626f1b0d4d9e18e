//! Pictures within a page, as data URIs.

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};

/// Filters in a row of a sheet.
const COLUMNS: usize = 16;

/// The most filters of a sheet.
const FILTERS: usize = 128;

/// The longest side of a thumbnail.
const THUMBNAIL: usize = 96;

/// A picture in RGBA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    /// A picture of RGBA pixels, without alpha, scaled down to a thumbnail; `None` if there are not as many pixels as its size says.
    pub fn thumbnail(width: usize, height: usize, rgba: &[u8]) -> Option<Self> {
        if width == 0 || height == 0 || rgba.len() != width.checked_mul(height)?.checked_mul(4)? {
            return None;
        }
        let longest = width.max(height);
        let side = |side: usize| if longest > THUMBNAIL { (side * THUMBNAIL / longest).max(1) } else { side };
        let (w, h) = (side(width), side(height));
        let mut pixels = Vec::with_capacity(w * h * 4);
        for y in 0..h {
            for x in 0..w {
                // The mean of the pixels that this one covers.
                let span = |i: usize, from: usize, to: usize| {
                    i * from / to..((i + 1) * from / to).max(i * from / to + 1)
                };
                let (mut sums, mut count) = ([0_u32; 3], 0);
                for v in span(y, height, h) {
                    for u in span(x, width, w) {
                        let at = 4 * (v * width + u);
                        let pixel = rgba.get(at..at + 4).unwrap_or(&[0; 4]);
                        sums.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum += u32::from(*byte));
                        count += 1;
                    }
                }
                pixels.extend(sums.map(|sum| (sum / count.max(1)) as u8).into_iter().chain([255]));
            }
        }
        Some(Self { width: w, height: h, pixels })
    }

    /// The filters of a convolution, each on its own scale: `[outputs, inputs, height, width]` with three inputs are shown in colour,
    /// of others the mean over the inputs in grey. `None` if the shape is another, or is that of points.
    pub fn filters(shape: &[usize], weights: &[f32]) -> Option<Self> {
        let [outputs, inputs, h, w] = *shape else { return None };
        let size = inputs.checked_mul(h)?.checked_mul(w)?;
        if h < 2 || w < 2 || h.max(w) > 32 || weights.len() != outputs.checked_mul(size)? {
            return None;
        }
        let count = outputs.min(FILTERS);
        let (columns, rows) = (count.min(COLUMNS), count.div_ceil(COLUMNS));
        // One pixel between filters, which is not drawn on.
        let (width, height) = (columns * (w + 1), rows * (h + 1));
        let mut pixels = vec![0; width * height * 4];
        for (i, filter) in weights.chunks_exact(size).take(count).enumerate() {
            let (least, most) = filter.iter().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
            let byte = |x: f32| {
                (255.0 * (x - least) / (most - least).max(f32::MIN_POSITIVE)).clamp(0.0, 255.0) as u8
            };
            let planes: Vec<&[f32]> = filter.chunks_exact(h * w).collect();
            for place in 0..h * w {
                let at = |plane: usize| planes.get(plane).and_then(|p| p.get(place)).copied().unwrap_or(0.0);
                let colour = if inputs == 3 {
                    [0, 1, 2].map(|plane| byte(at(plane)))
                } else {
                    [byte((0..inputs).map(at).sum::<f32>() / inputs as f32); 3]
                };
                let (x, y) = ((i % COLUMNS) * (w + 1) + place % w, (i / COLUMNS) * (h + 1) + place / w);
                let start = 4 * (y * width + x);
                if let Some(pixel) = pixels.get_mut(start..start + 4) {
                    pixel.iter_mut().zip(colour.into_iter().chain([255])).for_each(|(to, from)| *to = from);
                }
            }
        }
        Some(Self { width, height, pixels })
    }

    /// The picture as PNG in a data URI; empty if it cannot be encoded.
    pub(super) fn uri(&self) -> String {
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive);
        let (width, height) = (self.width as u32, self.height as u32);
        match encoder.write_image(&self.pixels, width, height, ExtendedColorType::Rgba8) {
            Ok(()) => format!("data:image/png;base64,{}", base64(&png)),
            Err(_) => String::new(),
        }
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |n, i| n << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS.get((number >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if i > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn filters_lie_side_by_side_on_their_own_scales() {
        // Two filters of 2x2 with three inputs: a ramp, and a constant.
        let ramp: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let sheet = Sheet::filters(&[2, 3, 2, 2], &[ramp, vec![7.0; 12]].concat()).unwrap();
        assert_eq!(sheet.size(), [6, 3]);
        let pixel = |x: usize, y: usize| sheet.pixels[4 * (y * 6 + x)..][..4].to_vec();
        // Red, green and blue of the first pixel are 0, 4 and 8 of 11.
        assert_eq!(pixel(0, 0), [0, 92, 185, 255]);
        assert_eq!(pixel(1, 1), [69, 162, 255, 255]);
        assert_eq!((pixel(2, 0), pixel(3, 0), pixel(5, 2)), (vec![0; 4], vec![0, 0, 0, 255], vec![0; 4]));
        assert_eq!(Sheet::filters(&[2, 3, 1, 1], &[0.0; 6]), None);
        assert_eq!(Sheet::filters(&[2, 3, 2, 2], &[0.0; 6]), None);
        let nan = Sheet::filters(&[1, 1, 2, 2], &[f32::NAN, 1.0, f32::INFINITY, 0.0]).unwrap();
        assert!(nan.uri().starts_with("data:image/png;base64,iVBOR"));
        assert_eq!(Sheet::filters(&[500, 1, 3, 3], &[0.0; 4500]).unwrap().size(), [64, 32]);
    }

    #[test]
    fn thumbnails_are_small_and_keep_their_shape() {
        let white = vec![255; 400 * 200 * 4];
        let small = Sheet::thumbnail(400, 200, &white).unwrap();
        assert_eq!((small.size(), small.pixels.iter().all(|byte| *byte == 255)), ([96, 48], true));
        assert_eq!(Sheet::thumbnail(1, 1, &[1, 2, 3, 4]).unwrap().pixels, [1, 2, 3, 255]);
        assert_eq!(Sheet::thumbnail(5000, 1, &vec![9; 20_000]).unwrap().size(), [96, 1]);
        assert_eq!(Sheet::thumbnail(2, 2, &[0; 4]), None);
        assert_eq!(Sheet::thumbnail(0, 2, &[]), None);
    }
}
