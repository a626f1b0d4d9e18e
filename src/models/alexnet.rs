//! AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012;
//! and two other networks of that name.
//!
//! `alexnet`: section 3.5 with the two towers as groups of 2 in conv2, conv4 and conv5. The paper says 224, its
//! arithmetic needs 227. `caffenet`: Caffe's reference network. It pools before it normalises and has k = 1 and alpha
//! = 1e-4, divided by the window. `alexnet-tv`: torchvision's, the single tower of Krizhevsky, "One weird trick for
//! parallelizing convolutional neural networks", 2014 (arXiv:1404.5997), without normalisation. Deviations: no PCA
//! noise on colours; `alexnet-tv` is initialised as in He et al., torchvision's distribution is narrower.

use super::builder::{Builder, Conv};
use super::{Arch, Init};
use crate::error::Result;
use crate::ops::{LrnOptions, PoolOptions};
use crate::tensor::Value;

const fn arch(
    name: &'static str,
    size: usize,
    about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
) -> Arch {
    Arch { name, family: "AlexNet", size, classes: 1000, about, build }
}

pub(super) const ALEXNETS: [Arch; 3] = [
    arch("alexnet", 227, "the paper's network, its two towers as groups", alexnet),
    arch("caffenet", 227, "Caffe's, which pools before it normalises", caffenet),
    arch("alexnet-tv", 224, "torchvision's single tower without LRN", single_tower),
];

/// Filters, kernel, stride, padding, groups, initial bias, and whether LRN and a 3x3 max pooling of stride 2 follow.
type Row = (usize, usize, usize, usize, usize, f32, bool, bool);

const CONVOLUTIONS: [Row; 5] = [
    (96, 11, 4, 0, 1, 0.0, true, true),
    (256, 5, 1, 2, 2, 1.0, true, true),
    (384, 3, 1, 1, 1, 0.0, false, false),
    (384, 3, 1, 1, 2, 1.0, false, false),
    (256, 3, 1, 1, 2, 1.0, false, true),
];

/// Section 5: weights from a normal distribution with standard deviation 0.01.
const INIT: Init = Init::Normal(0.01);
/// Section 3.3: n = 5, alpha = 1e-4 for the sum of squares, beta = 0.75, k = 2.
const LRN: LrnOptions = LrnOptions { size: 5, alpha: 5e-4, beta: 0.75, bias: 2.0 };
/// Section 3.4: overlapping windows.
const POOL: (usize, usize) = (3, 2);

fn alexnet(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, (filters, kernel, stride, pad, groups, bias, normalised, pooled)) in (1..).zip(CONVOLUTIONS) {
        let conv = Conv { filters, kernel, stride, pad, groups, init: INIT, bias: Some(bias) };
        x = b.conv_relu(&format!("conv{i}"), x, conv)?;
        if normalised {
            x = b.lrn(&format!("norm{i}"), x, LRN)?;
        }
        if pooled {
            x = b.max_pool(&format!("pool{i}"), x, PoolOptions::square(POOL.0, POOL.1))?;
        }
    }
    head(b, x, INIT)
}

fn caffenet(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, (filters, kernel, stride, pad, groups, bias, normalised, pooled)) in (1..).zip(CONVOLUTIONS) {
        let conv = Conv { filters, kernel, stride, pad, groups, init: INIT, bias: Some(bias) };
        x = b.conv(&format!("conv{i}"), x, conv)?;
        if pooled {
            // Max pooling commutes with ReLU. Pooling first gives the same result for a quarter of the work and
            // memory.
            x = b.max_pool(&format!("pool{i}"), x, PoolOptions::square(POOL.0, POOL.1))?;
        }
        x = b.relu(&format!("conv{i}.relu"), x)?;
        if normalised {
            x = b.lrn(&format!("norm{i}"), x, LrnOptions { alpha: 1e-4, bias: 1.0, ..LRN })?;
        }
    }
    // Caffe's train_val.prototxt: deviation 0.005 in fc6 and fc7.
    head(b, x, Init::Normal(0.005))
}

/// Section 4.2: dropout in the first two of three fully connected layers.
fn head(b: &mut Builder, mut x: Value, init: Init) -> Result<Value> {
    for name in ["fc6", "fc7"] {
        x = b.linear(name, x, 4096, init, 1.0)?;
        x = b.relu(&format!("{name}.relu"), x)?;
        x = b.dropout(&format!("{name}.dropout"), x, 0.5)?;
    }
    b.logits("fc8", x, INIT, 0.0)
}

/// Index in torchvision's `features`, filters, kernel, stride, padding, pooled.
const SINGLE_TOWER: [(usize, usize, usize, usize, usize, bool); 5] = [
    (0, 64, 11, 4, 2, true),
    (3, 192, 5, 1, 2, true),
    (6, 384, 3, 1, 1, false),
    (8, 256, 3, 1, 1, false),
    (10, 256, 3, 1, 1, true),
];

fn single_tower(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, filters, kernel, stride, pad, pooled) in SINGLE_TOWER {
        let conv = Conv { filters, kernel, stride, pad, init: Init::He, bias: Some(0.0), ..Conv::default() };
        x = b.conv(&format!("features.{i}"), x, conv)?;
        if pooled {
            x = b.max_pool(&format!("features.{}", i + 2), x, PoolOptions::square(POOL.0, POOL.1))?;
        }
        x = b.relu(&format!("features.{}", i + 1), x)?;
    }
    x = b.adaptive_average_pool("avgpool", x, [6, 6])?;
    for i in [1, 4] {
        x = b.dropout(&format!("classifier.{}", i - 1), x, 0.5)?;
        x = b.linear(&format!("classifier.{i}"), x, 4096, Init::He, 0.0)?;
        x = b.relu(&format!("classifier.{}", i + 1), x)?;
    }
    b.logits("classifier.6", x, INIT, 0.0)
}
