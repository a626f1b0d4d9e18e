//! ResNet: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385).
//!
//! The networks for CIFAR-10 of section 4.2: a 3x3 convolution, then three stages of n blocks of two 3x3
//! convolutions at 16, 32 and 64 filters, the last two stages starting with stride 2, global average pooling and a
//! linear layer: 6n + 2 layers. Shortcuts are "option A": no parameters, zeros for the new channels.
//! Names are those of akamaster/pytorch_resnet_cifar10. Deviations from the paper: pictures are normalised by
//! channel, not by pixel.

use super::Arch;
use super::builder::{Builder, Conv, Init};
use crate::error::Result;
use crate::graph::Value;

/// Filters and stride of the first block of each stage.
const STAGES: [(usize, usize); 3] = [(16, 1), (32, 2), (64, 2)];

const fn cifar(
    name: &'static str,
    about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
) -> Arch {
    Arch { name, family: "ResNet", size: 32, classes: 10, about, build }
}

pub(super) const RESNET20: Arch =
    cifar("resnet20", "CIFAR network of 20 layers, shortcuts without parameters", |b, x| network(b, x, 3));
pub(super) const RESNET32: Arch =
    cifar("resnet32", "CIFAR network of 32 layers, shortcuts without parameters", |b, x| network(b, x, 5));
pub(super) const RESNET44: Arch =
    cifar("resnet44", "CIFAR network of 44 layers, shortcuts without parameters", |b, x| network(b, x, 7));
pub(super) const RESNET56: Arch =
    cifar("resnet56", "CIFAR network of 56 layers, shortcuts without parameters", |b, x| network(b, x, 9));
pub(super) const RESNET110: Arch =
    cifar("resnet110", "CIFAR network of 110 layers, shortcuts without parameters", |b, x| network(b, x, 18));

fn network(b: &mut Builder, x: Value, blocks: usize) -> Result<Value> {
    let x = conv3x3(b, "conv1", x, 16, 1)?;
    let x = b.batch_norm("bn1", x)?;
    let mut x = b.relu("relu1", x)?;
    for (stage, (filters, stride)) in (1..).zip(STAGES) {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = basic_block(b, &format!("layer{stage}.{block}"), x, filters, stride)?;
        }
    }
    let x = b.graph.layer("avgpool").global_average_pool(x)?;
    b.linear("linear", x, b.classes, Init::He, 0.0)
}

/// Figure 2 of the paper: relu(x + bn(conv(relu(bn(conv(x)))))).
fn basic_block(b: &mut Builder, name: &str, x: Value, filters: usize, stride: usize) -> Result<Value> {
    let y = conv3x3(b, &format!("{name}.conv1"), x, filters, stride)?;
    let y = b.batch_norm(&format!("{name}.bn1"), y)?;
    let y = b.relu(&format!("{name}.relu1"), y)?;
    let y = conv3x3(b, &format!("{name}.conv2"), y, filters, 1)?;
    let y = b.batch_norm(&format!("{name}.bn2"), y)?;
    let y = b.graph.layer(format!("{name}.shortcut")).add_shortcut(y, x, stride)?;
    b.relu(&format!("{name}.relu2"), y)
}

fn conv3x3(b: &mut Builder, name: &str, x: Value, filters: usize, stride: usize) -> Result<Value> {
    b.conv(name, x, Conv { filters, kernel: 3, stride, pad: 1, groups: 1, init: Init::He, bias: None })
}
