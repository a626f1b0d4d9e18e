//! From a graph to GPU work that is fixed before the first step: the order of the operations, their kernels,
//! and where each value lies. A [`Plan`] is data and needs no GPU; a [`Session`] makes it run.

mod batch_chunks;
#[cfg(not(target_family = "wasm"))]
mod blocking;
mod fusion;
mod memory;
mod multi_tensor;
mod options;
mod planner;
mod print;
#[cfg(not(target_family = "wasm"))]
mod profile;
mod schedule;
mod self_check;
mod session;
mod slices;
mod step;
mod watchdog;

pub use memory::Memory;
pub use options::PlanOptions;
#[cfg(not(target_family = "wasm"))]
pub use profile::{KernelTime, LayerTime};
pub use self_check::check_adapter;
pub use session::{Session, Started};
pub use step::Step;

use crate::error::{Error, Result};
use crate::gpu::Limits;
use crate::graph::{Graph, Kind};
use crate::kernels::{Algorithm, BufId, ConvProblem, Dispatch};
use crate::tensor::{Shape, Value};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

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
    products: BTreeMap<ConvProblem, Algorithm>,
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
        let plan = planner::plan(graph, outputs, &options.record)?;
        plan.check(options.record.limits)?;
        Ok(plan)
    }

    fn check(&self, limits: Limits) -> Result<()> {
        let limit = limits.bindable_bytes();
        for planned in self.values.values().filter(|p| p.role != Role::Temporary) {
            let bytes = planned.shape.bytes();
            if bytes > limit {
                let (need, have) = (bytes.div_ceil(1 << 20), limit >> 20);
                return Err(Error::out_of_memory(format!(
                    "needs {need} MiB in one piece, and the adapter allows {have} MiB"
                ))
                .at(format!("{} {}", planned.name, planned.shape))
                .hint("use a smaller batch (in training the gradients of several can be summed in a step) or input size"));
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
    pub fn products(&self) -> &BTreeMap<ConvProblem, Algorithm> {
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
