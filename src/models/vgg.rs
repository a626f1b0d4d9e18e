//! VGG: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014
//! (arXiv:1409.1556), table 1.
//!
//! Configurations A, A-LRN, B, C, D and E, and torchvision's with batch norm (`-bn`). Names are torchvision's. If the
//! map before the fully connected layers is not 7x7, it is averaged to 7x7, as in torchvision. Deviation: convolutions
//! are initialised as in He et al. 2015, fully connected layers with standard deviation 0.01 (torchvision's choice).
//! The paper trained A first and copied its weights.

use super::builder::{Builder, Conv};
use super::{Arch, Init};
use crate::error::Result;
use crate::ops::{LrnOptions, PoolOptions};
use crate::tensor::Value;

/// A column of table 1: the filters of each 3x3 convolution between the poolings. [`ONE`] is a 1x1 convolution.
type Column = [&'static [usize]; 5];

/// A 1x1 convolution with as many filters as the layer before it.
const ONE: usize = 0;

const A: Column = [&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];
const B: Column = [&[64, 64], &[128, 128], &[256, 256], &[512, 512], &[512, 512]];
const C: Column = [&[64, 64], &[128, 128], &[256, 256, ONE], &[512, 512, ONE], &[512, 512, ONE]];
const D: Column = [&[64, 64], &[128, 128], &[256; 3], &[512; 3], &[512; 3]];
const E: Column = [&[64, 64], &[128, 128], &[256; 4], &[512; 4], &[512; 4]];

/// Section 2.2: LRN with the constants of Krizhevsky et al.
const LRN: LrnOptions = LrnOptions { size: 5, alpha: 5e-4, beta: 0.75, bias: 2.0 };

#[derive(Clone, Copy, PartialEq)]
enum Norm {
    None,
    /// After the first layer.
    Local,
    Batch,
}

const fn arch(
    name: &'static str,
    about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
) -> Arch {
    Arch { name, family: "VGG", size: 224, classes: 1000, about, build }
}

pub(super) const VGGS: [Arch; 10] = [
    arch("vgg11", "configuration A", |b, x| network(b, x, A, Norm::None)),
    arch("vgg11-lrn", "configuration A-LRN", |b, x| network(b, x, A, Norm::Local)),
    arch("vgg11-bn", "configuration A with batch norm", |b, x| network(b, x, A, Norm::Batch)),
    arch("vgg13", "configuration B", |b, x| network(b, x, B, Norm::None)),
    arch("vgg13-bn", "configuration B with batch norm", |b, x| network(b, x, B, Norm::Batch)),
    arch("vgg16-1x1", "configuration C: 1x1 convolutions among the 16 layers", |b, x| {
        network(b, x, C, Norm::None)
    }),
    arch("vgg16", "configuration D", |b, x| network(b, x, D, Norm::None)),
    arch("vgg16-bn", "configuration D with batch norm", |b, x| network(b, x, D, Norm::Batch)),
    arch("vgg19", "configuration E", |b, x| network(b, x, E, Norm::None)),
    arch("vgg19-bn", "configuration E with batch norm", |b, x| network(b, x, E, Norm::Batch)),
];

fn network(b: &mut Builder, mut x: Value, column: Column, norm: Norm) -> Result<Value> {
    // The index in torchvision's `features`, where each operation has one.
    let mut place = 0;
    let mut next = |count: usize| {
        place += count;
        format!("features.{}", place - count)
    };
    let mut filters = 0;
    for (block, layers) in column.into_iter().enumerate() {
        for (i, &layer) in layers.iter().enumerate() {
            let kernel = if layer == ONE { 1 } else { 3 };
            filters = if layer == ONE { filters } else { layer };
            let bias = Some(0.0);
            let conv = Conv { filters, kernel, pad: kernel / 2, bias, ..Conv::default() };
            x = b.conv(&next(1), x, conv)?;
            if norm == Norm::Batch {
                x = b.batch_norm(&next(1), x, 1e-5)?;
            }
            let relu = next(1);
            let local = norm == Norm::Local && block == 0;
            let lrn = if local { next(1) } else { String::new() };
            if i + 1 < layers.len() {
                x = b.relu(&relu, x)?;
                continue;
            }
            if local {
                x = b.relu(&relu, x)?;
                x = b.lrn(&lrn, x, LRN)?;
            }
            x = b.max_pool(&next(1), x, PoolOptions::square(2, 2))?;
            if !local {
                // ReLU commutes with max pooling. Pooling first gives the same result for a quarter of the work and
                // memory.
                x = b.relu(&relu, x)?;
            }
        }
    }
    x = b.adaptive_average_pool("avgpool", x, [7, 7])?;
    for i in [0, 3] {
        x = b.linear(&format!("classifier.{i}"), x, 4096, Init::Normal(0.01), 0.0)?;
        x = b.relu(&format!("classifier.{}", i + 1), x)?;
        x = b.dropout(&format!("classifier.{}", i + 2), x, 0.5)?;
    }
    b.logits("classifier.6", x, Init::Normal(0.01), 0.0)
}
