//! ZFNet: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013 (arXiv:1311.2901).
//!
//! `zfnet`: figure 3. The paper gives the sizes of the maps, 110, 55, 26, 13, 6. Padding 1 in conv1 and pooling in
//! ceil mode give these sizes. Contrast normalisation comes after pooling (section 2), with AlexNet's constants.
//! Section 3: weights from a normal distribution with standard deviation 0.01, biases 0, dropout of 0.5 in both hidden
//! layers. A filter whose root mean square exceeds 0.1 is scaled back to it after each step. `zfnet512`: the variant
//! of the ONNX model zoo: 512 filters in conv3 to conv5, no padding in conv1 and conv2, LRN before pooling, a 2x2
//! window in the last pooling, 1024 units in fc7. Deviation: one crop, not the ten of section 3.

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
    Arch { name, family: "ZFNet", size: 224, classes: 1000, about, build }
}

pub(super) const ZFNETS: [Arch; 2] = [
    arch("zfnet", "the paper's network: 7x7 filters of stride 2, finer maps than AlexNet", zfnet),
    arch("zfnet512", "the ONNX model zoo's: 512 filters in the last three layers", zfnet512),
];

/// Filters, kernel, stride, padding.
type Row = (usize, usize, usize, usize);

const PAPER: [Row; 5] = [(96, 7, 2, 1), (256, 5, 2, 0), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1)];
const ZOO: [Row; 5] = [(96, 7, 2, 0), (256, 5, 2, 0), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1)];

const INIT: Init = Init::Normal(0.01);
const LRN: LrnOptions = LrnOptions { size: 5, alpha: 5e-4, beta: 0.75, bias: 2.0 };
/// Section 3: the largest root mean square of a filter.
const LARGEST: f32 = 0.1;

fn conv(b: &mut Builder, i: usize, x: Value, (filters, kernel, stride, pad): Row) -> Result<Value> {
    let conv = Conv { filters, kernel, stride, pad, groups: 1, init: INIT, bias: Some(0.0) };
    let y = b.conv(&format!("conv{i}"), x, conv)?;
    b.limit_filters(LARGEST);
    Ok(y)
}

fn zfnet(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, row) in (1..).zip(PAPER) {
        x = conv(b, i, x, row)?;
        if [1, 2, 5].contains(&i) {
            // Max pooling commutes with ReLU. Pooling first gives the same result for less work.
            x = b.max_pool(&format!("pool{i}"), x, PoolOptions::square(3, 2).ceil())?;
        }
        x = b.relu(&format!("conv{i}.relu"), x)?;
        if i <= 2 {
            x = b.lrn(&format!("norm{i}"), x, LRN)?;
        }
    }
    head(b, x, [4096, 4096])
}

fn zfnet512(b: &mut Builder, mut x: Value) -> Result<Value> {
    for (i, row) in (1..).zip(ZOO) {
        x = conv(b, i, x, row)?;
        x = b.relu(&format!("conv{i}.relu"), x)?;
        if i <= 2 {
            x = b.lrn(&format!("norm{i}"), x, LRN)?;
            x = b.max_pool(&format!("pool{i}"), x, PoolOptions::square(3, 2))?;
        }
    }
    x = b.max_pool("pool5", x, PoolOptions::square(2, 2))?;
    head(b, x, [4096, 1024])
}

fn head(b: &mut Builder, mut x: Value, units: [usize; 2]) -> Result<Value> {
    for (name, units) in ["fc6", "fc7"].into_iter().zip(units) {
        x = b.linear(name, x, units, INIT, 0.0)?;
        x = b.relu(&format!("{name}.relu"), x)?;
        x = b.dropout(&format!("{name}.dropout"), x, 0.5)?;
    }
    b.logits("fc8", x, INIT, 0.0)
}
