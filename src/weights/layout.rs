//! Between PyTorch's layout (OIHW) and that of the kernels: the only place that knows both.

use crate::error::{Error, Result};
use crate::graph::{Layout, Shape};

/// Numbers in PyTorch's order as they lie in GPU memory, padding included. A linear layer over a map, `[K, C*R*S]` in
/// PyTorch, is a filter `(R, S, C, K)` here.
///
/// # Errors
/// [`Error::Data`] if the number of values is not that of the shape.
pub fn import(data: &[f32], shape: Shape) -> Result<Vec<f32>> {
    if shape.elements() != Some(data.len()) {
        return Err(Error::data(format!("{} values for {shape:?}", data.len())));
    }
    if shape.layout() != Layout::Filter {
        return Ok(shape.pad(data));
    }
    let [r, s, c, k] = shape.dims();
    let [.., pc, pk] = shape.padded();
    let mut stored = vec![0.0; r * s * pc * pk];
    // Eight filters at a time, so that neighbours in the result are written together.
    for first in (0..k).step_by(8) {
        for ci in 0..c {
            for tap in 0..r * s {
                for ki in first..(first + 8).min(k) {
                    stored[(tap * pc + ci) * pk + ki] = data[(ki * c + ci) * r * s + tap];
                }
            }
        }
    }
    Ok(stored)
}

/// The reverse of [`import`]: the values of the rows in PyTorch's order.
pub fn export(stored: &[f32], shape: Shape) -> Vec<f32> {
    let dense = shape.unpad(stored);
    match shape.layout() {
        Layout::Filter => permute(shape, &dense),
        _ => dense,
    }
}

/// The elements of a filter without padding, from our order RSCK to PyTorch's KCRS.
fn permute(shape: Shape, source: &[f32]) -> Vec<f32> {
    let [r, s, c, k] = shape.dims();
    let mut target = vec![0.0; source.len()];
    for tap in 0..r * s {
        for ci in 0..c {
            for ki in 0..k {
                target[(ki * c + ci) * r * s + tap] = source[(tap * c + ci) * k + ki];
            }
        }
    }
    target
}
