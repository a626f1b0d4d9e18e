//! What becomes of a picture before a network sees it. It belongs to the weights, which were trained on nothing else.

use super::Normalization;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest side that a picture is scaled to, in pixels.
const MAX_SIDE: usize = 1 << 14;

/// How a picture of any size comes to the size of the input. It is cut around its centre wherever it is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Resize {
    /// Scaled so that it just covers the input.
    Cover,
    /// Scaled so that its shorter side has so many pixels, as torchvision's `Resize` and `CenterCrop` do.
    Shorter(usize),
    /// Scaled to a square of so many pixels a side, whatever its shape, as Caffe's tools do.
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

/// In which order a network wants the colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red: weights that come from Caffe.
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

/// From a picture to the numbers that a network is fed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How it comes to the size of the input.
    pub resize: Resize,
    /// The order of the colours.
    pub order: ChannelOrder,
    /// How pixels become numbers; of red, green and blue, whatever the order.
    pub normalization: Normalization,
}

impl Preprocessing {
    /// What this program trains with: scaled to cover the input.
    pub const fn covering(normalization: Normalization) -> Self {
        Self { resize: Resize::Cover, order: ChannelOrder::Rgb, normalization }
    }

    /// torchvision's for an input of `size`: the shorter side to 256 for one of 224, ImageNet's normalisation.
    pub const fn torchvision(size: usize) -> Self {
        let resize = Resize::Shorter(margin(size));
        Self { resize, order: ChannelOrder::Rgb, normalization: Normalization::IMAGENET }
    }

    /// Numbers from -1 to 1, as Inception and torchvision's GoogLeNet (`transform_input`) have them.
    pub const fn inception(size: usize) -> Self {
        Self { normalization: Normalization { mean: [0.5; 3], std: [0.5; 3] }, ..Self::torchvision(size) }
    }

    /// Caffe's: squashed to 256x256 for an input of 224 or 227, blue first, 0 to 255 minus ImageNet's mean.
    pub const fn caffe(size: usize) -> Self {
        // 123, 117 and 104 of 255; Caffe's mean picture has about these.
        let mean = [123.0 / 255.0, 117.0 / 255.0, 104.0 / 255.0];
        let normalization = Normalization { mean, std: [1.0 / 255.0; 3] };
        Self { resize: Resize::Squash(margin(size)), order: ChannelOrder::Bgr, normalization }
    }

    /// Mean and deviation in the order in which the network gets the channels.
    pub fn channels(&self) -> Normalization {
        let Normalization { mut mean, mut std } = self.normalization;
        if self.order == ChannelOrder::Bgr {
            mean.reverse();
            std.reverse();
        }
        Normalization { mean, std }
    }

    /// Checks what a file or a flag says.
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

/// The side of a picture from whose centre an input is cut: 256 for 224.
const fn margin(size: usize) -> usize {
    let side = match size {
        227 => 256,
        _ => (size * 256 + 112) / 224,
    };
    if side > MAX_SIDE { MAX_SIDE } else { side }
}
