//! JPEG at a reduced scale for training: the inverse DCT gives 1, 2 or 4 pixels of 8 in each direction, so that a large photograph is not
//! decoded in full to be scaled down afterwards. Pillow calls this `draft`.

use super::jpeg::Jpeg;
use super::{Augment, Picture, Preprocessing, decode, kind};
use crate::error::Result;
use crate::random::Draw;
use image::ImageFormat;

/// A part that the network sees is still this many times as large in each direction when it has been decoded, so that the scaling that
/// follows removes what the coarse inverse DCT has made different.
const SPARE: f64 = 2.0;

/// A decoded picture, and the part of it that the network sees.
pub(super) struct Cut {
    picture: Picture,
    part: Option<[f64; 4]>,
    draw: Draw,
}

/// Decodes a file for an input of this size. The part is drawn in the pixels of the whole picture, so it is the same as without reduction.
/// A file that is no JPEG, and a crop that needs the whole picture, are decoded in full.
///
/// # Errors
/// Those of [`decode`] and [`super::fit`].
pub(super) fn decode_for(bytes: &[u8], augment: &Augment, size: [usize; 2], mut draw: Draw) -> Result<Cut> {
    if kind::format(bytes) == Some(ImageFormat::Jpeg) {
        let whole = Jpeg::read(bytes)?.upright_size();
        if let Some(part) = augment.part(whole, size, &mut draw) {
            let eighths = eighths(part, size);
            let picture =
                if eighths == 8 { decode(bytes)? } else { super::decode::decode_reduced(bytes, eighths)? };
            let part = part.map(|length| length * eighths as f64 / 8.0);
            return Ok(Cut { picture, part: Some(part), draw });
        }
    }
    let picture = decode(bytes)?;
    let part = augment.part([picture.height(), picture.width()], size, &mut draw);
    Ok(Cut { picture, part, draw })
}

/// The smallest scale at which a part is large enough, in eighths.
fn eighths([_, _, width, height]: [f64; 4], [h, w]: [usize; 2]) -> usize {
    let fits = |eighths: &usize| {
        let scale = *eighths as f64 / 8.0;
        width * scale >= SPARE * w as f64 && height * scale >= SPARE * h as f64
    };
    [1, 2, 4].into_iter().find(fits).unwrap_or(8)
}

impl Cut {
    /// Varies the part and brings it to `size`.
    ///
    /// # Errors
    /// Those of [`super::fit`].
    pub(super) fn vary(self, augment: &Augment, size: [usize; 2], how: &Preprocessing) -> Result<Picture> {
        augment.apply_to(self.picture, self.part, size, how, self.draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_leaves_twice_the_input() {
        let scale = |w: f64, h: f64| eighths([5.0, 7.0, w, h], [100, 200]);
        assert_eq!([scale(3200.0, 1600.0), scale(3199.0, 1600.0), scale(3200.0, 1599.0)], [1, 2, 2]);
        assert_eq!([scale(800.0, 400.0), scale(799.0, 400.0), scale(10.0, 10.0)], [4, 8, 8]);
    }
}
