//! Memory planning: assigns buffers to memory slots, which are reused when their content is dead.
//!
//! The buffers are placed by decreasing size, each in the smallest slot that is free during its whole lifetime: "greedy
//! by size" of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020 (arXiv:2001.03288).
//!
//! Each slot has its own buffer, because WebGPU forbids reading and writing one buffer in one dispatch, even at
//! different offsets.

use super::multi_tensor::StateArena;
use super::{Planned, Role};
use crate::graph::Kind;
use crate::kernels::{BufId, Dispatch};
use crate::tensor::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A memory slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub bytes: u64,
    pub role: Role,
    /// The purpose of the memory. For a reused slot it is that of its largest content.
    pub part: Part,
    /// The slot that contains this one, and the offset in it in bytes.
    pub within: Option<(usize, u64)>,
}

impl Slot {
    fn new(bytes: u64, role: Role, part: Part) -> Self {
        Self { bytes, role, part, within: None }
    }
}

/// The purpose of a slot: a row of the memory table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Parameters,
    Momentum,
    Gradients,
    Activations,
    Workspace,
    Transfer,
}

fn part(planned: &Planned) -> Part {
    match (planned.role, planned.kind) {
        (Role::Input | Role::Output, _) => Part::Transfer,
        (Role::State, Kind::Momentum) => Part::Momentum,
        (_, Kind::Gradient) => Part::Gradients,
        (Role::State, _) => Part::Parameters,
        (Role::Temporary, _) => Part::Activations,
    }
}

/// GPU memory in bytes, by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Parameters and running statistics.
    pub parameters: u64,
    /// Gradients of parameters until the optimiser has used them, and gradients of activations.
    pub gradients: u64,
    /// State of the optimiser.
    pub momentum: u64,
    /// Activations.
    pub activations: u64,
    /// Temporary memory of single operations.
    pub workspace: u64,
    /// Inputs and outputs of a step, and the staging buffers for read-back.
    pub transfer: u64,
}

impl Memory {
    /// The sum in bytes.
    pub fn total(&self) -> u64 {
        let Self { parameters, gradients, momentum, activations, workspace, transfer } = *self;
        parameters + gradients + momentum + activations + workspace + transfer
    }

    /// The memory of these slots, with `copies` staging buffers for each output.
    pub(super) fn of(slots: &[Slot], copies: u64) -> Self {
        let mut memory = Self::default();
        for slot in slots.iter().filter(|slot| slot.within.is_none()) {
            let copies = if slot.role == Role::Output { copies } else { 0 };
            let bytes = (1 + copies) * slot.bytes;
            *match slot.part {
                Part::Parameters => &mut memory.parameters,
                Part::Momentum => &mut memory.momentum,
                Part::Gradients => &mut memory.gradients,
                Part::Activations => &mut memory.activations,
                Part::Workspace => &mut memory.workspace,
                Part::Transfer => &mut memory.transfer,
            } += bytes;
        }
        memory
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("parameters", self.parameters),
            ("gradients", self.gradients),
            ("momentum", self.momentum),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("transfer", self.transfer),
        ];
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(f, "{:.1} MiB", mib(self.total()))?;
        for (i, (name, bytes)) in parts.into_iter().filter(|(_, bytes)| *bytes > 0).enumerate() {
            write!(f, "{}{name} {:.1}", if i == 0 { " (" } else { ", " }, mib(bytes))?;
        }
        f.write_str(if self.total() > 0 { ")" } else { "" })
    }
}

/// Assigns a slot to every buffer of the dispatches. Each input, state and output has its own slot, or its own part of
/// one. The other buffers share slots.
pub(super) fn assign(
    dispatches: &[Dispatch],
    values: &HashMap<Value, Planned>,
    arenas: &[StateArena],
) -> (Vec<Slot>, HashMap<BufId, usize>) {
    let mut slots = Vec::new();
    let mut places = HashMap::new();
    let mut within = HashMap::new();
    for arena in arenas {
        let part =
            arena.members.iter().find_map(|(value, _)| values.get(value)).map_or(Part::Parameters, part);
        within.extend(arena.members.iter().map(|(value, from)| (*value, (slots.len(), *from))));
        places.insert(arena.id, slots.len());
        slots.push(Slot::new(size(arena.bytes), Role::State, part));
    }
    // Iterate in the order of the graph, so that equal graphs get equal plans.
    let mut own: Vec<_> = values.iter().filter(|(_, p)| p.role != Role::Temporary).collect();
    own.sort_by_key(|(value, _)| **value);
    for (value, planned) in own {
        places.insert(BufId::Value(*value), slots.len());
        let own = Slot::new(size(planned.shape.bytes()), planned.role, part(planned));
        slots.push(Slot { within: within.get(value).copied(), ..own });
    }

    // Liveness: from the first dispatch that binds a buffer to the last one.
    let mut lives: BTreeMap<BufId, Life> = BTreeMap::new();
    for (i, dispatch) in dispatches.iter().enumerate() {
        for (buf, _) in dispatch.buffers.iter().filter(|(b, _)| !places.contains_key(&b.id)) {
            lives.entry(buf.id).or_insert(Life { bytes: size(buf.room), first: i, last: i }).last = i;
        }
    }
    let mut lives: Vec<(BufId, Life)> = lives.into_iter().collect();
    lives.sort_by_key(|(id, life)| (Reverse(life.bytes), life.first, *id));
    // The lifetimes of the buffers in each shared slot: first dispatch to last dispatch.
    let mut shared: Vec<(usize, BTreeMap<usize, usize>)> = Vec::new();
    for (id, life) in lives {
        let fits = shared.iter_mut().filter(|(_, busy)| life.fits(busy));
        // The slots were created in order of decreasing size, so the last one that fits is the smallest.
        let slot = match fits.last() {
            Some((slot, busy)) => {
                busy.insert(life.first, life.last);
                *slot
            }
            None => {
                let part = match id {
                    BufId::Value(value) | BufId::Chunk(value, _) => {
                        values.get(&value).map_or(Part::Activations, part)
                    }
                    BufId::Workspace(_) | BufId::Arena(_) => Part::Workspace,
                };
                shared.push((slots.len(), BTreeMap::from([(life.first, life.last)])));
                slots.push(Slot::new(life.bytes, Role::Temporary, part));
                slots.len() - 1
            }
        };
        places.insert(id, slot);
    }
    (slots, places)
}

/// The lifetime of a buffer, in dispatches.
#[derive(Debug, Clone, Copy)]
struct Life {
    bytes: u64,
    first: usize,
    last: usize,
}

impl Life {
    /// Whether it overlaps none of the lifetimes in `busy`, which maps first dispatch to last dispatch.
    fn fits(&self, busy: &BTreeMap<usize, usize>) -> bool {
        busy.range(..=self.last).next_back().is_none_or(|(_, last)| *last < self.first)
    }
}

fn size(bytes: u64) -> u64 {
    bytes.max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX)
}
