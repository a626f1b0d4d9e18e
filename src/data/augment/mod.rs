//! Data augmentation: random variation of training pictures.

mod color;
mod crop;
mod erase;
mod text;
mod trivial;

use super::resize::{fit_rgb, reorder, resample};
use super::{Picture, Preprocessing};
use crate::error::Result;
use crate::random::Draw;
use serde::{Deserialize, Serialize};

/// Mirrors left and right.
pub(super) fn mirrored(mut picture: Picture) -> Picture {
    crop::mirror(&mut picture);
    picture
}

/// The part of a picture that the network sees.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Crop {
    /// The centre, as in validation.
    Centre,
    /// The centre, padded with this many black pixels on each side and cropped to the size of the input at a random place: He et al.
    /// 2015, section 4.2.
    Padded(u32),
    /// The picture is scaled until its shorter side is so many times that of the input, chosen uniformly between these two numbers, and
    /// cropped at a random place: Krizhevsky et al. 2012, section 4.1; Simonyan and Zisserman 2014, section 3.1.
    Shorter(f32, f32),
    /// A part at a random place, with a share of the picture's area between these two numbers and an aspect ratio between 3/4 and 4/3:
    /// Szegedy et al. 2014, section 6; torchvision's `RandomResizedCrop`.
    Resized(f32, f32),
}

/// Random variation of training pictures. It is written as a list such as `resized=0.08-1,mirror,jitter=0.4`, or as the name of a
/// preset, to which items of a list can be added.
///
/// ```
/// use ocelli::data::Augment;
///
/// let mut augment = Augment::RESNET;
/// augment.erase = 0.25;
/// assert_eq!(augment, "resnet,erase=0.25".parse()?);
/// # Ok::<(), ocelli::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Augment {
    /// The part of the picture.
    pub crop: Crop,
    /// Mirror left and right with probability 1/2.
    pub mirror: bool,
    /// One distortion of random strength: Müller and Hutter, "TrivialAugment", 2021; torchvision's `TrivialAugmentWide`.
    pub trivial: bool,
    /// Brightness, contrast and saturation change by factors that are uniform between `max(0, 1 - jitter)` and `1 + jitter`:
    /// torchvision's `ColorJitter`.
    pub jitter: [f32; 3],
    /// The hue turns by a part of the colour circle that is uniform between `-hue` and `hue`.
    pub hue: f32,
    /// The standard deviation of the noise along the principal components of ImageNet's colours: Krizhevsky et al. 2012, section 4.1.
    pub lighting: f32,
    /// Pictures of a batch are blended in pairs, with weights from Beta(mixup, mixup): Zhang et al. 2017. 0 for not at all.
    pub mixup: f32,
    /// Each picture of a batch gets a rectangle of another, whose area has the share Beta(cutmix, cutmix): Yun et al. 2019. 0 for not
    /// at all.
    pub cutmix: f32,
    /// The probability that a rectangle becomes the mean colour: Zhong et al., "Random Erasing Data Augmentation", 2017.
    pub erase: f32,
}

impl Augment {
    /// No variation.
    pub const NONE: Self = Self {
        crop: Crop::Centre,
        mirror: false,
        trivial: false,
        jitter: [0.0; 3],
        hue: 0.0,
        lighting: 0.0,
        mixup: 0.0,
        cutmix: 0.0,
        erase: 0.0,
    };

    /// He et al. 2015, section 4.2, for pictures of 32x32.
    pub const CIFAR: Self = Self { crop: Crop::Padded(4), mirror: true, ..Self::NONE };

    /// Krizhevsky et al. 2012, section 4.1: 224 of 256 pixels, mirroring, lighting. The paper crops from the central square; this crops
    /// from the whole picture, as later papers do.
    pub const ALEXNET: Self =
        Self { crop: Crop::Shorter(256.0 / 224.0, 256.0 / 224.0), mirror: true, lighting: 0.1, ..Self::NONE };

    /// Simonyan and Zisserman 2014, section 3.1: 224 of 256 to 512 pixels, mirroring, lighting.
    pub const VGG: Self = Self { crop: Crop::Shorter(256.0 / 224.0, 512.0 / 224.0), ..Self::ALEXNET };

    /// He et al. 2015, section 3.4: 224 of 256 to 480 pixels, mirroring, lighting.
    pub const RESNET: Self = Self { crop: Crop::Shorter(256.0 / 224.0, 480.0 / 224.0), ..Self::ALEXNET };

    /// Szegedy et al. 2014, section 6, and its source for colours: Howard, "Some Improvements on Deep Convolutional Neural Network Based
    /// Image Classification", 2013, section 2.
    pub const INCEPTION: Self = Self { crop: Crop::Resized(0.08, 1.0), jitter: [0.5; 3], ..Self::ALEXNET };

    /// For few pictures, and for long runs.
    pub const MODERN: Self =
        Self { jitter: [0.4; 3], hue: 0.05, lighting: 0.0, erase: 0.25, ..Self::INCEPTION };

    /// Varies a picture of any size, brings it to `size`, and puts its channels in the order of the network. The result depends on the
    /// arguments alone: the loader gives each picture of each epoch random numbers of its own.
    ///
    /// # Errors
    /// Those of [`super::fit`].
    pub fn apply(
        &self,
        picture: Picture,
        size: [usize; 2],
        how: &Preprocessing,
        mut draw: Draw,
    ) -> Result<Picture> {
        let part = self.part([picture.height(), picture.width()], size, &mut draw);
        self.apply_to(picture, part, size, how, draw)
    }

    /// The part of a picture of this height and width that is scaled to `size`: left, top, width and height; `None` if the crop needs the
    /// whole picture. It is the first that is drawn.
    pub(in crate::data) fn part(
        &self,
        whole: [usize; 2],
        size: [usize; 2],
        draw: &mut Draw,
    ) -> Option<[f64; 4]> {
        match self.crop {
            Crop::Centre | Crop::Padded(_) => None,
            Crop::Shorter(from, to) => Some(crop::shorter(whole, [from, to], size, draw)),
            Crop::Resized(from, to) => Some(crop::resized(whole, [from, to], draw)),
        }
    }

    /// The rest of [`Augment::apply`], for the part that [`Augment::part`] has drawn.
    pub(in crate::data) fn apply_to(
        &self,
        picture: Picture,
        part: Option<[f64; 4]>,
        [height, width]: [usize; 2],
        how: &Preprocessing,
        mut draw: Draw,
    ) -> Result<Picture> {
        let mut picture = match (part, self.crop) {
            (Some(part), _) => resample(&picture, part, height, width)?,
            (None, Crop::Padded(pad)) => {
                crop::padded(fit_rgb(picture, how.resize, height, width)?, pad, &mut draw)?
            }
            (None, _) => fit_rgb(picture, how.resize, height, width)?,
        };
        if self.mirror && draw.coin() {
            crop::mirror(&mut picture);
        }
        if self.trivial {
            trivial::distort(&mut picture, &mut draw);
        }
        color::vary(&mut picture, self, &mut draw);
        if self.erase > 0.0 && draw.unit() < self.erase {
            erase::rectangle(&mut picture, how.normalization.mean, &mut draw);
        }
        reorder(&mut picture, how.order);
        Ok(picture)
    }
}
