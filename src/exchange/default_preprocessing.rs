//! The preprocessing of pictures, where a file does not give it.

use super::onnx_in::Transform;
use crate::data::{ChannelOrder, Normalization, Preprocessing};
use crate::models::Arch;

/// The preprocessing that published weights of a variant were trained with, for an input of this size.
pub fn default_preprocessing(arch: &Arch, size: usize) -> Preprocessing {
    match arch.name {
        // The weights of these networks come from Caffe's model zoo.
        "alexnet" | "caffenet" | "zfnet" | "zfnet512" | "googlenet" => Preprocessing::caffe(size),
        // torchvision's weights were ported from TensorFlow, and its network transforms its input.
        "googlenet-tv" => Preprocessing::inception(size),
        // CIFAR's pictures have the size of the input already.
        _ if arch.size == 32 => Preprocessing::covering(Normalization::IMAGENET),
        _ => Preprocessing::torchvision(size),
    }
}

/// The preprocessing for a graph that is no variant of this crate, for an input of this size. Networks with local response normalisation
/// (LRN) come from Caffe.
pub fn default_for_graph(has_lrn: bool, size: usize) -> Preprocessing {
    match (has_lrn, size) {
        (true, _) => Preprocessing::caffe(size),
        (false, ..=64) => Preprocessing::covering(Normalization::IMAGENET),
        (false, _) => Preprocessing::torchvision(size),
    }
}

/// The preprocessing `before`, followed by a transform that a graph applies to its input. `None` if no preprocessing is equal to both.
pub fn fold_transform(before: &Preprocessing, transform: &Transform) -> Option<Preprocessing> {
    let Transform { order, scale, shift } = *transform;
    let order = match (order, before.order) {
        ([0, 1, 2], order) => order,
        ([2, 1, 0], ChannelOrder::Rgb) => ChannelOrder::Bgr,
        ([2, 1, 0], ChannelOrder::Bgr) => ChannelOrder::Rgb,
        _ => return None,
    };
    // scale ((v - mean)/std) + shift is (v - (mean - shift std/scale)) / (std/scale).
    let Normalization { mean, std } = before.channels();
    let mut after = Normalization { mean, std };
    for (i, from) in transform.order.into_iter().enumerate() {
        let (mean, std) = (f64::from(*mean.get(from)?), f64::from(*std.get(from)?));
        let (scale, shift) = (f64::from(scale[i]), f64::from(shift[i]));
        after.std[i] = (std / scale) as f32;
        after.mean[i] = (mean - shift * std / scale) as f32;
    }
    if order == ChannelOrder::Bgr {
        after.mean.reverse();
        after.std.reverse();
    }
    let after = Preprocessing { order, normalization: after, ..*before };
    after.check().ok().map(|()| after)
}
