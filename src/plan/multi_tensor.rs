//! Multi-tensor apply (as in PyTorch and apex): consecutive SGD steps of small tensors share a dispatch, and the
//! tensors share a buffer. A network has more vectors than filters, and on a GPU a dispatch for each of them would cost
//! more than its arithmetic.

use super::{Label, Planned, Role};
use crate::error::{Error, Result};
use crate::gpu::BINDING_ALIGNMENT;
use crate::kernels::{Access, Buf, BufId, Dispatch, RecordOptions, Recorded, Recorder, SgdStep};
use crate::ops::{
    ArenaRange, MAX_GRADIENTS, MAX_TENSORS, has_multi_tensor_sgd, record_multi_tensor_sgd, record_sgd,
};
use crate::tensor::Value;
use std::collections::{HashMap, HashSet};

/// The largest tensor that shares a dispatch, in bytes.
const SMALL_BYTES: u64 = 64 << 10;
/// The largest gradient, with all its partials, whose step shares a dispatch, in bytes. A larger one would occupy its
/// memory for longer.
const GRADIENT_BYTES: u64 = 1 << 20;
/// The largest arena in bytes.
const ARENA_BYTES: u64 = 4 << 20;

/// A buffer that contains several states.
#[derive(Debug, Clone)]
pub(super) struct StateArena {
    pub id: BufId,
    pub bytes: u64,
    /// The states, each with its offset in bytes.
    pub members: Vec<(Value, u64)>,
}

/// SGD steps that share a dispatch, with their positions in the recording.
#[derive(Default)]
struct Group {
    steps: Vec<(usize, SgdStep)>,
    gradients: HashSet<BufId>,
}

impl Group {
    /// Whether the group can take one more step.
    fn takes(&self, step: &SgdStep) -> bool {
        let is_new = !self.gradients.contains(&step.gradient.buf.id);
        self.steps.len() < MAX_TENSORS && self.gradients.len() + usize::from(is_new) <= MAX_GRADIENTS
    }

    /// Whether the steps of the group have the same hyperparameters as this one.
    fn is_of(&self, step: &SgdStep) -> bool {
        let same = |a: &SgdStep| a.on.step == step.on.step && a.on.nesterov == step.on.nesterov;
        self.steps.first().is_some_and(|(_, first)| same(first))
    }

    fn add(&mut self, place: usize, step: SgdStep) {
        self.gradients.insert(step.gradient.buf.id);
        self.steps.push((place, step));
    }

    /// Whether an operation with these accesses must run after all steps of the group.
    fn conflicts(&self, bufs: &[(BufId, Access)]) -> bool {
        bufs.iter().any(|(id, access)| {
            self.steps.iter().any(|(_, step)| {
                let changed = [step.on.w.id, step.on.v.id].contains(id);
                let read = [step.on.step.id, step.gradient.buf.id].contains(id);
                changed || (read && *access == Access::Write)
            })
        })
    }

    /// The bytes that the group's weights take in an arena.
    fn bytes(&self) -> u64 {
        self.steps.iter().map(|(_, step)| room(step.on.w.bytes)).sum()
    }
}

fn room(bytes: u64) -> u64 {
    bytes.next_multiple_of(BINDING_ALIGNMENT)
}

/// Converts a recording to dispatches. It groups the SGD steps and records each group, or single step, at the position
/// of its last step.
pub(super) fn lower(
    recorded: Vec<Recorded>,
    options: &RecordOptions,
    values: &HashMap<Value, Planned>,
    labels: &mut HashMap<Value, Label>,
) -> Result<(Vec<Dispatch>, Vec<StateArena>)> {
    let groups = if options.multi_tensor_sgd && has_multi_tensor_sgd(options) {
        groups(&recorded, values)
    } else {
        Vec::new()
    };
    let mut arenas = Arenas { all: Vec::new(), most: options.limits.bindable_bytes().min(ARENA_BYTES) };
    let mut shared = HashMap::new();
    let mut gone = HashSet::new();
    for group in groups {
        let Some((steps, range)) = arenas.place(&group, values) else { continue };
        let (Some((first, _)), Some((last, _))) = (group.steps.first(), group.steps.last()) else { continue };
        rename(labels, &recorded, *first, *last);
        gone.extend(group.steps.iter().map(|(place, _)| *place).filter(|place| place != last));
        shared.insert(*last, (steps, range));
    }
    let mut recorder = Recorder::new(options.clone());
    for (place, item) in recorded.into_iter().enumerate().filter(|(place, _)| !gone.contains(place)) {
        match (item, shared.get(&place)) {
            (Recorded::Dispatch(dispatch), _) => recorder.push(dispatch),
            (Recorded::Sgd(step), None) => {
                recorder.start(step.value, step.trusted);
                record_sgd(&mut recorder, &step).map_err(|e| in_layer(e, labels, step.value))?;
            }
            (Recorded::Sgd(step), Some((steps, range))) => {
                recorder.start(step.value, step.trusted);
                let recorded = record_multi_tensor_sgd(&mut recorder, steps, *range);
                recorded.map_err(|e| in_layer(e, labels, step.value))?;
            }
        }
    }
    let mut dispatches = recorder.into_dispatches();
    // The size of an arena is known only after all groups have been placed.
    for (buf, _) in dispatches.iter_mut().flat_map(|dispatch| &mut dispatch.buffers) {
        let arena = arenas.all.iter().find(|arena| arena.id == buf.id);
        buf.room = arena.map_or(buf.room, |arena| arena.bytes);
    }
    Ok((dispatches, arenas.all))
}

/// Names the layer of an error.
fn in_layer(error: Error, labels: &HashMap<Value, Label>, value: Value) -> Error {
    match labels.get(&value) {
        Some(label) => error.at(format!("layer {label}")),
        None => error,
    }
}

/// The groups of small tensors' steps that share a dispatch, with at least two steps each.
fn groups(recorded: &[Recorded], values: &HashMap<Value, Planned>) -> Vec<Group> {
    // The states of an arena share a buffer, and WebGPU forbids reading and writing one buffer in one dispatch. A state
    // that another operation writes might be bound together with another state of its arena, so it is excluded. So is a
    // state with two steps, which would need two places.
    let mut writers: HashMap<BufId, usize> = HashMap::new();
    for (id, _) in recorded.iter().flat_map(accesses).filter(|(_, access)| *access == Access::Write) {
        *writers.entry(id).or_default() += 1;
    }
    let is_small = |step: &SgdStep| {
        let whole =
            |b: &Buf| state(values, b.id).is_some() && b.bytes == b.room && writers.get(&b.id) == Some(&1);
        let gradient = step.gradient.buf;
        step.trusted
            && state(values, gradient.id).is_none()
            && gradient.room <= GRADIENT_BYTES
            && step.on.w.bytes <= SMALL_BYTES
            && [step.on.w, step.on.v].iter().all(whole)
    };
    let mut groups = Vec::new();
    // One for each vector of hyperparameters: those of biases and of filters come in turns.
    let mut open: Vec<Group> = Vec::new();
    for (place, item) in recorded.iter().enumerate() {
        let step = match item {
            Recorded::Sgd(step) if is_small(step) => Some(*step),
            _ => None,
        };
        let accesses = accesses(item);
        let is_full = |group: &Group| step.is_some_and(|step| group.is_of(&step) && !group.takes(&step));
        groups.extend(open.extract_if(.., |group| group.conflicts(&accesses) || is_full(group)));
        if let Some(step) = step {
            match open.iter_mut().find(|group| group.is_of(&step)) {
                Some(group) => group.add(place, step),
                None => {
                    let mut group = Group::default();
                    group.add(place, step);
                    open.push(group);
                }
            }
        }
    }
    groups.extend(open);
    groups.retain(|group| group.steps.len() > 1);
    groups
}

/// The buffers that an item binds.
fn accesses(item: &Recorded) -> Vec<(BufId, Access)> {
    match item {
        Recorded::Dispatch(dispatch) => dispatch.buffers.iter().map(|(buf, a)| (buf.id, *a)).collect(),
        Recorded::Sgd(SgdStep { on, gradient, .. }) => vec![
            (on.step.id, Access::Read),
            (gradient.buf.id, Access::Read),
            (on.w.id, Access::Write),
            (on.v.id, Access::Write),
        ],
    }
}

/// The state whose memory is this buffer.
fn state(values: &HashMap<Value, Planned>, id: BufId) -> Option<Value> {
    match id {
        BufId::Value(value) if values.get(&value).is_some_and(|p| p.role == Role::State) => Some(value),
        _ => None,
    }
}

/// The arenas in pairs: one for weights and one for their velocities, each tensor at the same offset in both.
struct Arenas {
    all: Vec<StateArena>,
    most: u64,
}

impl Arenas {
    /// Allocates places for the tensors of a group, in the last pair of arenas or in a new one; `None` if they need too
    /// much.
    fn place(
        &mut self,
        group: &Group,
        values: &HashMap<Value, Planned>,
    ) -> Option<(Vec<(SgdStep, u64)>, ArenaRange)> {
        let bytes = group.bytes();
        if bytes > self.most {
            return None;
        }
        if !matches!(self.all[..], [.., ref w, _] if w.bytes + bytes <= self.most) {
            let first = self.all.len() as u32;
            let empty = |n| StateArena { id: BufId::Arena(n), bytes: 0, members: Vec::new() };
            self.all.extend([first, first + 1].map(empty));
        }
        let [.., w, v] = &mut self.all[..] else { return None };
        let offset = w.bytes;
        let mut steps = Vec::with_capacity(group.steps.len());
        for (_, step) in &group.steps {
            for (arena, id) in [(&mut *w, step.on.w.id), (&mut *v, step.on.v.id)] {
                arena.members.extend(state(values, id).map(|value| (value, arena.bytes)));
            }
            steps.push((*step, w.bytes - offset));
            w.bytes += room(step.on.w.bytes);
            v.bytes = w.bytes;
        }
        Some((steps, ArenaRange { w: w.id, v: v.id, offset, bytes }))
    }
}

/// Labels a shared dispatch with its first and last layer. A gradient whose SGD step is fused into its kernel keeps its
/// label.
fn rename(labels: &mut HashMap<Value, Label>, recorded: &[Recorded], first: usize, last: usize) {
    let value = |place: usize| match recorded.get(place) {
        Some(Recorded::Sgd(step)) => Some(step.value),
        _ => None,
    };
    let label = |place: usize| value(place).and_then(|value| labels.get(&value));
    if let (Some(first), Some(own), Some(last)) = (label(first), label(last), value(last))
        && own.op == "sgd"
    {
        let label = Label { layer: format!("{} to {}", first.layer, own.layer), op: own.op };
        labels.insert(last, label);
    }
}
