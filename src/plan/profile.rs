//! What the time of a step goes to, by kernel.

use super::Plan;
use crate::tensor::Value;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// All calls of one kernel in a step. Field names are those of `ocelli bench --profile --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel.
    pub name: &'static str,
    /// How often it is called.
    pub calls: usize,
    /// Milliseconds of all calls together.
    pub ms: f64,
    /// Multiply-adds of all calls together, without those of padding; 0 for what is no product. Of a convolution by Winograd's
    /// algorithm, whose calls all have one name, those that its definition has: the rate may lie above what the adapter can do.
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
}

/// All calls of one layer in a step, forward, gradient and update. Field names are those of
/// `ocelli bench --profile --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTime {
    /// The layer, as in `ocelli show`; empty for what belongs to none.
    pub layer: String,
    /// Its kernels, slowest first.
    pub kernels: Vec<KernelTime>,
}

impl LayerTime {
    /// Milliseconds of all its kernels.
    pub fn ms(&self) -> f64 {
        self.kernels.iter().map(|k| k.ms).sum()
    }
}

/// The calls of each kernel.
#[derive(Default)]
struct Sums(BTreeMap<&'static str, KernelTime>);

impl Sums {
    fn of(&mut self, name: &'static str) -> &mut KernelTime {
        self.0.entry(name).or_insert(KernelTime { name, calls: 0, ms: 0.0, macs: 0, bytes: 0 })
    }

    fn slowest_first(self) -> Vec<KernelTime> {
        let mut list: Vec<_> = self.0.into_values().collect();
        list.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        list
    }
}

impl Plan {
    /// Adds up the milliseconds of each dispatch by kernel, slowest first.
    pub fn by_kernel(&self, times: &[f64]) -> Vec<KernelTime> {
        let mut sums = Sums::default();
        self.add_up(times, |_, call| add(sums.of(call.name), &call));
        sums.slowest_first()
    }

    /// Adds up the milliseconds of each dispatch by layer and kernel, in the order in which the layers are first met.
    pub fn by_layer(&self, times: &[f64]) -> Vec<LayerTime> {
        let mut layers: Vec<(&str, Sums)> = Vec::new();
        let mut places = HashMap::new();
        self.add_up(times, |value, call| {
            let layer = self.labels.get(&value).map_or("", |label| label.layer.as_str());
            let place = *places.entry(layer).or_insert(layers.len());
            if place == layers.len() {
                layers.push((layer, Sums::default()));
            }
            if let Some((_, sums)) = layers.get_mut(place) {
                add(sums.of(call.name), &call);
            }
        });
        let layer = |(layer, sums): (&str, Sums)| LayerTime {
            layer: layer.to_owned(),
            kernels: sums.slowest_first(),
        };
        layers.into_iter().map(layer).collect()
    }

    /// Hands over each dispatch as the call of a kernel.
    fn add_up(&self, times: &[f64], mut add: impl FnMut(Value, KernelTime)) {
        let (mut products, mut seen) = (HashSet::new(), HashSet::new());
        for (dispatch, &ms) in self.dispatches.iter().zip(times) {
            let (name, value) = (dispatch.kernel.name, dispatch.value);
            let mut call = KernelTime { name, calls: 1, ms, macs: 0, bytes: 0 };
            // One operation may take several calls: one for each phase of a stride, or for some pictures each.
            for (buf, _) in &dispatch.buffers {
                if seen.insert((value, name, buf.id, buf.offset)) {
                    call.bytes += if buf.slice.is_some() { buf.shape.bytes() } else { buf.bytes };
                }
            }
            if dispatch.product && products.insert(value) {
                call.macs = self.macs.get(&value).copied().unwrap_or(0);
            }
            add(value, call);
        }
    }
}

fn add(sum: &mut KernelTime, call: &KernelTime) {
    sum.calls += call.calls;
    sum.ms += call.ms;
    sum.macs += call.macs;
    sum.bytes += call.bytes;
}
