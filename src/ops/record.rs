//! What operations record: dispatches as data, with buffers that have no memory yet.

use crate::error::{Error, Result};
use crate::gpu::{AdapterInfo, AdapterKind, Kernel, KernelParams, Limits, MAX_WORKGROUPS};
use crate::graph::{Shape, Value};

/// Which matrix-product core the convolutions use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// Blocks in workgroup memory: for GPUs.
    Tiled,
    /// No workgroup memory and no barriers: for adapters that compute on a processor.
    Direct,
    /// As `Direct`, for adapters whose subgroups have eight lanes ([`Product::SUBGROUP_LANES`]): they share what they load.
    Subgroup,
}

impl Product {
    /// The one size of subgroups that [`Product::Subgroup`] works with.
    pub const SUBGROUP_LANES: u32 = 8;

    /// What suits an adapter.
    pub fn for_adapter(info: &AdapterInfo) -> Self {
        match info.kind {
            AdapterKind::Cpu if info.subgroup_sizes == Some([Self::SUBGROUP_LANES; 2]) => Self::Subgroup,
            AdapterKind::Cpu => Self::Direct,
            _ => Self::Tiled,
        }
    }
}

/// What a recording depends on besides the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOptions {
    /// The product core.
    pub product: Product,
    /// The adapter's limits.
    pub limits: Limits,
    /// Workgroups that keep the adapter busy; a product with fewer splits its depth.
    pub busy_workgroups: u32,
}

/// A buffer of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufId {
    /// The memory of a value of the graph.
    Value(Value),
    /// Memory used within one operation, by number.
    Workspace(u32),
}

/// A buffer with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    /// Which buffer.
    pub id: BufId,
    /// The shape of what it holds; [`Shape::nothing`] for a workspace.
    pub shape: Shape,
    /// The bytes of the whole buffer.
    pub bytes: u64,
    /// Where in the channels of the buffer it lies, if it is a part of them.
    pub slice: Option<Slice>,
}

/// A part of the channels of a wider buffer, in `vec4`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// From one pixel to the next.
    pub pitch4: u32,
    /// From the first channel of a pixel to the first one of the slice.
    pub from4: u32,
}

impl Buf {
    /// The buffer of a value.
    pub fn of(value: Value, shape: Shape) -> Self {
        Self { id: BufId::Value(value), shape, bytes: shape.bytes(), slice: None }
    }

    /// The channels from `from` on, a multiple of four, of activations in this buffer.
    pub fn channels(&self, from: usize, shape: Shape) -> Self {
        let Slice { pitch4, from4 } = self.pitch();
        Self { shape, slice: Some(Slice { pitch4, from4: from4 + (from / 4) as u32 }), ..*self }
    }

    /// Whether it is the slice of `other` that starts at channel `from`.
    pub(crate) fn is_slice_of(&self, other: &Self, from: usize) -> bool {
        let from4 = other.pitch().from4 + (from / 4) as u32;
        self.id == other.id && self.slice.is_some_and(|s| s.from4 == from4)
    }

    /// Where its activations lie.
    pub(crate) fn pitch(&self) -> Slice {
        let whole = Slice { pitch4: (self.shape.padded()[3] / 4) as u32, from4: 0 };
        self.slice.unwrap_or(whole)
    }

    /// The size of what it holds in `vec4`s.
    pub(crate) fn vec4s(&self) -> u32 {
        let bytes = if self.slice.is_some() { self.shape.bytes() } else { self.bytes };
        (bytes / 16) as u32
    }
}

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it, possibly after reading it.
    Write,
}

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
    pub fields: &'static [crate::gpu::Field],
}

/// Collects what operations record.
#[derive(Debug)]
pub struct Recorder {
    options: RecordOptions,
    value: Option<Value>,
    workspaces: u32,
    dispatches: Vec<Dispatch>,
}

impl Recorder {
    /// An empty recording.
    pub fn new(options: RecordOptions) -> Self {
        Self { options, value: None, workspaces: 0, dispatches: Vec::new() }
    }

    /// Says which value the following dispatches compute.
    pub fn start(&mut self, value: Value) {
        self.value = Some(value);
    }

    /// What was recorded.
    pub fn into_dispatches(self) -> Vec<Dispatch> {
        self.dispatches
    }

    /// What the recording depends on.
    pub(crate) fn options(&self) -> &RecordOptions {
        &self.options
    }

    /// Memory for use within the operation that is being recorded.
    pub(crate) fn workspace(&mut self, bytes: u64) -> Buf {
        self.workspaces += 1;
        Buf { id: BufId::Workspace(self.workspaces - 1), shape: Shape::nothing(), bytes, slice: None }
    }

    /// Records a call over `count` invocations in workgroups of 64; a long row is folded into x and y.
    pub(crate) fn flat<P: KernelParams>(
        &mut self,
        kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        count: u32,
    ) -> Result<()> {
        self.call(kernel, params, reads, writes, fold(count.div_ceil(64)))
    }

    /// Records a call: the bindings are the parameters, then `reads`, then `writes`.
    pub(crate) fn call<P: KernelParams>(
        &mut self,
        kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        [x, y, z]: [u32; 3],
    ) -> Result<()> {
        let value = self.value.ok_or_else(|| Error::internal("a dispatch outside an operation"))?;
        let reads = reads.iter().map(|b| (*b, Access::Read));
        let buffers: Vec<_> = reads.chain(writes.iter().map(|b| (*b, Access::Write))).collect();
        let limit = self.options.limits.binding_bytes;
        if let Some((big, _)) = buffers.iter().find(|(b, _)| b.bytes > limit) {
            return Err(Error::gpu(format!(
                "{} needs {} MiB in one piece, and the adapter allows {} MiB",
                kernel.name,
                big.bytes.div_ceil(1 << 20),
                limit >> 20
            ))
            .cure("use a smaller batch (--accumulate sums several in a step) or input size"));
        }
        if x.max(y).max(z) > MAX_WORKGROUPS || x == 0 || y == 0 || z == 0 {
            return Err(Error::internal(format!("{} has a grid of {x} x {y} x {z} workgroups", kernel.name)));
        }
        let params = bytemuck::bytes_of(&params).to_vec();
        let workgroups = [x, y, z];
        self.dispatches.push(Dispatch { value, kernel, params, buffers, workgroups, fields: P::FIELDS });
        Ok(())
    }
}

/// A row of workgroups folded into x and y where it is longer than one dimension allows.
pub(crate) fn fold(workgroups: u32) -> [u32; 3] {
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    [workgroups.div_ceil(y).max(1), y, 1]
}
