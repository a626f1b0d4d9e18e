//! The profile of a step: the time of each kernel and of each layer.

use super::Plan;
use crate::tensor::Value;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The dispatches of one kernel in a step. The field names are those of `ocelli bench --profile --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The name of the kernel.
    pub name: &'static str,
    /// The number of dispatches.
    pub calls: usize,
    /// The time of all dispatches in milliseconds.
    pub ms: f64,
    /// The multiply-adds of all dispatches, without padding; 0 if the kernel is no matrix product. Winograd's kernels
    /// all have one name and count the multiply-adds of the direct method, so their rate may exceed the adapter's peak.
    pub macs: u64,
    /// The bytes of all buffers that the operations read or write through the kernel, each counted once for each
    /// operation: the least memory traffic.
    pub bytes: u64,
}

impl KernelTime {
    /// The rate in 10^9 FLOP/s, where a multiply-add counts as 2 FLOP; `None` if the kernel is no matrix product.
    pub fn gflops_per_s(&self) -> Option<f64> {
        (self.macs > 0).then(|| 2.0 * self.macs as f64 / self.ms.max(1e-9) / 1e6)
    }

    /// The rate in 10^9 bytes/s.
    pub fn gbytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.ms.max(1e-9) / 1e6
    }
}

/// The dispatches of one layer in a step: forward, gradient and update. The field names are those of `ocelli bench
/// --profile --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTime {
    /// The layer, as in `ocelli show`; empty for operations that belong to no layer.
    pub layer: String,
    /// The kernels of the layer, slowest first.
    pub kernels: Vec<KernelTime>,
}

impl LayerTime {
    /// The time of all kernels in milliseconds.
    pub fn ms(&self) -> f64 {
        self.kernels.iter().map(|k| k.ms).sum()
    }
}

/// The sums for each kernel.
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
    /// Sums the times of the dispatches, in milliseconds, by kernel, slowest first.
    pub fn by_kernel(&self, times: &[f64]) -> Vec<KernelTime> {
        let mut sums = Sums::default();
        self.add_up(times, |_, call| add(sums.of(call.name), &call));
        sums.slowest_first()
    }

    /// Sums the times of the dispatches, in milliseconds, by layer and kernel. The layers are in the order of their
    /// first dispatch.
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

    /// Calls `add` for each dispatch, with its value and its own sums.
    fn add_up(&self, times: &[f64], mut add: impl FnMut(Value, KernelTime)) {
        let (mut products, mut seen) = (HashSet::new(), HashSet::new());
        for (dispatch, &ms) in self.dispatches.iter().zip(times) {
            let (name, value) = (dispatch.kernel.name, dispatch.value);
            let mut call = KernelTime { name, calls: 1, ms, macs: 0, bytes: 0 };
            // An operation may need several dispatches, for example one for each phase of a stride or for each range of
            // images. Count its buffers and multiply-adds once.
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
