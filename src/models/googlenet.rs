//! GoogLeNet: Szegedy et al., "Going Deeper with Convolutions", 2014 (arXiv:1409.4842), table 1.
//!
//! `googlenet`: the paper's network. Details that the paper leaves open are those of Caffe's bvlc_googlenet: LRN after
//! pool1 and before pool2, biases of 0.2, Xavier weights, pooling in ceil mode, dropout of 0.4, and two auxiliary
//! classifiers (section 5) on 4a and 4d with dropout of 0.7. `googlenet-tv`: torchvision's, with batch norm (epsilon
//! 1e-3) instead of biases and LRN, 3x3 instead of 5x5 convolutions, a 2x2 window in pool4, dropout of 0.2. Deviation:
//! an auxiliary classifier on a map smaller than 5x5 averages over the whole map.

use super::builder::{Builder, Conv};
use super::{Arch, Init};
use crate::error::Result;
use crate::ops::{LrnOptions, PoolOptions};
use crate::tensor::Value;

const fn arch(
    name: &'static str,
    about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
) -> Arch {
    Arch { name, family: "GoogLeNet", size: 224, classes: 1000, about, build }
}

pub(super) const GOOGLENETS: [Arch; 2] = [
    arch("googlenet", "the paper's network: LRN, 5x5 convolutions, two auxiliary classifiers", |b, x| {
        network(b, x, Style::Paper)
    }),
    arch("googlenet-tv", "torchvision's: batch norm, 3x3 for 5x5 convolutions", |b, x| {
        network(b, x, Style::Torchvision)
    }),
];

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Paper,
    Torchvision,
}

/// Table 1: name, #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
type Row = (&'static str, usize, usize, usize, usize, usize, usize);

const STAGE3: [Row; 2] = [("3a", 64, 96, 128, 16, 32, 32), ("3b", 128, 128, 192, 32, 96, 64)];
const STAGE4: [Row; 5] = [
    ("4a", 192, 96, 208, 16, 48, 64),
    ("4b", 160, 112, 224, 24, 64, 64),
    ("4c", 128, 128, 256, 24, 64, 64),
    ("4d", 112, 144, 288, 32, 64, 64),
    ("4e", 256, 160, 320, 32, 128, 128),
];
const STAGE5: [Row; 2] = [("5a", 256, 160, 320, 32, 128, 128), ("5b", 384, 192, 384, 48, 128, 128)];

const LRN: LrnOptions = LrnOptions { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 };

fn network(b: &mut Builder, x: Value, style: Style) -> Result<Value> {
    let paper = style == Style::Paper;
    let pool = PoolOptions::square(3, 2).ceil();
    let mut x = linear_unit(
        b,
        style,
        "conv1",
        x,
        Conv { filters: 64, kernel: 7, stride: 2, pad: 3, ..Conv::default() },
    )?;
    // Max pooling commutes with ReLU. Pooling first gives the same result for less work.
    x = b.max_pool("maxpool1", x, pool)?;
    x = b.relu("conv1.relu", x)?;
    if paper {
        x = b.lrn("norm1", x, LRN)?;
    }
    x = unit(b, style, "conv2", x, Conv { filters: 64, ..Conv::default() })?;
    let conv3 = Conv { filters: 192, kernel: 3, pad: 1, ..Conv::default() };
    x = if paper {
        let x = unit(b, style, "conv3", x, conv3)?;
        let x = b.lrn("norm2", x, LRN)?;
        b.max_pool("maxpool2", x, pool)?
    } else {
        let x = linear_unit(b, style, "conv3", x, conv3)?;
        let x = b.max_pool("maxpool2", x, pool)?;
        b.relu("conv3.relu", x)?
    };
    for row in STAGE3 {
        x = inception(b, style, x, row)?;
    }
    x = b.max_pool("maxpool3", x, pool)?;
    for row in STAGE4 {
        x = inception(b, style, x, row)?;
        match row.0 {
            "4a" => auxiliary(b, style, "aux1", x)?,
            "4d" => auxiliary(b, style, "aux2", x)?,
            _ => {}
        }
    }
    x = b.max_pool("maxpool4", x, if paper { pool } else { PoolOptions::square(2, 2).ceil() })?;
    for row in STAGE5 {
        x = inception(b, style, x, row)?;
    }
    x = b.global_average_pool("avgpool", x)?;
    x = b.dropout("dropout", x, if paper { 0.4 } else { 0.2 })?;
    b.logits("fc", x, init(style), 0.0)
}

fn init(style: Style) -> Init {
    match style {
        Style::Paper => Init::Xavier,
        Style::Torchvision => Init::Normal(0.01),
    }
}

/// A convolution without ReLU: with a bias in the paper's style, with batch norm in torchvision's.
fn linear_unit(b: &mut Builder, style: Style, name: &str, x: Value, conv: Conv) -> Result<Value> {
    match style {
        Style::Paper => b.conv(name, x, Conv { init: Init::Xavier, bias: Some(0.2), ..conv }),
        Style::Torchvision => {
            let x = b.conv(&format!("{name}.conv"), x, Conv { init: Init::HeOut, ..conv })?;
            b.batch_norm(&format!("{name}.bn"), x, 1e-3)
        }
    }
}

fn unit(b: &mut Builder, style: Style, name: &str, x: Value, conv: Conv) -> Result<Value> {
    let x = linear_unit(b, style, name, x, conv)?;
    b.relu(&format!("{name}.relu"), x)
}

/// Figure 2b: four branches, concatenated along the channels.
fn inception(b: &mut Builder, style: Style, x: Value, row: Row) -> Result<Value> {
    let (name, one, three_reduce, three, five_reduce, five, projection) = row;
    let name = format!("inception{name}");
    let point = |filters| Conv { filters, ..Conv::default() };
    let square = |filters, kernel| Conv { filters, kernel, pad: kernel / 2, ..Conv::default() };
    let branch1 = unit(b, style, &format!("{name}.branch1"), x, point(one))?;
    let y = unit(b, style, &format!("{name}.branch2.0"), x, point(three_reduce))?;
    let branch2 = unit(b, style, &format!("{name}.branch2.1"), y, square(three, 3))?;
    let y = unit(b, style, &format!("{name}.branch3.0"), x, point(five_reduce))?;
    let kernel = if style == Style::Paper { 5 } else { 3 };
    let branch3 = unit(b, style, &format!("{name}.branch3.1"), y, square(five, kernel))?;
    let y = b.max_pool(&format!("{name}.branch4.0"), x, PoolOptions::square(3, 1).padded(1).ceil())?;
    let branch4 = unit(b, style, &format!("{name}.branch4.1"), y, point(projection))?;
    b.graph.layer(name).concat(&[branch1, branch2, branch3, branch4])
}

/// Section 5: a small classifier on an inner map, in training only.
fn auxiliary(b: &mut Builder, style: Style, name: &str, x: Value) -> Result<()> {
    if !b.training() {
        return Ok(());
    }
    let [h, w, _] = b.map(x)?;
    let graph = b.graph.layer(format!("{name}.pool"));
    let x = match style {
        Style::Paper => {
            let options = PoolOptions { kernel: [h.min(5), w.min(5)], ..PoolOptions::square(5, 3) };
            graph.average_pool(x, options)?
        }
        Style::Torchvision => graph.adaptive_average_pool(x, [4, 4])?,
    };
    let x = unit(b, style, &format!("{name}.conv"), x, Conv { filters: 128, ..Conv::default() })?;
    let x = b.linear(
        &format!("{name}.fc1"),
        x,
        1024,
        init(style),
        if style == Style::Paper { 0.2 } else { 0.0 },
    )?;
    let x = b.relu(&format!("{name}.relu"), x)?;
    let x = b.dropout(&format!("{name}.dropout"), x, 0.7)?;
    let logits = b.logits(&format!("{name}.fc2"), x, init(style), 0.0)?;
    b.auxiliary.push(logits);
    Ok(())
}
