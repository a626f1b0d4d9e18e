//! What operations record: dispatches as data, with buffers that have no memory yet.

use super::Winograd;
use super::buffer::{Access, Batch, Buf, BufId};
use super::column::{Look, Parts, Sought};
use super::{Choice, Choices, ProductKey};
use crate::error::{Error, Result};
use crate::gpu::{AdapterInfo, AdapterKind, Kernel, KernelParams, Limits, MAX_WORKGROUPS};
use crate::graph::{Precision, Shape, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which matrix-product cores the convolutions use where nothing was measured.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOptions {
    /// The product cores.
    pub product: Product,
    /// The adapter's limits.
    pub limits: Limits,
    /// Workgroups that keep the adapter busy; a product with fewer splits its depth.
    pub busy_workgroups: u32,
    /// The most multiply-adds of one call: an operation with more is recorded some pictures at a time.
    pub call_macs: u64,
    /// What was chosen for single products instead of what the built-in table says.
    pub choices: Arc<Choices>,
    /// Which convolutions may be computed by Winograd's algorithm.
    pub winograd: Winograd,
    /// Whether small tensors that take steps of SGD lie in one buffer and take them together.
    pub steps_together: bool,
    /// The most `vec4`s of a product that the built-in table gives a lane of [`super::Core::Direct`] to compute, where so small a tile can
    /// compute it: the gradient of weights has four rows at least.
    pub largest_tile: u32,
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
    /// Whether it is a matrix product.
    pub product: bool,
}

/// The most that is left to a reader. A call more costs little beside reading more than that.
const LEFT_BYTES: u64 = 4 << 20;

/// A value that was not written but left as numbers of another buffer, which its reader adds up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addends {
    /// Where they lie.
    pub(crate) buf: Buf,
    /// How many there are of each number.
    pub(crate) count: u32,
    /// Where the first ones begin, in `vec4`s.
    pub(crate) from4: u32,
}

/// What the readers of a value can do with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    /// There is one, and it adds up what is left in several numbers ([`super::Op::adds`]).
    pub(crate) adds: bool,
    /// One looks for something in the columns ([`super::Op::wants`]).
    pub(crate) looks: Option<Look>,
}

/// Collects what operations record.
#[derive(Debug)]
pub struct Recorder {
    options: RecordOptions,
    value: Option<Value>,
    reader: Reader,
    addends: HashMap<BufId, Addends>,
    seen: HashMap<BufId, (Buf, Look, Parts)>,
    workspaces: u32,
    dispatches: Vec<Dispatch>,
    products: BTreeMap<ProductKey, Choice>,
}

impl Recorder {
    /// An empty recording.
    pub fn new(options: RecordOptions) -> Self {
        Self {
            options,
            value: None,
            reader: Reader::default(),
            addends: HashMap::new(),
            seen: HashMap::new(),
            workspaces: 0,
            dispatches: Vec::new(),
            products: BTreeMap::new(),
        }
    }

    /// Says which value the following dispatches compute, and what its readers can do with.
    pub(crate) fn start(&mut self, value: Value, reader: Reader) {
        self.value = Some(value);
        self.reader = reader;
    }

    /// Leaves a value to its reader as numbers that are to be added; `false` if it must be written: for the reader, or because they take
    /// much memory, which they would until it comes.
    pub(crate) fn leave(&mut self, y: Buf, addends: Addends) -> bool {
        let left = self.reader.adds && addends.buf.bytes <= LEFT_BYTES;
        if left {
            self.addends.insert(y.id, addends);
        }
        left
    }

    /// Whether this buffer is not written, but its numbers are left to its reader.
    pub fn is_left(&self, id: BufId) -> bool {
        self.addends.contains_key(&id)
    }

    /// What a reader of `y`, the result of what is being recorded, would look for in its columns. Of all pictures at once, or of none.
    pub(crate) fn look(&self, y: Buf) -> Option<Look> {
        let is_whole = |buf: Buf| {
            let Batch { first, of, piece } = buf.batch;
            buf.slice.is_none() && first == 0 && piece == 0 && buf.shape.dims()[0] == of
        };
        let look = self.reader.looks.filter(|_| is_whole(y))?;
        look.by.is_none_or(|[x, _]| is_whole(x)).then_some(look)
    }

    /// Hands on what was seen of the columns of `y`.
    pub(crate) fn saw(&mut self, y: Buf, look: Look, parts: Parts) {
        self.seen.insert(y.id, (y, look, parts));
    }

    /// The statistics that were seen of the columns of a value while it was stored.
    pub(crate) fn statistics_of(&self, y: Buf) -> Option<Parts> {
        match self.seen.get(&y.id) {
            // Under another shape it has other columns.
            Some((of, look, parts)) if *of == y && look.sought == Sought::Statistics => Some(*parts),
            _ => None,
        }
    }

    /// The same of the sums weighted by `x`: other readers of the value have other weights.
    pub(crate) fn sums_of(&self, y: Buf, by: Buf) -> Option<Parts> {
        match self.seen.get(&y.id) {
            Some((of, Look { by: Some([x, _]), .. }, parts)) if *of == y && *x == by => Some(*parts),
            _ => None,
        }
    }

    /// What to add up for a value; where it was written, itself.
    pub(crate) fn addends_of(&self, x: Buf) -> Addends {
        self.addends.get(&x.id).copied().unwrap_or(Addends { buf: x, count: 1, from4: 0 })
    }

    /// What was recorded, and how each product is computed.
    pub fn into_parts(self) -> (Vec<Dispatch>, BTreeMap<ProductKey, Choice>) {
        (self.dispatches, self.products)
    }

    /// How to compute a product: as was chosen for it, if that is possible here, or as the built-in table says.
    pub(crate) fn choose(&mut self, key: ProductKey) -> Choice {
        let chosen = self.options.choices.get(&key).filter(|choice| choice.fits(&self.options, &key));
        let choice = chosen.unwrap_or_else(|| Choice::by_table(&self.options, &key));
        self.products.insert(key, choice);
        choice
    }

    /// What the recording depends on.
    pub(crate) fn options(&self) -> &RecordOptions {
        &self.options
    }

    /// Memory for use within the operation that is being recorded.
    pub(crate) fn workspace(&mut self, bytes: u64) -> Buf {
        self.workspaces += 1;
        Buf::new(BufId::Workspace(self.workspaces - 1), Shape::nothing(), bytes)
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
        mut kernel: Kernel,
        params: P,
        reads: &[Buf],
        writes: &[Buf],
        [x, y, z]: [u32; 3],
    ) -> Result<()> {
        let value = self.value.ok_or_else(|| Error::internal("a dispatch outside an operation"))?;
        let reads = reads.iter().map(|b| (*b, Access::Read));
        let buffers: Vec<_> = reads.chain(writes.iter().map(|b| (*b, Access::Write))).collect();
        if kernel.types.is_empty() {
            // All activations that a kernel binds are of one precision, unless it says of each what it is.
            let half = buffers.iter().find(|(b, _)| b.shape.precision() == Precision::F16);
            let stored = half.map_or(Precision::F32, |(b, _)| b.shape.precision());
            kernel.types.push(("Stored", stored.wgsl()));
        }
        let limit = self.options.limits.piece_bytes();
        if let Some((big, _)) = buffers.iter().find(|(b, _)| b.bytes > limit || b.batch.piece > 0) {
            return Err(Error::out_of_memory(format!(
                "{} needs {} MiB in one piece, and the adapter allows {} MiB",
                kernel.name,
                big.bytes.div_ceil(1 << 20),
                limit >> 20
            ))
            .cure("use a smaller batch (in training the gradients of several can be summed in a step) or input size"));
        }
        if x.max(y).max(z) > MAX_WORKGROUPS || x == 0 || y == 0 || z == 0 {
            return Err(Error::internal(format!("{} has a grid of {x} x {y} x {z} workgroups", kernel.name)));
        }
        let params = bytemuck::bytes_of(&params).to_vec();
        let workgroups = [x, y, z];
        let fields = P::FIELDS;
        self.dispatches.push(Dispatch { value, kernel, params, buffers, workgroups, fields, product: false });
        Ok(())
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
        self.call(kernel, params, reads, writes, workgroups)?;
        if let Some(dispatch) = self.dispatches.last_mut() {
            dispatch.product = true;
        }
        Ok(())
    }
}

/// A row of workgroups folded into x and y where it is longer than one dimension allows.
pub(crate) fn fold(workgroups: u32) -> [u32; 3] {
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    [workgroups.div_ceil(y).max(1), y, 1]
}
