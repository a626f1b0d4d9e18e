//! Random variation of pictures.

use super::Picture;
use crate::random::{Draw, Stream};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Random variation of training pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Augment {
    /// None.
    None,
    /// Pad with four black pixels on each side, crop the original size at random, and mirror with probability 1/2: He et al. 2015,
    /// section 4.2.
    Standard,
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Standard => "standard",
        })
    }
}

const PAD: usize = 4;

impl Augment {
    /// Varies picture `index` of the data set. The result depends on the picture, the seed, the epoch and the index alone.
    pub fn apply(self, mut picture: Picture, seed: u64, epoch: u32, index: u32) -> Picture {
        if self == Self::None {
            return picture;
        }
        let mut draw = Draw::new(seed, Stream::Augment, epoch, index);
        let range = 2 * PAD as u32 + 1;
        let (left, top, mirrored) = (draw.below(range) as usize, draw.below(range) as usize, draw.coin());
        let (height, width, rgba) = (picture.height(), picture.width(), picture.rgba());
        let mut out = Vec::with_capacity(rgba.len());
        for y in 0..height {
            for x in 0..width {
                let x = if mirrored { width - 1 - x } else { x };
                let row = (y + top).checked_sub(PAD).filter(|y| *y < height);
                let column = (x + left).checked_sub(PAD).filter(|x| *x < width);
                let pixel =
                    row.zip(column).and_then(|(y, x)| rgba.get((y * width + x) * 4..(y * width + x) * 4 + 4));
                out.extend_from_slice(pixel.unwrap_or(&[0, 0, 0, 255]));
            }
        }
        picture.rgba_mut().copy_from_slice(&out);
        picture
    }
}
