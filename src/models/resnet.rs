//! ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385).
//!
//! `resnet18` to `resnet152`: table 1, with projections where the shape changes ("option B"). The names are
//! torchvision's, and so is the stride in the 3x3 convolution of a bottleneck ("v1.5"). `-v1` has the stride in the
//! first 1x1, as in the paper. `resnet20` to `resnet1202`: the networks for CIFAR-10 of section 4.2: a 3x3
//! convolution, then three stages of n blocks of two 3x3 convolutions at 16, 32 and 64 filters, global average pooling
//! and a linear layer: 6n + 2 layers. Shortcuts are "option A": no parameters, zeros for the new channels. Names are
//! those of akamaster/pytorch_resnet_cifar10. Deviation: images are normalised by channel, not by pixel.

use super::builder::{Builder, Conv};
use super::{Arch, Init};
use crate::error::Result;
use crate::ops::PoolOptions;
use crate::tensor::Value;

type Build = fn(&mut Builder, Value) -> Result<Value>;

const fn cifar(name: &'static str, about: &'static str, build: Build) -> Arch {
    Arch { name, family: "ResNet", size: 32, classes: 10, about, build }
}

const fn imagenet(name: &'static str, about: &'static str, build: Build) -> Arch {
    Arch { name, family: "ResNet", size: 224, classes: 1000, about, build }
}

pub(super) const RESNETS: [Arch; 14] = [
    imagenet("resnet18", "18 layers", |b, x| table1(b, x, [2, 2, 2, 2], Block::Basic)),
    imagenet("resnet34", "34 layers", |b, x| table1(b, x, [3, 4, 6, 3], Block::Basic)),
    imagenet("resnet50", "50 layers, stride in the 3x3 as torchvision", |b, x| {
        table1(b, x, [3, 4, 6, 3], V15)
    }),
    imagenet("resnet101", "101 layers, stride in the 3x3 as torchvision", |b, x| {
        table1(b, x, [3, 4, 23, 3], V15)
    }),
    imagenet("resnet152", "152 layers, stride in the 3x3 as torchvision", |b, x| {
        table1(b, x, [3, 8, 36, 3], V15)
    }),
    imagenet("resnet50-v1", "50 layers, stride in the first 1x1 as the paper", |b, x| {
        table1(b, x, [3, 4, 6, 3], V1)
    }),
    imagenet("resnet101-v1", "101 layers, stride in the first 1x1 as the paper", |b, x| {
        table1(b, x, [3, 4, 23, 3], V1)
    }),
    imagenet("resnet152-v1", "152 layers, stride in the first 1x1 as the paper", |b, x| {
        table1(b, x, [3, 8, 36, 3], V1)
    }),
    cifar("resnet20", "CIFAR network of 20 layers, shortcuts without parameters", |b, x| small(b, x, 3)),
    cifar("resnet32", "CIFAR network of 32 layers, shortcuts without parameters", |b, x| small(b, x, 5)),
    cifar("resnet44", "CIFAR network of 44 layers, shortcuts without parameters", |b, x| small(b, x, 7)),
    cifar("resnet56", "CIFAR network of 56 layers, shortcuts without parameters", |b, x| small(b, x, 9)),
    cifar("resnet110", "CIFAR network of 110 layers, shortcuts without parameters", |b, x| small(b, x, 18)),
    cifar("resnet1202", "CIFAR network of 1202 layers, shortcuts without parameters", |b, x| {
        small(b, x, 200)
    }),
];

/// The kind of a residual block of table 1.
#[derive(Clone, Copy)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 with four times the filters. Holds the strides of the first two where the map shrinks.
    Bottleneck([usize; 2]),
}

const V15: Block = Block::Bottleneck([1, 2]);
const V1: Block = Block::Bottleneck([2, 1]);
const EPSILON: f32 = 1e-5;

/// Logits near 0, so that the first loss is the logarithm of the number of classes: Goyal et al., "Accurate, Large Minibatch SGD:
/// Training ImageNet in 1 Hour", 2017, section 5.1. With a variance of 2/fan-in it is twice as much.
pub(super) const HEAD: Init = Init::Normal(0.01);

/// Table 1: 7x7 of stride 2, pooling, four stages.
fn table1(b: &mut Builder, x: Value, blocks: [usize; 4], block: Block) -> Result<Value> {
    let x = b.conv("conv1", x, Conv { filters: 64, kernel: 7, stride: 2, pad: 3, ..Conv::default() })?;
    let x = b.batch_norm("bn1", x, EPSILON)?;
    // Max pooling commutes with ReLU. Pooling first gives the same result for less work.
    let x = b.max_pool("maxpool", x, PoolOptions::square(3, 2).padded(1))?;
    let mut x = b.relu("relu", x)?;
    for ((stage, filters), count) in (1..).zip([64, 128, 256, 512]).zip(blocks) {
        for i in 0..count {
            let stride = if i == 0 && stage > 1 { 2 } else { 1 };
            x = residual(b, &format!("layer{stage}.{i}"), x, filters, stride, block)?;
        }
    }
    let x = b.global_average_pool("avgpool", x)?;
    b.logits("fc", x, HEAD, 0.0)
}

/// Figure 5: a basic block or a bottleneck, with a projection if the shape changes.
fn residual(
    b: &mut Builder,
    name: &str,
    x: Value,
    filters: usize,
    stride: usize,
    block: Block,
) -> Result<Value> {
    // Filters, kernel, stride of each convolution.
    let convs = match block {
        Block::Basic => vec![(filters, 3, stride), (filters, 3, 1)],
        Block::Bottleneck([first, second]) => {
            let at = |share: usize| if share == 2 { stride } else { 1 };
            vec![(filters, 1, at(first)), (filters, 3, at(second)), (4 * filters, 1, 1)]
        }
    };
    let mut y = x;
    for (i, &(filters, kernel, stride)) in (1..).zip(&convs) {
        let conv = Conv { filters, kernel, stride, pad: kernel / 2, ..Conv::default() };
        y = b.conv(&format!("{name}.conv{i}"), y, conv)?;
        y = b.batch_norm(&format!("{name}.bn{i}"), y, EPSILON)?;
        if i < convs.len() {
            y = b.relu(&format!("{name}.relu{i}"), y)?;
        }
    }
    let mut shortcut = x;
    if b.graph.shape(x)? != b.graph.shape(y)? {
        let [.., filters] = b.map(y)?;
        shortcut = b.conv(&format!("{name}.downsample.0"), x, Conv { filters, stride, ..Conv::default() })?;
        shortcut = b.batch_norm(&format!("{name}.downsample.1"), shortcut, EPSILON)?;
    }
    let y = b.graph.layer(format!("{name}.add")).add(y, shortcut)?;
    b.relu(&format!("{name}.relu"), y)
}

/// Filters and stride of the first block of each stage of the CIFAR networks.
const STAGES: [(usize, usize); 3] = [(16, 1), (32, 2), (64, 2)];

fn small(b: &mut Builder, x: Value, blocks: usize) -> Result<Value> {
    let x = conv3x3(b, "conv1", x, 16, 1)?;
    let x = b.batch_norm("bn1", x, EPSILON)?;
    let mut x = b.relu("relu1", x)?;
    for (stage, (filters, stride)) in (1..).zip(STAGES) {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = small_block(b, &format!("layer{stage}.{block}"), x, filters, stride)?;
        }
    }
    let x = b.global_average_pool("avgpool", x)?;
    b.logits("linear", x, HEAD, 0.0)
}

/// Figure 2 of the paper: relu(x + bn(conv(relu(bn(conv(x)))))).
fn small_block(b: &mut Builder, name: &str, x: Value, filters: usize, stride: usize) -> Result<Value> {
    let y = conv3x3(b, &format!("{name}.conv1"), x, filters, stride)?;
    let y = b.batch_norm(&format!("{name}.bn1"), y, EPSILON)?;
    let y = b.relu(&format!("{name}.relu1"), y)?;
    let y = conv3x3(b, &format!("{name}.conv2"), y, filters, 1)?;
    let y = b.batch_norm(&format!("{name}.bn2"), y, EPSILON)?;
    let y = b.graph.layer(format!("{name}.shortcut")).add_shortcut(y, x, stride)?;
    b.relu(&format!("{name}.relu2"), y)
}

fn conv3x3(b: &mut Builder, name: &str, x: Value, filters: usize, stride: usize) -> Result<Value> {
    b.conv(name, x, Conv { filters, kernel: 3, stride, pad: 1, init: Init::He, ..Conv::default() })
}
