//! From a graph to GPU work that is fixed before the first step: the order of the operations, their kernels,
//! and where each value lies. A [`Plan`] is data and needs no GPU; a [`Session`] makes it run.

#[cfg(not(target_family = "wasm"))]
mod ceilings;
#[cfg(not(target_family = "wasm"))]
mod choices_file;
mod fusion;
mod look;
mod memory;
mod pieces;
mod print;
#[cfg(not(target_family = "wasm"))]
mod profile;
mod schedule;
mod self_check;
mod session;
mod slices;
mod together;
#[cfg(not(target_family = "wasm"))]
mod tune;
mod watchdog;

#[cfg(not(target_family = "wasm"))]
pub use ceilings::Ceilings;
#[cfg(not(target_family = "wasm"))]
pub use choices_file::cache_folder;
pub use look::Step;
pub use memory::Memory;
#[cfg(not(target_family = "wasm"))]
pub use profile::{KernelTime, LayerTime};
pub use self_check::check_adapter;
pub use session::{Session, Started};
#[cfg(not(target_family = "wasm"))]
pub use tune::{Measured, Notice, Tune, Tuner};

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Limits};
use crate::graph::{Graph, Kind, Shape, Source, Value};
use crate::ops::{
    Buf, BufId, Choice, Choices, Dispatch, Epilogue, Op, Product, ProductKey, Reader, RecordOptions,
    Recorder, Winograd, ranges,
};
use fusion::Chain;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// What a plan depends on besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which kernels to use, and the adapter's limits.
    pub record: RecordOptions,
}

impl PlanOptions {
    /// What suits a device.
    pub fn for_gpu(gpu: &Gpu) -> Self {
        let mut options = Self::new(Product::for_adapter(gpu.info()), gpu.limits());
        options.record.call_macs = watchdog::call_macs(gpu.info().kind);
        options
    }

    /// A product core under given limits.
    pub fn new(product: Product, limits: Limits) -> Self {
        let busy_workgroups = match product {
            // One for each thread that llvmpipe uses at most; twice as many gave weight gradients more sums to add, for nothing.
            Product::Direct | Product::Subgroup => 32,
            Product::Tiled => 1024,
        };
        Self {
            record: RecordOptions {
                product,
                limits,
                busy_workgroups,
                call_macs: u64::MAX,
                winograd: Winograd::Auto,
                steps_together: true,
                largest_tile: u32::MAX,
                choices: Arc::default(),
            },
        }
    }

    /// The same with tiles of so many `vec4`s at most where nothing else is chosen, on processors: the smaller they are, the sooner
    /// they are compiled.
    #[must_use]
    pub fn with_largest_tile(mut self, tile: u32) -> Self {
        self.record.largest_tile = tile;
        self
    }

    /// The same where each tensor has a buffer and a step of its own: for a second plan that takes steps, on the states of a session of another
    /// one.
    #[must_use]
    pub fn with_steps_apart(mut self) -> Self {
        self.record.steps_together = false;
        self
    }

    /// The same with choices for single products instead of what the built-in table says.
    #[must_use]
    pub fn with_choices(mut self, choices: Choices) -> Self {
        self.record.choices = Arc::new(choices);
        self
    }
}

/// What a value of a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    State,
    Output,
    Temporary,
}

/// A value that the plan gives memory to.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub name: String,
    pub shape: Shape,
    pub role: Role,
    pub kind: Kind,
}

/// Records an operation with what follows it in its kernel; what works picture by picture, as many pictures at a time as
/// can be bound.
fn record(
    recorder: &mut Recorder,
    op: &dyn Op,
    inputs: &[Buf],
    epilogue: Option<&Epilogue>,
    y: Buf,
    macs: u64,
) -> Result<()> {
    let record = |r: &mut Recorder, inputs: &[Buf], epilogue: Option<&Epilogue>, y: Buf| match epilogue {
        Some(epilogue) => op.record_with(r, inputs, epilogue, y),
        None => op.record(r, inputs, y),
    };
    let follows: Vec<Buf> = epilogue.iter().flat_map(|e| e.activations()).collect();
    let per_image = (0..inputs.len()).any(|i| op.per_image(i));
    if !per_image {
        return record(recorder, inputs, epilogue, y);
    }
    let of_pictures = inputs.iter().enumerate().filter(|(i, _)| op.per_image(*i)).map(|(_, buf)| *buf);
    let bound: Vec<Buf> = of_pictures.chain(follows).chain([y]).collect();
    let parts = watchdog::shorter(ranges(&bound), &bound, macs, recorder.options().call_macs);
    if parts.len() == 1 {
        return record(recorder, inputs, epilogue, y);
    }
    for images in parts {
        let views = inputs.iter().enumerate().map(|(i, input)| match op.per_image(i) {
            true => input.images(images.clone()),
            false => Ok(*input),
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let epilogue = epilogue.map(|e| e.images(&images)).transpose()?;
        record(recorder, &views, epilogue.as_ref(), y.images(images.clone())?)?;
    }
    Ok(())
}

/// Dispatches in order, with a place in memory for every buffer.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) dispatches: Vec<Dispatch>,
    /// How many of them each submission has.
    pub(crate) submissions: Vec<usize>,
    pub(crate) values: HashMap<Value, Planned>,
    pub(crate) outputs: Vec<Value>,
    pub(crate) slots: Vec<memory::Slot>,
    pub(crate) places: HashMap<BufId, usize>,
    /// Multiply-adds of each value that a product computes.
    pub(crate) macs: HashMap<Value, u64>,
    /// The layer and operation of each value that something computes, for reports.
    pub(crate) labels: HashMap<Value, Label>,
    steps: Vec<Step>,
    products: BTreeMap<ProductKey, Choice>,
}

/// Where in a network an operation stands.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub layer: String,
    pub op: &'static str,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(format!("{} {}", self.layer, self.op).trim())
    }
}

impl Plan {
    /// Plans the computation of `outputs` and of every update in the graph. What neither needs is left out.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the numbers if something does not fit the adapter's limits; nothing is allocated.
    pub fn new(graph: &Graph, outputs: &[Value], options: &PlanOptions) -> Result<Self> {
        let order = schedule::order(graph, outputs)?;
        let mut recorder = Recorder::new(options.record.clone());
        let mut values = HashMap::new();
        let mut labels = HashMap::new();
        let mut steps = Vec::new();
        let mut macs = HashMap::new();
        let limit = options.record.limits.piece_bytes();
        let pieces = pieces::find(graph, &order, outputs, limit)?;
        let own =
            |value| pieces.get(&value).copied().map_or_else(|| Ok(Buf::of(value, graph.shape(value)?)), Ok);
        let slices = slices::find(graph, &order, outputs, own)?;
        let chains = fusion::find(graph, &order, outputs)?;
        let added = fusion::added_by_reader(graph, &order, outputs)?;
        let looks = fusion::looked_for(graph, &order)?;
        let buf = |v: Value| slices.get(&v).copied().map_or_else(|| own(v), Ok);
        let bufs = |v: Value| graph.node(v)?.inputs.iter().map(|v| buf(*v)).collect::<Result<Vec<_>>>();
        for (at, &place) in order.iter().enumerate() {
            let chain = chains.by_place.get(&place);
            if chain.is_none() && chains.members.contains(&place) {
                continue;
            }
            let value = chain.map_or(place, Chain::result);
            let node = graph.node(value)?;
            let role = match node.source {
                Source::Input => Role::Input,
                Source::State => Role::State,
                Source::Op(_) if outputs.contains(&value) => Role::Output,
                Source::Op(_) => Role::Temporary,
            };
            let (name, shape, kind) = (node.name.clone(), node.shape, node.kind);
            values.insert(value, Planned { name, shape, role, kind });
            let head = chain.map_or(value, |chain| chain.head);
            let node = graph.node(head)?;
            let Source::Op(op) = &node.source else { continue };
            let shapes = node.inputs.iter().map(|v| graph.shape(*v)).collect::<Result<Vec<_>>>()?;
            let own_macs = op.macs(&shapes);
            macs.insert(value, own_macs);
            let looks = looks.get(&value).map(|wanted| wanted.before(at, buf)).transpose()?.flatten();
            recorder.start(value, Reader { adds: added.contains(&value), looks });
            let label = Label { layer: node.name.clone(), op: op.name() };
            let mut step = || {
                let epilogue = chain.map(|chain| chain.epilogue(graph, &mut recorder, bufs)).transpose()?;
                record(&mut recorder, op.as_ref(), &bufs(head)?, epilogue.as_ref(), buf(value)?, own_macs)
            };
            step().map_err(|e| e.at(format!("layer {label}")))?;
            if recorder.is_left(BufId::Value(value)) {
                values.remove(&value);
            }
            labels.insert(value, label);
            steps.push(Step::of(value, chain));
        }
        let (mut dispatches, products) = recorder.into_parts();
        let flats = match options.record.steps_together {
            true => together::join(&mut dispatches, &values, &mut labels, limit),
            false => Vec::new(),
        };
        let (slots, places) = memory::assign(&dispatches, &values, &flats);
        let submissions = watchdog::submissions(&dispatches, &macs, options.record.call_macs);
        let outputs = outputs.to_vec();
        let plan =
            Self { dispatches, submissions, values, outputs, slots, places, macs, labels, steps, products };
        plan.check(options.record.limits)?;
        Ok(plan)
    }

    fn check(&self, limits: Limits) -> Result<()> {
        let limit = limits.piece_bytes();
        for planned in self.values.values().filter(|p| p.role != Role::Temporary) {
            let bytes = planned.shape.bytes();
            if bytes > limit {
                let (need, have) = (bytes.div_ceil(1 << 20), limit >> 20);
                return Err(Error::out_of_memory(format!(
                    "needs {need} MiB in one piece, and the adapter allows {have} MiB"
                ))
                .at(format!("{} {}", planned.name, planned.shape))
                .cure("use a smaller batch (in training the gradients of several can be summed in a step) or input size"));
            }
        }
        Ok(())
    }

    /// The dispatches in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Its operations in order, each with those that are done in its kernel.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many dispatches each submission to the GPU has.
    pub fn submissions(&self) -> &[usize] {
        &self.submissions
    }

    /// Its products, each with the way in which it is computed.
    pub fn products(&self) -> &BTreeMap<ProductKey, Choice> {
        &self.products
    }

    /// The number of the slot of memory in which a buffer lies, possibly with others; `None` for a buffer of another plan.
    pub fn slot_of(&self, buffer: BufId) -> Option<usize> {
        let slot = self.places.get(&buffer).copied();
        let whole = slot.and_then(|slot| self.slots.get(slot)).and_then(|slot| slot.within);
        whole.map(|(whole, _)| whole).or(slot)
    }

    /// Multiply-adds of all its products.
    pub fn macs(&self) -> u64 {
        self.macs.values().fold(0, |sum, macs| sum.saturating_add(*macs))
    }

    /// Multiply-adds of the product that computes a value; 0 if none does.
    pub fn macs_of(&self, value: Value) -> u64 {
        self.macs.get(&value).copied().unwrap_or(0)
    }

    /// The GPU memory that the plan takes.
    pub fn memory(&self) -> Memory {
        // What is read back goes through a second buffer, one for each run under way.
        let copies = if self.outputs.is_empty() { 0 } else { Session::UNDER_WAY as u64 };
        Memory::of(&self.slots, copies)
    }
}
