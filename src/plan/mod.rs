//! The plan of a graph: the order of the operations, their kernels, and the memory of each value, all fixed before the
//! first step. A [`Plan`] is data and needs no GPU; a [`Session`] runs it.

mod batch_chunks;
#[cfg(not(target_family = "wasm"))]
mod blocking;
#[cfg(test)]
mod emulated;
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

/// The role of a value in a plan. It decides how long the value keeps its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    State,
    Output,
    Temporary,
}

/// A value that has memory in the plan.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub name: String,
    pub shape: Shape,
    pub role: Role,
    pub kind: Kind,
}

/// The dispatches in order, with a memory slot for every buffer.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) dispatches: Vec<Dispatch>,
    /// The number of dispatches in each submission.
    pub(crate) submissions: Vec<usize>,
    pub(crate) values: HashMap<Value, Planned>,
    pub(crate) outputs: Vec<Value>,
    pub(crate) slots: Vec<memory::Slot>,
    pub(crate) places: HashMap<BufId, usize>,
    /// The multiply-adds of each operation's products, by its result.
    pub(crate) macs: HashMap<Value, u64>,
    /// The layer and operation of each computed value, for reports.
    pub(crate) labels: HashMap<Value, Label>,
    steps: Vec<Step>,
    products: BTreeMap<ConvProblem, Algorithm>,
}

/// The layer and the name of an operation.
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
    /// Plans the computation of `outputs` and of every update in the graph. Values that neither needs are not computed.
    ///
    /// # Errors
    /// [`Error::Gpu`] with the sizes if a value exceeds the adapter's limits. Nothing is allocated.
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

    /// The operations in order, each with the operations that are fused into its kernel.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The number of dispatches in each submission to the GPU.
    pub fn submissions(&self) -> &[usize] {
        &self.submissions
    }

    /// The matrix products, each with its algorithm.
    pub fn products(&self) -> &BTreeMap<ConvProblem, Algorithm> {
        &self.products
    }

    /// The number of the memory slot that contains a buffer; `None` for a buffer of another plan. Other buffers may use
    /// the slot too.
    pub fn slot_of(&self, buffer: BufId) -> Option<usize> {
        let slot = self.places.get(&buffer).copied();
        let whole = slot.and_then(|slot| self.slots.get(slot)).and_then(|slot| slot.within);
        whole.map(|(whole, _)| whole).or(slot)
    }

    /// The multiply-adds of all matrix products.
    pub fn macs(&self) -> u64 {
        self.macs.values().fold(0, |sum, macs| sum.saturating_add(*macs))
    }

    /// The multiply-adds of the matrix product that computes a value; 0 if none does.
    pub fn macs_of(&self, value: Value) -> u64 {
        self.macs.get(&value).copied().unwrap_or(0)
    }

    /// The GPU memory of the plan.
    pub fn memory(&self) -> Memory {
        // Each output has one staging buffer for each in-flight run.
        let copies = if self.outputs.is_empty() { 0 } else { Session::UNDER_WAY as u64 };
        Memory::of(&self.slots, copies)
    }
}
