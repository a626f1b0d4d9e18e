//! Flags for several views of a picture.

use crate::data::{Crops, Scale, Views};
use clap::Args;

#[derive(Args)]
pub(super) struct ViewArgs {
    /// Views of each picture, whose probabilities are averaged: centre; 10 (corners, centre, mirrored: AlexNet); 144 (GoogLeNet)
    #[arg(long, value_name = "centre|10|144", default_value = "centre")]
    crops: Crops,
    /// Scales of each picture, whose probabilities are averaged: pixels of its shorter side, or with a decimal point multiples of the
    /// input, as in 1.0,1.14
    #[arg(long, value_name = "S,S,...", value_delimiter = ',')]
    scales: Vec<Scale>,
}

impl ViewArgs {
    pub(super) fn views(&self) -> Views {
        Views { crops: self.crops, scales: self.scales.clone() }
    }
}
