//! Pre-activation ResNet: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016
//! (arXiv:1603.05027), for CIFAR, as in the authors' resnet-pre-act.lua.
//!
//! A 3x3 convolution of 16 filters, three stages, a last batch norm and ReLU, global average pooling and a linear
//! layer. A block is x + conv(relu(bn(... x))). `preresnet164` and `preresnet1001` have bottlenecks (9n + 2 layers).
//! Their stages end in 64, 128 and 256 channels. In the first block of a stage, the branch and a projection share the
//! first batch norm and ReLU. `preresnet110` has the two 3x3 convolutions of `resnet110` (6n + 2 layers) and its
//! shortcuts without parameters.

use super::Arch;
use super::builder::{Builder, Conv};
use super::resnet::HEAD;
use crate::error::Result;
use crate::tensor::Value;

const fn arch(
    name: &'static str,
    about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
) -> Arch {
    Arch { name, family: "ResNet", size: 32, classes: 10, about, build }
}

pub(super) const PRERESNETS: [Arch; 3] = [
    arch("preresnet110", "CIFAR network of 110 layers, activation first", |b, x| network(b, x, 18, basic)),
    arch("preresnet164", "CIFAR network of 164 layers, activation first", |b, x| {
        network(b, x, 18, bottleneck)
    }),
    arch("preresnet1001", "CIFAR network of 1001 layers, activation first", |b, x| {
        network(b, x, 111, bottleneck)
    }),
];

/// Filters of the 3x3 convolutions and stride of the first block of each stage.
const STAGES: [(usize, usize); 3] = [(16, 1), (32, 2), (64, 2)];

type Block = fn(&mut Builder, &str, Value, usize, usize, bool) -> Result<Value>;

fn network(b: &mut Builder, x: Value, blocks: usize, block: Block) -> Result<Value> {
    let mut x = conv(b, "conv1", x, 16, 3, 1)?;
    for (stage, (filters, stride)) in (1..).zip(STAGES) {
        for i in 0..blocks {
            let stride = if i == 0 { stride } else { 1 };
            x = block(b, &format!("layer{stage}.{i}"), x, filters, stride, i == 0)?;
        }
    }
    let x = activation(b, "bn", x)?;
    let x = b.global_average_pool("avgpool", x)?;
    b.logits("fc", x, HEAD, 0.0)
}

fn activation(b: &mut Builder, name: &str, x: Value) -> Result<Value> {
    let x = b.batch_norm(name, x, 1e-5)?;
    b.relu(&format!("{name}.relu"), x)
}

fn conv(
    b: &mut Builder,
    name: &str,
    x: Value,
    filters: usize,
    kernel: usize,
    stride: usize,
) -> Result<Value> {
    b.conv(name, x, Conv { filters, kernel, stride, pad: kernel / 2, ..Conv::default() })
}

/// Figure 4e of the paper.
fn basic(b: &mut Builder, name: &str, x: Value, filters: usize, stride: usize, _: bool) -> Result<Value> {
    let y = activation(b, &format!("{name}.bn1"), x)?;
    let y = conv(b, &format!("{name}.conv1"), y, filters, 3, stride)?;
    let y = activation(b, &format!("{name}.bn2"), y)?;
    let y = conv(b, &format!("{name}.conv2"), y, filters, 3, 1)?;
    b.graph.layer(format!("{name}.shortcut")).add_shortcut(y, x, stride)
}

fn bottleneck(
    b: &mut Builder,
    name: &str,
    x: Value,
    filters: usize,
    stride: usize,
    first: bool,
) -> Result<Value> {
    let active = activation(b, &format!("{name}.bn1"), x)?;
    let y = conv(b, &format!("{name}.conv1"), active, filters, 1, stride)?;
    let y = activation(b, &format!("{name}.bn2"), y)?;
    let y = conv(b, &format!("{name}.conv2"), y, filters, 3, 1)?;
    let y = activation(b, &format!("{name}.bn3"), y)?;
    let y = conv(b, &format!("{name}.conv3"), y, 4 * filters, 1, 1)?;
    let shortcut =
        if first { conv(b, &format!("{name}.downsample"), active, 4 * filters, 1, stride)? } else { x };
    b.graph.layer(format!("{name}.add")).add(y, shortcut)
}
