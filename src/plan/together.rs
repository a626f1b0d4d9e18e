//! Steps of SGD of small tensors that follow each other become one call, and the tensors lie in one buffer: a network has more
//! vectors than filters, and a call for each would cost a GPU more than the arithmetic in it.

use super::{Label, Planned, Role};
use crate::gpu::BINDING_ALIGNMENT;
use crate::graph::Value;
use crate::ops::{Access, Buf, BufId, Dispatch, GRADIENTS, Places, SgdStep, TENSORS, together};
use std::collections::{HashMap, HashSet};

/// A larger tensor has a call of its own.
const SMALL_BYTES: u64 = 64 << 10;
/// And so has one whose gradient takes more, with all its parts: it would be kept longer.
const GRADIENT_BYTES: u64 = 1 << 20;
/// The most that lies together.
const MOST_BYTES: u64 = 4 << 20;

/// States that lie in one buffer.
#[derive(Debug, Clone)]
pub(super) struct Flat {
    pub id: BufId,
    pub bytes: u64,
    /// Each with its first byte.
    pub members: Vec<(Value, u64)>,
}

/// Calls that may become one.
#[derive(Default)]
struct Group {
    steps: Vec<(usize, SgdStep)>,
    gradients: HashSet<BufId>,
}

impl Group {
    /// Whether one more fits.
    fn takes(&self, step: &SgdStep) -> bool {
        let gradients = self.gradients.len() + usize::from(!self.gradients.contains(&step.gradient.id));
        let same = self.steps.first().is_none_or(|(_, first)| first.step == step.step);
        same && self.steps.len() < TENSORS && gradients <= GRADIENTS
    }

    /// Whether a dispatch behind its steps must stay behind all of them.
    fn waits(&self, dispatch: &Dispatch) -> bool {
        dispatch.buffers.iter().any(|(buf, access)| {
            self.steps.iter().any(|(_, step)| {
                let changed = [step.w.id, step.v.id].contains(&buf.id);
                let read = [step.step.id, step.gradient.id].contains(&buf.id);
                changed || (read && *access == Access::Write)
            })
        })
    }
}

/// Joins the steps of small tensors, and returns what lies together.
pub(super) fn join(
    dispatches: &mut Vec<Dispatch>,
    values: &HashMap<Value, Planned>,
    labels: &mut HashMap<Value, Label>,
    most_bytes: u64,
) -> Vec<Flat> {
    let state = |id| match id {
        BufId::Value(value) if values.get(&value).is_some_and(|p| p.role == Role::State) => Some(value),
        _ => None,
    };
    // What something else writes too may be bound beside another state, and a buffer is not read and written at a time. What takes
    // two steps would need two places.
    let mut writers: HashMap<BufId, usize> = HashMap::new();
    for (buf, _) in dispatches.iter().flat_map(|d| &d.buffers).filter(|(_, a)| *a == Access::Write) {
        *writers.entry(buf.id).or_default() += 1;
    }
    let small = |step: &SgdStep| {
        let whole = |b: &Buf| state(b.id).is_some() && b.bytes == b.room && writers.get(&b.id) == Some(&1);
        let gradient = state(step.gradient.id).is_none() && step.gradient.room <= GRADIENT_BYTES;
        gradient && step.w.bytes <= SMALL_BYTES && [step.w, step.v].iter().all(whole)
    };
    let mut groups = Vec::new();
    let mut open = Group::default();
    for (i, dispatch) in dispatches.iter().enumerate() {
        let step = SgdStep::of(dispatch).filter(small);
        if open.waits(dispatch) || step.is_some_and(|step| !open.takes(&step)) {
            groups.push(std::mem::take(&mut open));
        }
        if let Some(step) = step {
            open.gradients.insert(step.gradient.id);
            open.steps.push((i, step));
        }
    }
    groups.push(open);

    let mut flats: Vec<Flat> = Vec::new();
    let mut gone = HashSet::new();
    let most_bytes = most_bytes.min(MOST_BYTES);
    for group in groups.into_iter().filter(|group| group.steps.len() > 1) {
        let room = |bytes: u64| bytes.next_multiple_of(BINDING_ALIGNMENT);
        let bytes: u64 = group.steps.iter().map(|(_, step)| room(step.w.bytes)).sum();
        if bytes > most_bytes {
            continue;
        }
        if !matches!(flats[..], [.., ref w, _] if w.bytes + bytes <= most_bytes) {
            let first = flats.len() as u32;
            flats.extend([first, first + 1].map(|n| Flat {
                id: BufId::Flat(n),
                bytes: 0,
                members: Vec::new(),
            }));
        }
        let [.., w, v] = &mut flats[..] else { continue };
        let (from, mut steps) = (w.bytes, Vec::with_capacity(group.steps.len()));
        for (_, step) in &group.steps {
            for (flat, id) in [(&mut *w, step.w.id), (&mut *v, step.v.id)] {
                flat.members.extend(state(id).map(|value| (value, flat.bytes)));
            }
            steps.push((*step, w.bytes - from));
            w.bytes += room(step.w.bytes);
            v.bytes = w.bytes;
        }
        let places = Places { w: w.id, v: v.id, offset: from, bytes };
        let (Some((first, _)), Some((last, _))) = (group.steps.first(), group.steps.last()) else { continue };
        let label = |i: usize| dispatches.get(i).and_then(|d| labels.get(&d.value));
        if let (Some(first), Some(own)) = (label(*first), label(*last)) {
            // A gradient whose step follows it has the label of both.
            if own.op == "sgd" {
                let label = Label { layer: format!("{} to {}", first.layer, own.layer), op: own.op };
                labels.insert(dispatches[*last].value, label);
            }
        }
        dispatches[*last] = together(&steps, places, &dispatches[*last]);
        gone.extend(group.steps.iter().map(|(i, _)| *i).filter(|i| i != last));
    }
    // The size of the whole is known when all groups are there.
    let sizes: HashMap<BufId, u64> = flats.iter().map(|flat| (flat.id, flat.bytes)).collect();
    for (buf, _) in dispatches.iter_mut().flat_map(|d| &mut d.buffers) {
        buf.room = sizes.get(&buf.id).copied().unwrap_or(buf.room);
    }
    let mut i = 0;
    dispatches.retain(|_| {
        i += 1;
        !gone.contains(&(i - 1))
    });
    flats
}
