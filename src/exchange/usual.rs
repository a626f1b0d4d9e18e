//! What becomes of pictures where a file does not say it.

use crate::data::{Normalization, Preprocessing};
use crate::models::Arch;

/// The preprocessing that published weights of a variant were trained with, for an input of this size.
pub fn usual_preprocessing(arch: &Arch, size: usize) -> Preprocessing {
    match arch.name {
        // Networks of Caffe's time; their weights come from its model zoo.
        "alexnet" | "caffenet" | "zfnet" | "zfnet512" | "googlenet" => Preprocessing::caffe(size),
        // torchvision's weights were ported from TensorFlow, and its network transforms its input.
        "googlenet-tv" => Preprocessing::inception(size),
        // CIFAR's pictures have the size of the input.
        _ if arch.size == 32 => Preprocessing::covering(Normalization::IMAGENET),
        _ => Preprocessing::torchvision(size),
    }
}
