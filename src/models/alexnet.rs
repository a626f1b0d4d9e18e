//! AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
//! Networks", 2012.
//!
//! Section 3.5 with the two towers as groups of 2 in conv2, conv4 and conv5. The paper says 224, its arithmetic
//! needs 227. Deviations: local response normalisation (section 3.3) and dropout (section 4.2) are not there yet.

use super::Arch;
use super::builder::{Builder, Conv, Init};
use crate::error::Result;
use crate::graph::Value;

pub(super) const ALEXNET: Arch = Arch {
    name: "alexnet",
    family: "AlexNet",
    size: 227,
    classes: 1000,
    about: "the paper's network, two towers as groups; without LRN and dropout so far",
    build: network,
};

/// Filters, kernel, stride, padding, groups, first bias, and whether a 3x3 max-pooling of stride 2 follows.
const CONVOLUTIONS: [(usize, usize, usize, usize, usize, f32, bool); 5] = [
    (96, 11, 4, 0, 1, 0.0, true),
    (256, 5, 1, 2, 2, 1.0, true),
    (384, 3, 1, 1, 1, 0.0, false),
    (384, 3, 1, 1, 2, 1.0, false),
    (256, 3, 1, 1, 2, 1.0, true),
];

/// Section 5: weights from a normal distribution of deviation 0.01.
const INIT: Init = Init::Normal(0.01);

fn network(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, (filters, kernel, stride, pad, groups, bias, pooled)) in (1..).zip(CONVOLUTIONS) {
        let conv = Conv { filters, kernel, stride, pad, groups, init: INIT, bias: Some(bias) };
        x = b.conv(&format!("conv{i}"), x, conv)?;
        x = b.relu(&format!("relu{i}"), x)?;
        if pooled {
            x = b.max_pool(&format!("pool{i}"), x, 3, 2)?;
        }
    }
    x = b.linear("fc6", x, 4096, INIT, 1.0)?;
    x = b.relu("relu6", x)?;
    x = b.linear("fc7", x, 4096, INIT, 1.0)?;
    x = b.relu("relu7", x)?;
    b.linear("fc8", x, b.classes, INIT, 0.0)
}
