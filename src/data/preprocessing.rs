//! The preprocessing of pictures. It belongs to the weights, which were trained with it.

use super::Normalization;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest side that a picture is scaled to, in pixels.
const MAX_SIDE: usize = 1 << 14;

/// How a picture of any size is scaled to the size of the input. What exceeds the input is cropped around the centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Resize {
    /// Scale to the smallest size that covers the input.
    Cover,
    /// Scale the shorter side to this many pixels, as torchvision's `Resize` and `CenterCrop` do.
    Shorter(usize),
    /// Scale to a square with sides of this many pixels, whatever the shape of the picture, as Caffe's tools do.
    Squash(usize),
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cover => f.write_str("cover"),
            Self::Shorter(side) => write!(f, "shorter:{side}"),
            Self::Squash(side) => write!(f, "squash:{side}"),
        }
    }
}

impl From<Resize> for String {
    fn from(resize: Resize) -> Self {
        resize.to_string()
    }
}

impl FromStr for Resize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("\"{text}\" is no way to resize"))
                .hint("give cover, shorter:PIXELS or squash:PIXELS, as in shorter:256")
        };
        if text == "cover" {
            return Ok(Self::Cover);
        }
        let (rule, side) = text.split_once(':').ok_or_else(wrong)?;
        let side = side.parse().ok().filter(|n| (1..=MAX_SIDE).contains(n)).ok_or_else(wrong)?;
        match rule {
            "shorter" => Ok(Self::Shorter(side)),
            "squash" => Ok(Self::Squash(side)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Resize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// The order of the colour channels in the input of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as in weights from Caffe.
    Bgr,
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        })
    }
}

/// The preprocessing that turns a picture into the input of a network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How a picture is scaled to the size of the input.
    pub resize: Resize,
    /// The order of the colour channels.
    pub order: ChannelOrder,
    /// The normalisation of red, green and blue, in this order whatever `order` is.
    pub normalization: Normalization,
}

impl Preprocessing {
    /// The preprocessing of training: scaled to cover the input, in the order red, green, blue.
    pub const fn covering(normalization: Normalization) -> Self {
        Self { resize: Resize::Cover, order: ChannelOrder::Rgb, normalization }
    }

    /// The preprocessing of torchvision for an input of `size`: the shorter side becomes 256 for an input of 224; ImageNet's
    /// normalisation.
    pub const fn torchvision(size: usize) -> Self {
        let resize = Resize::Shorter(margin(size));
        Self { resize, order: ChannelOrder::Rgb, normalization: Normalization::IMAGENET }
    }

    /// The preprocessing of Inception, and of torchvision's GoogLeNet with `transform_input`: numbers from -1 to 1.
    pub const fn inception(size: usize) -> Self {
        Self { normalization: Normalization { mean: [0.5; 3], std: [0.5; 3] }, ..Self::torchvision(size) }
    }

    /// The preprocessing of Caffe: squashed to 256x256 for an input of 224 or 227, blue first, 0 to 255 minus ImageNet's mean.
    pub const fn caffe(size: usize) -> Self {
        // 123, 117 and 104 of 255: about the means of Caffe's mean picture.
        let mean = [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0];
        let normalization = Normalization { mean, std: [1.0 / 255.0; 3] };
        Self { resize: Resize::Squash(margin(size)), order: ChannelOrder::Bgr, normalization }
    }

    /// Mean and standard deviation in the order of the channels in the input.
    pub fn channels(&self) -> Normalization {
        let Normalization { mut mean, mut std } = self.normalization;
        if self.order == ChannelOrder::Bgr {
            mean.reverse();
            std.reverse();
        }
        Normalization { mean, std }
    }

    /// Checks values that come from a file or a flag.
    ///
    /// # Errors
    /// [`Error::Data`] if means are not finite or deviations not positive.
    pub fn check(&self) -> Result<()> {
        let Normalization { mean, std } = self.normalization;
        let fine = mean.iter().chain(&std).all(|x| x.is_finite()) && std.iter().all(|x| *x > 0.0);
        if fine {
            return Ok(());
        }
        Err(Error::data(format!("pictures with mean {mean:?} and deviation {std:?}"))
            .hint("means must be finite and deviations positive"))
    }
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: [f32; 3]| numbers.map(|x| format!("{x}")).join(",");
        let Self { resize, order, normalization: Normalization { mean, std } } = self;
        write!(f, "resize {resize}, {order}, mean {}, std {}", list(*mean), list(*std))
    }
}

/// The side of the picture from which the input is cropped: 256 for 224.
const fn margin(size: usize) -> usize {
    let side = match size {
        227 => 256,
        _ => (size * 256 + 112) / 224,
    };
    if side > MAX_SIDE { MAX_SIDE } else { side }
}
