//! Pictures of any size to the size of a network's input.

use super::Picture;
use crate::error::{Error, Result};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

/// Scales a picture so that it just covers `height` x `width`, with a bilinear filter that is as wide as the scale
/// demands (as Pillow's, so that fine patterns do not turn into others), and cuts it to that size around its centre.
///
/// # Errors
/// [`Error::Data`] if a size is 0 or the picture is so narrow that it would have to grow without bounds.
pub fn fit(picture: Picture, height: usize, width: usize) -> Result<Picture> {
    let Picture { height: h, width: w, .. } = picture;
    if [h, w] == [height, width] {
        return Ok(picture);
    }
    if h == 0 || w == 0 || height == 0 || width == 0 || picture.rgba.len() != h * w * 4 {
        return Err(Error::data(format!("a picture of {h}x{w} cannot be scaled to {height}x{width}")));
    }
    // The part of the picture that remains, in its own pixels: cutting first gives the same result as cutting last.
    let scale = (height as f64 / h as f64).max(width as f64 / w as f64);
    let (part_w, part_h) = ((width as f64 / scale).min(w as f64), (height as f64 / scale).min(h as f64));
    let failed =
        |e: String| Error::data(format!("a picture of {h}x{w} cannot be scaled to {height}x{width}: {e}"));
    let source = ImageRef::new(w as u32, h as u32, &picture.rgba, PixelType::U8x4)
        .map_err(|e| failed(e.to_string()))?;
    let mut target = Image::new(width as u32, height as u32, PixelType::U8x4);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false)
        .crop((w as f64 - part_w) / 2.0, (h as f64 - part_h) / 2.0, part_w, part_h);
    Resizer::new().resize(&source, &mut target, &options).map_err(|e| failed(e.to_string()))?;
    Ok(Picture { height, width, rgba: target.into_vec() })
}
