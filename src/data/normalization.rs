//! Normalisation of pixels.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation of red, green and blue, in units of the full range: `(value/255 - mean)/std`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// The means.
    pub mean: [f32; 3],
    /// The standard deviations.
    pub std: [f32; 3],
}

impl Normalization {
    /// The normalisation for ImageNet, which torchvision and most published weights use.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}
