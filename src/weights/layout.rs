//! Conversion between PyTorch's layout (OIHW) and the layout of the kernels. Only this file knows both.

use crate::error::{Error, Result};
use crate::tensor::{Layout, Shape};

/// How many numbers a cache line has.
const SIDE: usize = 16;

/// How many numbers fit into the second-level cache of a processor.
const BLOCK: usize = 320 << 10;

/// How many rows of `row` numbers to convert at a time: whole cache lines of the result, and at least one.
pub fn rows_together(row: usize) -> usize {
    (BLOCK / row.max(1)).max(1).next_multiple_of(SIDE)
}

/// Converts numbers from PyTorch's layout to that of GPU memory, with padding. A linear layer over a map, `[K, C*R*S]` in
/// PyTorch, is a filter `(R, S, C, K)` here.
///
/// # Errors
/// [`Error::Data`] if the number of values is not that of the shape.
pub fn import(data: &[f32], shape: Shape) -> Result<Vec<f32>> {
    if shape.elements() != Some(data.len()) {
        return Err(Error::data(format!("{} values for {shape:?}", data.len())));
    }
    let mut stored = vec![0.0; shape.stored().unwrap_or_default()];
    import_rows(data, 0, shape, &mut stored)?;
    Ok(stored)
}

/// Converts some rows of a tensor of PyTorch, from row `first` on. A row is a filter, or a number of a vector. `stored` is the whole
/// converted tensor; it must have zeros where nothing has been written.
///
/// # Errors
/// [`Error::Data`] if the numbers are not whole rows, or exceed the tensor.
pub fn import_rows(data: &[f32], first: usize, shape: Shape, stored: &mut [f32]) -> Result<()> {
    let unfit = || Error::data(format!("{} values from row {first} on for {shape:?}", data.len()));
    let [r, s, c, k] = shape.dims();
    let [.., pc, pk] = shape.padded();
    let taps = r.checked_mul(s).ok_or_else(unfit)?;
    let row = taps.checked_mul(c).ok_or_else(unfit)?;
    let rows = data.len().checked_div(row).ok_or_else(unfit)?;
    let fits = matches!(shape.layout(), Layout::Filter | Layout::Vector)
        && data.len() == rows * row
        && first.checked_add(rows).is_some_and(|end| end <= k)
        && shape.stored() == Some(stored.len());
    if !fits {
        return Err(unfit());
    }
    // Blocks of SIDE numbers of SIDE filters, because memory is read and written by whole cache lines. Neighbours in the result are
    // written one after the other.
    for from in (0..row).step_by(SIDE) {
        for (block, filters) in data.chunks(SIDE * row).enumerate() {
            let count = filters.len() / row;
            let lines =
                transposed(filters.chunks_exact(row).map(|filter| &filter[from..row.min(from + SIDE)]));
            for (i, line) in (from..row).zip(&lines) {
                let (ci, tap) = (i / taps, i % taps);
                let to = (tap * pc + ci) * pk + first + block * SIDE;
                stored[to..to + count].copy_from_slice(&line.as_flattened()[..count]);
            }
        }
    }
    Ok(())
}

/// Transposes rows; missing numbers become zeros. It goes by squares of four, which a compiler turns into moves of whole registers.
fn transposed<'a>(rows: impl Iterator<Item = &'a [f32]>) -> [[[f32; 4]; SIDE / 4]; SIDE] {
    let mut padded = [[[0.0; 4]; SIDE / 4]; SIDE];
    for (to, from) in padded.iter_mut().zip(rows) {
        to.as_flattened_mut()[..from.len()].copy_from_slice(from);
    }
    let mut columns = [[[0.0; 4]; SIDE / 4]; SIDE];
    for (i, [a, b, c, d]) in padded.as_chunks::<4>().0.iter().enumerate() {
        for (j, column) in columns.iter_mut().enumerate() {
            let (square, at) = (j / 4, j % 4);
            column[i] = [a[square][at], b[square][at], c[square][at], d[square][at]];
        }
    }
    columns
}

/// Converts numbers from the layout of GPU memory to PyTorch's layout: the reverse of [`import`].
///
/// # Errors
/// As [`Shape::unpad`].
pub fn export(stored: &[f32], shape: Shape) -> Result<Vec<f32>> {
    if shape.layout() != Layout::Filter || shape.stored() != Some(stored.len()) {
        return shape.unpad(stored);
    }
    let [r, s, c, k] = shape.dims();
    let [.., pc, pk] = shape.padded();
    let (taps, row) = (r * s, r * s * c);
    let mut target = vec![0.0; row * k];
    // By squares of whole cache lines, as in `import_rows`.
    for from in (0..row).step_by(SIDE) {
        let until = row.min(from + SIDE);
        for first in (0..k).step_by(SIDE) {
            let count = SIDE.min(k - first);
            let lines = transposed((from..until).map(|i| {
                let at = (i % taps * pc + i / taps) * pk + first;
                &stored[at..at + count]
            }));
            for (filter, line) in target[first * row..].chunks_exact_mut(row).zip(&lines[..count]) {
                filter[from..until].copy_from_slice(&line.as_flattened()[..until - from]);
            }
        }
    }
    Ok(target)
}
