//! A plan as text, and the time of its kernels as a table.

use super::{Plan, Role};
use crate::ops::BufId;
use std::collections::BTreeMap;
use std::fmt;

/// The time of all calls of one kernel in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    /// The kernel.
    pub name: &'static str,
    /// How often it is called.
    pub calls: usize,
    /// Milliseconds of all calls together.
    pub ms: f64,
}

impl Plan {
    /// Adds up the milliseconds of each dispatch by kernel, slowest first.
    pub fn by_kernel(&self, times: &[f64]) -> Vec<KernelTime> {
        let mut sums: BTreeMap<&'static str, (usize, f64)> = BTreeMap::new();
        for (dispatch, ms) in self.dispatches.iter().zip(times) {
            let entry = sums.entry(dispatch.kernel.name).or_default();
            entry.0 += 1;
            entry.1 += ms;
        }
        let mut list: Vec<_> =
            sums.into_iter().map(|(name, (calls, ms))| KernelTime { name, calls, ms }).collect();
        list.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        list
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            let [x, y, z] = dispatch.workgroups;
            let label = self.labels.get(&dispatch.value).map_or("", String::as_str);
            let buffers: Vec<String> = dispatch
                .buffers
                .iter()
                .map(|(buf, access)| {
                    let slot = self.slot_of(buf.id).unwrap_or_default();
                    let what = match buf.id {
                        BufId::Value(value) => format!("%{}", value.index()),
                        BufId::Piece(value, i) => format!("%{}.{i}", value.index()),
                        BufId::Workspace(n) => format!("w{n}"),
                    };
                    format!("{access:?} {what}@{slot}")
                })
                .collect();
            writeln!(f, "{i:4} {} ({x}, {y}, {z})  {}  # {label}", dispatch.kernel.name, buffers.join(", "))?;
        }
        for (i, slot) in self.slots.iter().enumerate().filter(|(_, s)| s.role == Role::Temporary) {
            writeln!(f, "slot {i}: {} KiB", slot.bytes >> 10)?;
        }
        writeln!(f, "{} dispatches; {}", self.dispatches.len(), self.memory())
    }
}
