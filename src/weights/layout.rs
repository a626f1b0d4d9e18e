//! Between PyTorch's layout (OIHW) and that of the kernels: the only place that knows both.

use super::Tensor;
use crate::error::{Error, Result};
use crate::graph::{Layout, Shape};
use std::ops::Range;

/// Rows of a tensor, that is outputs of a layer, as they lie in GPU memory, padding included. A linear layer over a map,
/// `[K, C*R*S]` in PyTorch, is a filter `(R, S, C, K)` here.
///
/// # Errors
/// [`Error::Data`] if the number of values is not that of the shape.
pub fn import(tensor: &Tensor, rows: Range<usize>, shape: Shape) -> Result<Vec<f32>> {
    let all = tensor.shape.first().copied().unwrap_or_default().max(1);
    let row = tensor.data.len() / all;
    let data = tensor.data.get(row * rows.start..row * rows.end).unwrap_or_default();
    if shape.elements() != Some(data.len()) {
        return Err(Error::data(format!("{} values for {shape:?}", data.len())));
    }
    Ok(match shape.layout() {
        Layout::Filter => shape.pad(&permute(shape, |ours, torch| (torch, ours), data)),
        _ => shape.pad(data),
    })
}

/// The reverse of [`import`]: the values of the rows in PyTorch's order.
pub fn export(stored: &[f32], shape: Shape) -> Vec<f32> {
    let dense = shape.unpad(stored);
    match shape.layout() {
        Layout::Filter => permute(shape, |ours, torch| (ours, torch), &dense),
        _ => dense,
    }
}

/// Moves every element of a filter. `pick` gets its index in our layout RSCK and in PyTorch's KCRS and returns
/// (where it is read, where it is written).
fn permute(shape: Shape, pick: fn(usize, usize) -> (usize, usize), source: &[f32]) -> Vec<f32> {
    let [r, s, c, k] = shape.dims();
    let mut target = vec![0.0; source.len()];
    for i in 0..r {
        for j in 0..s {
            for ci in 0..c {
                for ki in 0..k {
                    let ours = ((i * s + j) * c + ci) * k + ki;
                    let torch = ((ki * c + ci) * r + i) * s + j;
                    let (from, to) = pick(ours, torch);
                    target[to] = source[from];
                }
            }
        }
    }
    target
}
