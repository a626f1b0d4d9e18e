//! The recording: dispatches as data, whose buffers have no memory yet.

use super::buffer::{Access, Buf, BufId};
use super::{ChannelReduction, Partials, RecordOptions, Update};
use crate::error::{Error, Result};
use crate::gpu::{BINDING_ALIGNMENT, Field, Kernel, KernelParams, MAX_WORKGROUPS};
use crate::tensor::{Precision, Shape, Value};

/// One dispatch of a kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The value whose operation recorded the dispatch.
    pub value: Value,
    /// The kernel.
    pub kernel: Kernel,
    /// The bytes of the kernel's parameter struct.
    pub params: Vec<u8>,
    /// The buffers in the order of the bindings after the parameters.
    pub buffers: Vec<(Buf, Access)>,
    /// The grid, in workgroups.
    pub workgroups: [u32; 3],
    /// The members of the parameter struct. A test compares them with the shader's struct.
    pub fields: &'static [Field],
    /// Whether the dispatch is part of a matrix product.
    pub product: bool,
}

/// The SGD step of one tensor. It may share a dispatch with the steps of other tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    /// The value whose operation recorded the step.
    pub(crate) value: Value,
    /// The operands besides the gradient.
    pub(crate) on: Update,
    /// The partials whose sum is the gradient.
    pub(crate) gradient: Partials,
    /// Whether an operation of this library has recorded the step.
    pub(crate) trusted: bool,
}

/// An item of a recording.
#[allow(clippy::large_enum_variant, reason = "nearly all of a recording are dispatches")]
#[derive(Debug, Clone)]
pub(crate) enum Recorded {
    /// A dispatch of a kernel.
    Dispatch(Dispatch),
    /// An SGD step, whose kernel is selected later.
    Sgd(SgdStep),
}

/// Collects the dispatches and SGD steps that operations record.
#[derive(Debug)]
pub struct Recorder {
    options: RecordOptions,
    value: Value,
    trusted: bool,
    workspaces: u32,
    recorded: Vec<Recorded>,
}

impl Recorder {
    /// Creates an empty recording.
    pub(crate) fn new(options: RecordOptions) -> Self {
        Self { options, value: Value::default(), trusted: false, workspaces: 0, recorded: Vec::new() }
    }

    /// Sets the value that the following dispatches compute, and whether an operation of this library records them. The
    /// driver checks the indices of other operations' kernels.
    pub(crate) fn start(&mut self, value: Value, trusted: bool) {
        (self.value, self.trusted) = (value, trusted);
    }

    /// Whether an operation of this library is being recorded.
    pub(crate) fn trusts(&self) -> bool {
        self.trusted
    }

    /// The recorded items in order.
    pub(crate) fn into_recorded(self) -> Vec<Recorded> {
        self.recorded
    }

    /// Adds a dispatch of another recording.
    pub(crate) fn push(&mut self, dispatch: Dispatch) {
        self.recorded.push(Recorded::Dispatch(dispatch));
    }

    /// The recorded dispatches. SGD steps are dropped, so each must have been replaced by a dispatch.
    pub(crate) fn into_dispatches(self) -> Vec<Dispatch> {
        let dispatch = |item| match item {
            Recorded::Dispatch(dispatch) => Some(dispatch),
            Recorded::Sgd(_) => None,
        };
        self.recorded.into_iter().filter_map(dispatch).collect()
    }

    /// The options of the recording.
    pub fn options(&self) -> &RecordOptions {
        &self.options
    }

    /// Allocates temporary memory of the operation that is being recorded.
    pub fn workspace(&mut self, bytes: u64) -> Buf {
        self.workspaces += 1;
        Buf::new(BufId::Workspace(self.workspaces - 1), Shape::nothing(), bytes)
    }

    /// Allocates memory for `count` partials of a reduction, for `c4` `vec4`s of channels.
    pub(crate) fn partials(&mut self, reduction: &ChannelReduction, count: u32, c4: u32) -> Partials {
        Partials::new(self.workspace(u64::from(count) * reduction.partial_bytes(c4)), count)
    }

    /// Records an SGD step. Its kernel is selected when all steps are known.
    pub(crate) fn sgd(&mut self, on: Update, gradient: Partials) {
        self.recorded.push(Recorded::Sgd(SgdStep { value: self.value, on, gradient, trusted: self.trusted }));
    }

    /// Records a dispatch of `count` invocations in workgroups of 64. `flat` of `shaders/include/grid.wgsl` returns the
    /// index of an invocation. A grid that is too long for one dimension is folded into x and y.
    ///
    /// # Errors
    /// As [`Recorder::dispatch`].
    pub fn flat<P: KernelParams>(
        &mut self,
        kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        count: u32,
    ) -> Result<()> {
        self.dispatch(kernel, params, reads, writes, fold(count.div_ceil(64)))
    }

    /// Records a dispatch. The bindings are the parameters, then `reads`, then `writes`.
    ///
    /// # Errors
    /// [`Error::Gpu`] if a buffer exceeds what one binding may span, [`Error::Internal`] if the grid is empty or too
    /// large.
    pub fn dispatch<P: KernelParams>(
        &mut self,
        kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        workgroups: [u32; 3],
    ) -> Result<()> {
        self.record(kernel, params, reads, writes, workgroups, false)
    }

    /// Records a dispatch of a matrix product. Its kernel states the number format of each operand.
    pub(crate) fn product<P: KernelParams>(
        &mut self,
        kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        workgroups: [u32; 3],
    ) -> Result<()> {
        self.record(kernel, params, reads, writes, workgroups, true)
    }

    fn record<P: KernelParams>(
        &mut self,
        mut kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        [x, y, z]: [u32; 3],
        product: bool,
    ) -> Result<()> {
        let reads = reads.iter().map(|b| (*b, Access::Read));
        let buffers: Vec<_> = reads.chain(writes.iter().map(|b| (*b, Access::Write))).collect();
        if kernel.types.is_empty() {
            // Unless the kernel states the format of each operand, all its activations have the same format.
            let half = buffers.iter().find(|(b, _)| b.shape.precision() == Precision::F16);
            let stored = half.map_or(Precision::F32, |(b, _)| b.shape.precision());
            kernel.types.push(("Stored", stored.wgsl()));
        }
        kernel.trusted &= self.trusted;
        if kernel.trusted {
            self.options.check_kernel(&kernel)?;
        }
        check_buffers(&buffers).map_err(|e| e.at(kernel.name))?;
        let limit = self.options.limits.bindable_bytes();
        if let Some((big, _)) = buffers.iter().find(|(b, _)| b.bytes > limit || b.batch.chunk > 0) {
            return Err(Error::out_of_memory(format!(
                "{} needs {} MiB in one piece, and the adapter allows {} MiB",
                kernel.name,
                big.bytes.div_ceil(1 << 20),
                limit >> 20
            ))
            .hint("use a smaller batch (in training the gradients of several can be summed in a step) or input size"));
        }
        if x.max(y).max(z) > MAX_WORKGROUPS || x == 0 || y == 0 || z == 0 {
            return Err(Error::internal(format!("{} has a grid of {x} x {y} x {z} workgroups", kernel.name)));
        }
        self.recorded.push(Recorded::Dispatch(Dispatch {
            value: self.value,
            kernel,
            params: params.to_bytes(),
            buffers,
            workgroups: [x, y, z],
            fields: P::FIELDS,
            product,
        }));
        Ok(())
    }
}

/// Checks what a dispatch binds. An error here concerns one operation; the same mistake in the driver would end the
/// device.
fn check_buffers(buffers: &[(Buf, Access)]) -> Result<()> {
    for (i, (buf, access)) in buffers.iter().enumerate() {
        let end = buf.offset.checked_add(buf.bytes);
        // The size of an arena is known only when all its members are placed.
        let fits = end.is_some_and(|end| end <= buf.room || matches!(buf.id, BufId::Arena(_)));
        if !fits || !buf.offset.is_multiple_of(BINDING_ALIGNMENT) {
            return Err(Error::internal(format!(
                "it binds {} bytes from byte {} on of a buffer of {}",
                buf.bytes, buf.offset, buf.room
            ))
            .hint(format!(
                "bind a part of the buffer that begins at a multiple of {BINDING_ALIGNMENT} bytes"
            )));
        }
        let other = buffers.iter().enumerate().find(|(j, (b, a))| *j != i && b.id == buf.id && a != access);
        if other.is_some() {
            return Err(Error::internal("it reads and writes one buffer")
                .hint("bind a buffer once, for writing, if the kernel changes it"));
        }
    }
    Ok(())
}

/// The grid for a number of workgroups: folded into x and y if one dimension is too short.
pub(crate) fn fold(workgroups: u32) -> [u32; 3] {
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    [workgroups.div_ceil(y).max(1), y, 1]
}
