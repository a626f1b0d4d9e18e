//! What the time of a step goes to, by kernel.

use super::{Ceilings, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// All calls of one kernel in a step. Field names are those of `ocelli bench --profile --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel.
    pub name: &'static str,
    /// How often it is called.
    pub calls: usize,
    /// Milliseconds of all calls together.
    pub ms: f64,
    /// Multiply-adds of all calls together, without those of padding; 0 for what is no product.
    pub macs: u64,
    /// Bytes of all buffers that the operations read or write through it, each counted once an operation: the least that
    /// they move.
    pub bytes: u64,
}

impl KernelTime {
    /// 2 x multiply-adds a second, in 10^9; `None` for what is no product.
    pub fn gflops_per_s(&self) -> Option<f64> {
        (self.macs > 0).then(|| 2.0 * self.macs as f64 / self.ms.max(1e-9) / 1e6)
    }

    /// Bytes a second, in 10^9.
    pub fn gbytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.ms.max(1e-9) / 1e6
    }

    /// The part of what the adapter can do: of its best product for a product, of its best copy for the rest.
    pub fn of_ceiling(&self, ceilings: &Ceilings) -> f64 {
        let (rate, ceiling) = match self.gflops_per_s() {
            Some(rate) => (rate, ceilings.gflops_per_s),
            None => (self.gbytes_per_s(), ceilings.gbytes_per_s),
        };
        rate / ceiling.max(1e-9)
    }
}

impl Plan {
    /// Adds up the milliseconds of each dispatch by kernel, slowest first.
    pub fn by_kernel(&self, times: &[f64]) -> Vec<KernelTime> {
        let mut sums: BTreeMap<&'static str, KernelTime> = BTreeMap::new();
        let (mut products, mut seen) = (HashSet::new(), HashSet::new());
        for (dispatch, ms) in self.dispatches.iter().zip(times) {
            let (name, value) = (dispatch.kernel.name, dispatch.value);
            let sum = sums.entry(name).or_insert(KernelTime { name, calls: 0, ms: 0.0, macs: 0, bytes: 0 });
            sum.calls += 1;
            sum.ms += ms;
            // One operation may take several calls: one for each phase of a stride, or for some pictures each.
            for (buf, _) in &dispatch.buffers {
                if seen.insert((value, name, buf.id, buf.offset)) {
                    sum.bytes += if buf.slice.is_some() { buf.shape.bytes() } else { buf.bytes };
                }
            }
            if dispatch.product && products.insert(value) {
                sum.macs += self.macs.get(&value).copied().unwrap_or(0);
            }
        }
        let mut list: Vec<_> = sums.into_values().collect();
        list.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        list
    }
}
