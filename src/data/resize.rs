//! Scales pictures to the size of the input of a network.

use super::{ChannelOrder, Picture, Preprocessing, Resize};
use crate::error::{Error, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x4;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// The most pixels of a scaled picture. Without a limit a very narrow picture would become too large.
const MAX_PIXELS: usize = 64 << 20;

/// Scales a picture to `height` x `width` and puts its channels in the order of the network. Scaling is bilinear with antialiasing, as
/// in Pillow.
///
/// # Errors
/// [`Error::Data`] if a size is 0 or the picture is so narrow that it would grow beyond 64 megapixels.
pub fn fit(picture: Picture, how: &Preprocessing, height: usize, width: usize) -> Result<Picture> {
    let mut fitted = fit_rgb(picture, how.resize, height, width)?;
    reorder(&mut fitted, how.order);
    Ok(fitted)
}

/// Like [`fit`], with the channels in the order red, green, blue.
pub(super) fn fit_rgb(picture: Picture, how: Resize, height: usize, width: usize) -> Result<Picture> {
    match how {
        Resize::Cover => cover(picture, height, width),
        Resize::Shorter(side) => {
            let (h, w) = (picture.height(), picture.width());
            // The longer side is rounded down, as in torchvision.
            let longer = |other: usize, shorter: usize| (side.saturating_mul(other)) / shorter.max(1);
            let (to_h, to_w) = if h <= w { (side, longer(w, h)) } else { (longer(h, w), side) };
            cut(scale(picture, to_h, to_w)?, height, width)
        }
        Resize::Squash(side) => cut(scale(picture, side, side)?, height, width),
    }
}

/// Puts red, green and blue in this order.
pub(super) fn reorder(picture: &mut Picture, order: ChannelOrder) {
    if order == ChannelOrder::Bgr {
        picture.rgba_mut().as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
    }
}

fn failed(picture: &Picture, height: usize, width: usize, why: &str) -> Error {
    let (h, w) = (picture.height(), picture.width());
    Error::data(format!("a picture of {h}x{w} cannot be scaled to {height}x{width}{why}"))
}

fn check(picture: &Picture, height: usize, width: usize) -> Result<()> {
    if height == 0 || width == 0 {
        return Err(failed(picture, height, width, ""));
    }
    if height.saturating_mul(width) > MAX_PIXELS {
        return Err(failed(picture, height, width, ", more than 64 megapixels"));
    }
    Ok(())
}

/// Scales a part of a picture: left, top, width and height in its own pixels.
pub(super) fn resample(picture: &Picture, part: [f64; 4], height: usize, width: usize) -> Result<Picture> {
    check(picture, height, width)?;
    let (h, w) = (picture.height(), picture.width());
    let why = |e: String| failed(picture, height, width, &format!(": {e}"));
    let source = TypedImageRef::<U8x4>::from_buffer(w as u32, h as u32, picture.rgba())
        .map_err(|e| why(e.to_string()))?;
    let mut rgba = vec![0; height * width * 4];
    let mut target = TypedImage::<U8x4>::from_buffer(width as u32, height as u32, &mut rgba)
        .map_err(|e| why(e.to_string()))?;
    let [left, top, part_w, part_h] = part;
    let (part_w, part_h) = (within(left, part_w, w as f64), within(top, part_h, h as f64));
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
        .crop(left, top, part_w, part_h);
    // `resize` would compile the code for all other types of pixels, as much as half of this crate.
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|e| why(e.to_string()))?;
    Picture::from_rgba(height, width, rgba)
}

/// The length of a part that begins at `start` and ends within the side: a sum that is rounded up would be refused.
fn within(start: f64, mut length: f64, side: f64) -> f64 {
    if start + length > side {
        length = side - start;
    }
    if start + length > side { length.next_down() } else { length }
}

/// Scales a picture until its shorter side has this many pixels; the longer one is rounded down, as in torchvision. A smaller picture stays
/// as it is.
#[cfg(feature = "train")]
pub(super) fn shrink(picture: Picture, side: usize) -> Result<Picture> {
    let (h, w) = (picture.height(), picture.width());
    if h.min(w) <= side {
        return Ok(picture);
    }
    let longer = side.saturating_mul(h.max(w)) / h.min(w);
    if h <= w { scale(picture, side, longer) } else { scale(picture, longer, side) }
}

/// Scales a picture to the smallest size that covers `height` x `width`, and crops it around its centre.
fn cover(picture: Picture, height: usize, width: usize) -> Result<Picture> {
    let (h, w) = (picture.height(), picture.width());
    if [h, w] == [height, width] {
        return Ok(picture);
    }
    // The part of the picture that remains, in its own pixels. Cropping first gives the same result as cropping last.
    let scale = (height as f64 / h as f64).max(width as f64 / w as f64);
    let (part_w, part_h) = ((width as f64 / scale).min(w as f64), (height as f64 / scale).min(h as f64));
    let part = [(w as f64 - part_w) / 2.0, (h as f64 - part_h) / 2.0, part_w, part_h];
    resample(&picture, part, height, width)
}

fn scale(picture: Picture, height: usize, width: usize) -> Result<Picture> {
    if [picture.height(), picture.width()] == [height, width] {
        return Ok(picture);
    }
    resample(&picture, [0.0, 0.0, picture.width() as f64, picture.height() as f64], height, width)
}

/// Crops a picture around its centre. If it is smaller, it is padded with black.
fn cut(picture: Picture, height: usize, width: usize) -> Result<Picture> {
    let (h, w) = (picture.height(), picture.width());
    if [h, w] == [height, width] {
        return Ok(picture);
    }
    crop_at(&picture, [offset(h, height), offset(w, width)], height, width)
}

/// Crops a picture from this row and column on, which may lie outside of it: there it is black.
///
/// # Errors
/// [`Error::Data`] if a size is 0, or for more than 64 megapixels.
pub fn crop_at(picture: &Picture, [top, left]: [isize; 2], height: usize, width: usize) -> Result<Picture> {
    check(picture, height, width)?;
    let (h, w, rgba) = (picture.height(), picture.width(), picture.rgba());
    let mut out = Vec::with_capacity(height * width * 4);
    for y in 0..height {
        for x in 0..width {
            let row = y.checked_add_signed(top).filter(|y| *y < h);
            let column = x.checked_add_signed(left).filter(|x| *x < w);
            let pixel = row.zip(column).and_then(|(y, x)| rgba.get((y * w + x) * 4..(y * w + x) * 4 + 4));
            out.extend_from_slice(pixel.unwrap_or(&[0, 0, 0, 255]));
        }
    }
    Picture::from_rgba(height, width, out)
}

/// The offset of a crop: half of the difference, rounded half to even as in torchvision's `CenterCrop`. It is negative if the picture is
/// smaller; the larger part of the padding is then behind it.
pub(super) fn offset(size: usize, wanted: usize) -> isize {
    match size.checked_sub(wanted) {
        Some(rest) => ((rest as f64 / 2.0).round_ties_even()) as isize,
        None => -(((wanted - size) / 2) as isize),
    }
}
