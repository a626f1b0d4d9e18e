//! Limits on how long the GPU works without a pause. Windows resets a GPU if a dispatch lasts two seconds, browsers
//! after somewhat longer, and the screen freezes meanwhile.

use crate::gpu::AdapterKind;
use crate::kernels::{Buf, Dispatch};
use crate::tensor::Value;
use std::collections::HashMap;
use std::ops::Range;

/// The most dispatches of one submission: enough to keep the GPU busy.
const CALLS: usize = 128;
/// The most dispatches of the longest allowed kind in one submission: half a second.
const LONG_CALLS: u64 = 10;

/// The multiply-adds that slower adapters of a kind compute in 50 ms: 2 TFLOP/s for a graphics card, 0.4 for an
/// integrated GPU. Software adapters have no watchdog.
pub(super) fn call_macs(kind: AdapterKind) -> u64 {
    match kind {
        AdapterKind::Discrete => 50_000_000_000,
        AdapterKind::Integrated | AdapterKind::Virtual | AdapterKind::Other => 10_000_000_000,
        AdapterKind::Cpu => u64::MAX,
    }
}

/// Divides ranges of images so that each has at most `limit` of the operation's `macs` multiply-adds, or the fewest
/// images that can be bound. Each range begins where all buffers in `bound` allow a binding to begin.
pub(super) fn shorter(ranges: Vec<Range<usize>>, bound: &[Buf], macs: u64, limit: u64) -> Vec<Range<usize>> {
    let pictures: usize = ranges.iter().map(Range::len).sum();
    if macs <= limit || pictures <= 1 {
        return ranges;
    }
    let each = (macs / pictures as u64).max(1);
    let step = bound.iter().map(Buf::pictures_between_bindings).max().unwrap_or(1);
    let most = ((limit / each) as usize / step * step).max(step);
    let cut = |range: Range<usize>| {
        let end = range.end;
        range.step_by(most).map(move |first| first..end.min(first + most))
    };
    ranges.into_iter().flat_map(cut).collect()
}

/// The number of dispatches in each submission: at most half a second of work if each dispatch takes as long as
/// allowed.
pub(super) fn submissions(calls: &[Dispatch], macs: &HashMap<Value, u64>, limit: u64) -> Vec<usize> {
    // The multiply-adds of an operation are divided evenly among its dispatches.
    let mut calls_of: HashMap<Value, u64> = HashMap::new();
    for call in calls.iter().filter(|call| call.product) {
        *calls_of.entry(call.value).or_default() += 1;
    }
    let most = limit.saturating_mul(LONG_CALLS);
    let (mut counts, mut count, mut sum) = (Vec::new(), 0, 0u64);
    for call in calls {
        let parts = calls_of.get(&call.value).filter(|_| call.product);
        let own = parts.map_or(0, |parts| macs.get(&call.value).copied().unwrap_or(0) / parts);
        if count > 0 && (count == CALLS || sum.saturating_add(own) > most) {
            counts.push(count);
            (count, sum) = (0, 0);
        }
        count += 1;
        sum = sum.saturating_add(own);
    }
    counts.extend((count > 0).then_some(count));
    counts
}
