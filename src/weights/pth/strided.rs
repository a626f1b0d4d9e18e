//! Reads rows of a strided tensor: a transposed or sliced view of a storage.

use crate::error::Result;
use crate::weights::Dtype;
use crate::weights::bytes::Bytes;
use std::ops::Range;

/// The most bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Reading a whole span is faster than many small reads as long as one number in this many is needed.
const SPARSE: usize = 16;

/// The place of a tensor in a file. It has been checked that the tensor lies within the file.
#[derive(Debug)]
pub struct Place {
    /// The offset of the first number in the file, in bytes.
    pub start: u64,
    pub shape: Vec<usize>,
    /// The distance between neighbours along each dimension, in numbers.
    pub strides: Vec<usize>,
}

/// A dimension of a tensor that is copied from a file to a dense tensor.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    /// The distance between neighbours in the file, in numbers.
    stride: usize,
    /// The distance between neighbours in the dense tensor, in numbers.
    step: usize,
}

/// Reads some rows in row-major order. Besides the result it takes only some MiB. The rows must exist.
pub fn read(bytes: &Bytes, dtype: Dtype, place: &Place, rows: Range<usize>) -> Result<Vec<f32>> {
    let mut axes = Vec::with_capacity(place.shape.len());
    let mut elements = 1;
    for (i, (size, stride)) in place.shape.iter().zip(&place.strides).enumerate().rev() {
        let size = if i == 0 { rows.len() } else { *size };
        axes.push(Axis { size, stride: *stride, step: elements });
        elements *= size;
    }
    if place.shape.is_empty() {
        elements = rows.len();
    }
    if elements == 0 {
        return Ok(Vec::new());
    }
    let first = place.strides.first().copied().unwrap_or_default();
    let start = place.start + (rows.start * first * dtype.bytes()) as u64;
    axes.retain(|axis| axis.size > 1);
    if axes.iter().all(|axis| axis.stride == axis.step) {
        return dense(bytes, dtype, start, elements);
    }
    // Dimensions in the order of the file, so that the reads go forward.
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.stride));
    let mut out = vec![0.0; elements];
    gather(bytes, dtype, start, &axes, 0, &mut out)?;
    Ok(out)
}

fn dense(bytes: &Bytes, dtype: Dtype, start: u64, elements: usize) -> Result<Vec<f32>> {
    let mut out = Vec::with_capacity(elements);
    while out.len() < elements {
        let count = (elements - out.len()).min(CHUNK / dtype.bytes());
        let at = start + (out.len() * dtype.bytes()) as u64;
        out.extend(dtype.decode(&bytes.read(at, count * dtype.bytes())?));
    }
    Ok(out)
}

/// Reads as many indices of the outermost dimension at once as fit into a chunk. If one does not fit, it is read by its inner dimensions.
/// The recursion is as deep as there are dimensions.
fn gather(bytes: &Bytes, dtype: Dtype, at: u64, axes: &[Axis], to: usize, out: &mut [f32]) -> Result<()> {
    let Some((axis, inner)) = axes.split_first() else {
        return Ok(());
    };
    let most = CHUNK / dtype.bytes();
    // The span of one index in the file, and how many numbers of it are needed.
    let span = 1 + inner.iter().map(|axis| (axis.size - 1) * axis.stride).sum::<usize>();
    let wanted = inner.iter().map(|axis| axis.size).product::<usize>().saturating_mul(SPARSE);
    let position = |i: usize| at + (i * axis.stride * dtype.bytes()) as u64;
    if span > most || wanted < span {
        for i in 0..axis.size {
            gather(bytes, dtype, position(i), inner, to + i * axis.step, out)?;
        }
        return Ok(());
    }
    // A stride of 0 repeats the same numbers.
    let fitting = (most - span).checked_div(axis.stride).unwrap_or(axis.size);
    let together = if inner.is_empty() || wanted >= axis.stride { 1 + fitting } else { 1 };
    for first in (0..axis.size).step_by(together) {
        let size = together.min(axis.size - first);
        let count = (size - 1) * axis.stride + span;
        let numbers = dtype.decode(&bytes.read(position(first), count * dtype.bytes())?);
        for i in 0..size {
            scatter(&numbers, i * axis.stride, inner, to + (first + i) * axis.step, out);
        }
    }
    Ok(())
}

/// Copies numbers to their positions in the dense tensor.
fn scatter(numbers: &[f32], from: usize, axes: &[Axis], to: usize, out: &mut [f32]) {
    match axes.split_first() {
        None => {
            if let (Some(number), Some(place)) = (numbers.get(from), out.get_mut(to)) {
                *place = *number;
            }
        }
        Some((axis, inner)) => {
            for i in 0..axis.size {
                scatter(numbers, from + i * axis.stride, inner, to + i * axis.step, out);
            }
        }
    }
}
