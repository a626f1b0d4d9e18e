//! Where each buffer lies: slots of GPU memory, used again as soon as their content is not needed.
//!
//! Each slot is a buffer of its own, because WebGPU forbids reading and writing one buffer in one dispatch,
//! even at different places.

use super::{Planned, Role};
use crate::graph::Value;
use crate::ops::{BufId, Dispatch};
use std::collections::HashMap;

/// A piece of GPU memory.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub bytes: u64,
    pub role: Role,
}

/// Gives every buffer of the dispatches a slot. Inputs, states and outputs have one of their own; the others share.
pub(super) fn assign(
    dispatches: &[Dispatch],
    values: &HashMap<Value, Planned>,
) -> (Vec<Slot>, HashMap<BufId, usize>) {
    let mut slots = Vec::new();
    let mut places = HashMap::new();
    // In the order of their making, so that equal graphs get equal plans.
    let mut own: Vec<_> = values.iter().filter(|(_, p)| p.role != Role::Temporary).collect();
    own.sort_by_key(|(value, _)| **value);
    for (value, planned) in own {
        places.insert(BufId::Value(*value), slots.len());
        slots.push(Slot { bytes: size(planned.shape.bytes()), role: planned.role });
    }

    let mut last_use: HashMap<BufId, usize> = HashMap::new();
    for (i, dispatch) in dispatches.iter().enumerate() {
        for (buf, _) in &dispatch.buffers {
            last_use.insert(buf.id, i);
        }
    }
    let mut free: Vec<usize> = Vec::new();
    for (i, dispatch) in dispatches.iter().enumerate() {
        for (buf, _) in &dispatch.buffers {
            places.entry(buf.id).or_insert_with(|| take(&mut free, &mut slots, size(buf.bytes)));
        }
        // A buffer may be bound twice in one dispatch; it is given back once.
        for (buf, _) in &dispatch.buffers {
            let slot = places[&buf.id];
            let ends = last_use.get(&buf.id) == Some(&i) && slots[slot].role == Role::Temporary;
            if ends && !free.contains(&slot) {
                free.push(slot);
            }
        }
    }
    (slots, places)
}

fn size(bytes: u64) -> u64 {
    bytes.max(16).next_multiple_of(16)
}

/// The smallest free slot that is large enough, or else the largest one, grown, or else a new one.
fn take(free: &mut Vec<usize>, slots: &mut Vec<Slot>, bytes: u64) -> usize {
    let fits = free.iter().enumerate().filter(|(_, s)| slots[**s].bytes >= bytes);
    let best = fits.min_by_key(|(_, s)| slots[**s].bytes).map(|(i, _)| i);
    let best = best.or_else(|| (0..free.len()).max_by_key(|i| slots[free[*i]].bytes));
    match best {
        Some(i) => {
            let slot = free.swap_remove(i);
            slots[slot].bytes = slots[slot].bytes.max(bytes);
            slot
        }
        None => {
            slots.push(Slot { bytes, role: Role::Temporary });
            slots.len() - 1
        }
    }
}
