//! Flags for preprocessing, for the commands that classify images or write weights.

use crate::data::{ChannelOrder, Preprocessing, Resize};
use crate::exchange::PreprocessingChange;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct PreprocessArgs {
    /// How pictures are prepared [default: as the weights say, or as is usual for their network]
    #[arg(long, value_enum, value_name = "HOW")]
    preprocessing: Option<Preset>,
    /// How a picture comes to the size of the input, before it is cut around its centre: cover, shorter:PIXELS (of the
    /// shorter side) or squash:PIXELS
    #[arg(long, value_name = "RULE")]
    resize: Option<Resize>,
    /// The order of the colours
    #[arg(long, value_enum, value_name = "ORDER")]
    channels: Option<Order>,
    /// Mean of red, green and blue, from 0 to 1
    #[arg(long, value_name = "R,G,B", value_parser = three)]
    mean: Option<[f32; 3]>,
    /// Deviation of red, green and blue, from 0 to 1
    #[arg(long, value_name = "R,G,B", value_parser = three)]
    std: Option<[f32; 3]>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Shorter side to 256 for an input of 224, ImageNet's mean and deviation
    Torchvision,
    /// Squashed to 256x256, blue first, 0 to 255 minus ImageNet's mean
    Caffe,
    /// As torchvision, but from -1 to 1
    Inception,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Rgb,
    Bgr,
}

impl PreprocessArgs {
    pub(super) fn change(&self) -> PreprocessingChange {
        let whole: Option<fn(usize) -> Preprocessing> = self.preprocessing.map(|preset| match preset {
            Preset::Torchvision => Preprocessing::torchvision as fn(usize) -> Preprocessing,
            Preset::Caffe => Preprocessing::caffe,
            Preset::Inception => Preprocessing::inception,
        });
        let order = self.channels.map(|order| match order {
            Order::Rgb => ChannelOrder::Rgb,
            Order::Bgr => ChannelOrder::Bgr,
        });
        PreprocessingChange { whole, resize: self.resize, order, mean: self.mean, std: self.std }
    }
}

/// Parses three numbers separated by commas.
fn three(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let numbers = numbers.ok().and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
    numbers.ok_or_else(|| "give three numbers, as in 0.485,0.456,0.406".to_owned())
}
