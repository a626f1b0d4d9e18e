//! The operations, one file each: shape rule, gradient, kernels, multiply-adds.
//!
//! Each has a shader and a test of the same name: `shaders/X.wgsl`, `src/ops/X.rs`, `tests/ops/X.rs`.
//! They enter a graph through the methods of [`Graph`] that these files add, for example
//! [`Graph::conv2d`].

mod add;
mod batch_norm;
mod buffer;
mod choice;
mod column;
mod concat;
mod conv2d;
mod core;
mod describe;
mod dropout;
mod epilogue;
mod fill;
mod guard;
mod limit_rms;
mod linear;
mod lrn;
mod pool;
mod preprocess;
#[cfg(not(target_family = "wasm"))]
mod probe;
mod product;
mod record;
mod reduce;
mod relu;
mod reshape;
mod sgd;
mod sgd_together;
mod slice;
mod softmax_cross_entropy;
mod ungroup;
mod winograd;

pub use batch_norm::Running;
pub(crate) use buffer::ranges;
pub use buffer::{Access, Batch, Buf, BufId, Slice};
pub use choice::{Choice, Choices, ProductForm, ProductKey};
pub(crate) use column::Look;
pub use column::Wants;
pub use conv2d::ConvOptions;
pub use core::Core;
pub use describe::Description;
pub use epilogue::{Epilogue, Stage};
pub use guard::SMALLEST_EXPONENT;
pub use lrn::LrnOptions;
pub use pool::PoolOptions;
#[cfg(not(target_family = "wasm"))]
pub(crate) use probe::Probe;
pub(crate) use record::{Addends, Reader};
pub use record::{Dispatch, Product, RecordOptions, Recorder};
pub use sgd::Update;
pub(crate) use sgd_together::{GRADIENTS, Places, Step as SgdStep, TENSORS, together};
pub use winograd::{Block, Winograd};

use crate::error::{Error, Result};
use crate::graph::{Graph, Layout, Precision, Shape, Value};
use std::fmt::Debug;

/// An operation: everything the graph and the plan need to know of it.
pub trait Op: Debug + Send + Sync {
    /// The name, e.g. `conv2d`, and for a gradient `conv2d.dw`.
    fn name(&self) -> &'static str;

    /// What it computes, as data; `None` of an operation that no network has in inference.
    fn describe(&self) -> Option<Description> {
        None
    }

    /// The shape of the result, and every check of the inputs.
    ///
    /// # Errors
    /// [`Error::Usage`] if the inputs do not fit.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Appends the gradient: from the inputs `x`, the result `y` and the gradient `dy` of the result
    /// to the gradient of each input, `None` for one that has none.
    ///
    /// # Errors
    /// [`Error::Internal`] for an operation without a gradient.
    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Err(Error::internal(format!("{} has no gradient", self.name())))
    }

    /// Records the kernels that compute `y` from `x`. A value that is too large for one binding comes in pieces; an
    /// operation that is not [`Op::per_image`] in any input takes them apart itself.
    ///
    /// # Errors
    /// [`Error::Gpu`] if something exceeds the adapter's limits.
    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()>;

    /// What it is to the operation that makes this input, if that can do it in the same kernel.
    fn stage(&self, _input: usize) -> Option<Stage> {
        None
    }

    /// Whether its kernel can do such a stage before it writes its result.
    fn takes(&self, _stage: Stage) -> bool {
        false
    }

    /// As [`Op::record`], with stages that follow. `y` is the result of the last one.
    ///
    /// # Errors
    /// As [`Op::record`].
    fn record_with(&self, _r: &mut Recorder, _x: &[Buf], _epilogue: &Epilogue, _y: Buf) -> Result<()> {
        Err(Error::internal(format!("{} cannot be followed in its kernel", self.name())))
    }

    /// Records the vectors of [`Epilogue::affine`] from the inputs.
    ///
    /// # Errors
    /// As [`Op::record`].
    fn record_affine(&self, _r: &mut Recorder, _x: &[Buf]) -> Result<Buf> {
        Err(Error::internal(format!("{} is no affine map", self.name())))
    }

    /// Multiply-adds of the products in it; of a convolution those of its definition, however it is computed.
    fn macs(&self, _inputs: &[Shape]) -> u64 {
        0
    }

    /// Whether it is computed as soon as its inputs are, not where it stands in the graph: it is smaller than what it
    /// is computed from, and so that need not be kept.
    fn is_early(&self) -> bool {
        false
    }

    /// Whether each picture of the result depends on the same picture of this input alone. Such an operation is
    /// recorded for some pictures at a time where the batch does not fit one binding.
    fn per_image(&self, _input: usize) -> bool {
        false
    }

    /// Whether it can write its result into a slice of the channels of a wider tensor.
    fn writes_slice(&self) -> bool {
        false
    }

    /// Whether it can read this input from a slice of the channels of a wider tensor.
    fn reads_slice(&self, _input: usize) -> bool {
        false
    }

    /// Whether it adds up this input itself where that is left in several numbers: sums of parts, of which writing and reading
    /// the whole would cost a kernel of its own.
    fn adds(&self, _input: usize) -> bool {
        false
    }

    /// What it sums over all pixels of this input, if it can do with parts that were seen while that was stored.
    fn wants(&self, _input: usize) -> Option<Wants> {
        None
    }

    /// Whether its result is its inputs side by side, so that they may be slices of it.
    fn joins(&self) -> bool {
        false
    }

    /// The first channel, if its result is a slice of its input.
    fn slices(&self) -> Option<usize> {
        None
    }

    /// Whether its result is its input under another shape, in the same memory.
    fn renames(&self) -> bool {
        false
    }

    /// Positions of the inputs that it changes in place. Such an operation has no result.
    fn updates(&self) -> &'static [usize] {
        &[]
    }
}

/// The sizes of an input that must be activations.
fn image(op: &str, shape: Shape) -> Result<[usize; 4]> {
    layout(op, shape, Layout::Image)
}

/// The sizes of an input that must be activations in single precision.
fn single(op: &str, shape: Shape) -> Result<[usize; 4]> {
    if shape.precision() == Precision::F32 {
        return image(op, shape);
    }
    Err(Error::usage(format!("{op} takes f32 here, not {shape:?}")))
}

/// The sizes of an input that must have the given layout.
fn layout(op: &str, shape: Shape, wanted: Layout) -> Result<[usize; 4]> {
    if shape.layout() != wanted {
        return Err(Error::usage(format!("{op} takes {wanted:?} here, not {shape:?}")));
    }
    // Inputs and states have any shape until an operation reads them.
    match shape.stored().map(u32::try_from) {
        Some(Ok(1..)) => Ok(shape.dims()),
        Some(Ok(0)) => Err(Error::usage(format!("{op} takes no {shape:?}, which holds nothing"))),
        _ => Err(Error::usage(format!("{op} takes no {shape:?}, more than 2^32 numbers"))
            .cure("use a smaller batch or input size")),
    }
}

/// Checks the number of inputs.
fn arity<const N: usize>(op: &str, inputs: &[Shape]) -> Result<[Shape; N]> {
    <[Shape; N]>::try_from(inputs)
        .map_err(|_| Error::usage(format!("{op} takes {N} inputs, not {}", inputs.len())))
}

/// Checks that two shapes are the same.
fn same(op: &str, a: Shape, b: Shape) -> Result<Shape> {
    if a == b { Ok(a) } else { Err(Error::usage(format!("{op} takes equal shapes, not {a} and {b}"))) }
}
