//! Between PyTorch's layout (OIHW) and that of the kernels: the only place that knows both.

use crate::error::{Error, Result};
use crate::graph::{Layout, Shape};

/// Numbers of a cache line.
const SIDE: usize = 16;

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
    let [r, s, c, _] = shape.dims();
    let [.., pc, pk] = shape.padded();
    let taps = r * s;
    let mut stored = vec![0.0; taps * pc * pk];
    // So many numbers of as many filters at a time, for memory is read and written by whole cache lines.
    for (block, filters) in data.chunks((SIDE * taps * c).max(1)).enumerate() {
        for from in (0..taps * c).step_by(SIDE) {
            let mut lines = [[0.0; SIDE]; SIDE];
            let mut count = 0;
            for (i, filter) in filters.chunks_exact((taps * c).max(1)).enumerate() {
                for (line, x) in lines.iter_mut().zip(&filter[from..]) {
                    line[i] = *x;
                }
                count = i + 1;
            }
            for (i, line) in (from..taps * c).zip(&lines) {
                let (ci, tap) = (i / taps, i % taps);
                let to = (tap * pc + ci) * pk + block * SIDE;
                stored[to..to + count].copy_from_slice(&line[..count]);
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
