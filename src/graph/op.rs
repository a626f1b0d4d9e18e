//! Shape checks for operations. Each check returns the sizes, or an error that names the operation.

use crate::error::{Error, Result};
use crate::tensor::{Layout, Precision, Shape};

/// The sizes of an input that must be activations.
///
/// # Errors
/// [`Error::Usage`] if it has another layout.
pub fn image(op: &str, shape: Shape) -> Result<[usize; 4]> {
    layout(op, shape, Layout::Image)
}

/// The sizes of an input that must be activations in single precision.
///
/// # Errors
/// [`Error::Usage`] if it has another layout or precision.
pub fn single(op: &str, shape: Shape) -> Result<[usize; 4]> {
    if shape.precision() == Precision::F32 {
        return image(op, shape);
    }
    Err(Error::usage(format!("{op} takes f32 here, not {shape:?}")))
}

/// The sizes of an input that must have the given layout.
///
/// # Errors
/// [`Error::Usage`] if it has another layout, or has no elements, or has more than 2^32 of them.
pub fn layout(op: &str, shape: Shape, wanted: Layout) -> Result<[usize; 4]> {
    if shape.layout() != wanted {
        return Err(Error::usage(format!("{op} takes {wanted:?} here, not {shape:?}")));
    }
    sized(op, shape)
}

/// Checks that an input holds numbers in single precision, in any layout: a state that an operation updates.
///
/// # Errors
/// [`Error::Usage`] if it has another precision, or has no elements, or has more than 2^32 of them.
pub fn floats(op: &str, shape: Shape) -> Result<()> {
    if shape.precision() != Precision::F32 {
        return Err(Error::usage(format!("{op} takes f32 here, not {shape:?}")));
    }
    sized(op, shape).map(|_| ())
}

/// The sizes of a shape that has 1 to 2^32 elements. The shape of an input or a state is not checked until an operation
/// reads it.
fn sized(op: &str, shape: Shape) -> Result<[usize; 4]> {
    match shape.stored().map(u32::try_from) {
        Some(Ok(1..)) => Ok(shape.dims()),
        Some(Ok(0)) => Err(Error::usage(format!("{op} takes no {shape:?}, which holds nothing"))),
        _ => Err(Error::usage(format!("{op} takes no {shape:?}, more than 2^32 numbers"))
            .hint("use a smaller batch or input size")),
    }
}

/// Checks the number of inputs and returns them as an array.
///
/// # Errors
/// [`Error::Usage`] if the number differs from `N`.
pub fn arity<const N: usize>(op: &str, inputs: &[Shape]) -> Result<[Shape; N]> {
    <[Shape; N]>::try_from(inputs)
        .map_err(|_| Error::usage(format!("{op} takes {N} inputs, not {}", inputs.len())))
}

/// Checks that two shapes are equal and returns the shape.
///
/// # Errors
/// [`Error::Usage`] if they differ.
pub fn same(op: &str, a: Shape, b: Shape) -> Result<Shape> {
    if a == b { Ok(a) } else { Err(Error::usage(format!("{op} takes equal shapes, not {a} and {b}"))) }
}
