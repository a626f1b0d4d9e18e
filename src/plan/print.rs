//! A plan as text.

use super::{Plan, Role};
use crate::error::Untrusted;
use crate::kernels::BufId;
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, dispatch) in self.dispatches.iter().enumerate() {
            let [x, y, z] = dispatch.workgroups;
            let label = self.labels.get(&dispatch.value).map_or_else(String::new, ToString::to_string);
            let buffers: Vec<String> = dispatch
                .buffers
                .iter()
                .map(|(buf, access)| {
                    let slot = self.slot_of(buf.id).unwrap_or_default();
                    let what = match buf.id {
                        BufId::Value(value) => format!("%{}", value.index()),
                        BufId::Chunk(value, i) => format!("%{}.{i}", value.index()),
                        BufId::Workspace(n) => format!("w{n}"),
                        BufId::Arena(n) => format!("states{n}"),
                    };
                    format!("{access:?} {what}@{slot}")
                })
                .collect();
            writeln!(
                f,
                "{i:4} {} ({x}, {y}, {z})  {}  # {label}",
                dispatch.kernel.name,
                buffers.join(", "),
                label = Untrusted::new(&label)
            )?;
        }
        for (i, slot) in self.slots.iter().enumerate().filter(|(_, s)| s.role == Role::Temporary) {
            writeln!(f, "slot {i}: {} KiB", slot.bytes >> 10)?;
        }
        writeln!(f, "{} dispatches; {}", self.dispatches.len(), self.memory())
    }
}
