//! What operations record: dispatches as data, with buffers that have no memory yet.

use super::buffer::{Access, Buf, BufId};
use super::{ChannelReduction, Partials, RecordOptions, Update};
use crate::error::{Error, Result};
use crate::gpu::{Field, Kernel, KernelParams, MAX_WORKGROUPS};
use crate::tensor::{Precision, Shape, Value};

/// One call of a kernel.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The value whose operation recorded it.
    pub value: Value,
    /// The kernel.
    pub kernel: Kernel,
    /// The bytes of its parameter struct.
    pub params: Vec<u8>,
    /// Its buffers in the order of the bindings after the parameters.
    pub buffers: Vec<(Buf, Access)>,
    /// The grid.
    pub workgroups: [u32; 3],
    /// The members of the parameter struct, for the test that compares them with the shader.
    pub fields: &'static [Field],
    /// Whether it is a matrix product.
    pub product: bool,
}

/// A step of SGD on one tensor, which may share a call with those of others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    /// The value whose operation recorded it.
    pub(crate) value: Value,
    /// What it works on.
    pub(crate) on: Update,
    /// The gradient: the sum of these.
    pub(crate) gradient: Partials,
}

/// What an operation records.
#[allow(clippy::large_enum_variant, reason = "nearly all of a recording are dispatches")]
#[derive(Debug, Clone)]
pub(crate) enum Recorded {
    /// A call of a kernel.
    Dispatch(Dispatch),
    /// A step of SGD, which has no kernel yet.
    Sgd(SgdStep),
}

/// Collects what operations record.
#[derive(Debug)]
pub struct Recorder {
    options: RecordOptions,
    value: Value,
    workspaces: u32,
    recorded: Vec<Recorded>,
}

impl Recorder {
    /// An empty recording.
    pub(crate) fn new(options: RecordOptions) -> Self {
        Self { options, value: Value::default(), workspaces: 0, recorded: Vec::new() }
    }

    /// Says which value the following dispatches compute.
    pub(crate) fn start(&mut self, value: Value) {
        self.value = value;
    }

    /// What was recorded, in order.
    pub(crate) fn into_recorded(self) -> Vec<Recorded> {
        self.recorded
    }

    /// Adds a call that was recorded elsewhere.
    pub(crate) fn push(&mut self, dispatch: Dispatch) {
        self.recorded.push(Recorded::Dispatch(dispatch));
    }

    /// The calls that were recorded; to be asked for when no step of SGD is left without a kernel.
    pub(crate) fn into_dispatches(self) -> Vec<Dispatch> {
        let dispatch = |item| match item {
            Recorded::Dispatch(dispatch) => Some(dispatch),
            Recorded::Sgd(_) => None,
        };
        self.recorded.into_iter().filter_map(dispatch).collect()
    }

    /// What the recording depends on.
    pub fn options(&self) -> &RecordOptions {
        &self.options
    }

    /// Memory for use within the operation that is being recorded.
    pub fn workspace(&mut self, bytes: u64) -> Buf {
        self.workspaces += 1;
        Buf::new(BufId::Workspace(self.workspaces - 1), Shape::nothing(), bytes)
    }

    /// Memory for `count` partials of a reduction of `c4` `vec4`s of channels.
    pub(crate) fn partials(&mut self, reduction: &ChannelReduction, count: u32, c4: u32) -> Partials {
        Partials::new(self.workspace(u64::from(count) * reduction.partial_bytes(c4)), count)
    }

    /// Records a step of SGD, whose kernel is chosen when all are known.
    pub(crate) fn sgd(&mut self, on: Update, gradient: Partials) {
        self.recorded.push(Recorded::Sgd(SgdStep { value: self.value, on, gradient }));
    }

    /// Records a call over `count` invocations in workgroups of 64, whose index is `flat` of `shaders/include/grid.wgsl`: a long row of
    /// workgroups is folded into x and y.
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

    /// Records a call: the bindings are the parameters, then `reads`, then `writes`.
    ///
    /// # Errors
    /// [`Error::Gpu`] if a buffer exceeds what one binding may span, [`Error::Internal`] if the grid is empty or too large.
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

    /// Records a call that is a matrix product; its kernel says how each operand lies in memory.
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
            // All activations that a kernel binds are of one precision, unless it says of each what it is.
            let half = buffers.iter().find(|(b, _)| b.shape.precision() == Precision::F16);
            let stored = half.map_or(Precision::F32, |(b, _)| b.shape.precision());
            kernel.types.push(("Stored", stored.wgsl()));
        }
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

/// A row of workgroups folded into x and y where it is longer than one dimension allows.
pub(crate) fn fold(workgroups: u32) -> [u32; 3] {
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    [workgroups.div_ceil(y).max(1), y, 1]
}
