//! Which values lie in the memory of another one: slices of the channels of a wider one, so that joining them or taking
//! them apart copies nothing, and values under another shape.

use crate::error::Result;
use crate::graph::{Graph, Source, Value};
use crate::ops::{Buf, Op};
use std::collections::HashMap;
use std::sync::Arc;

/// An operation, and the position of one of its inputs.
type Reader<'a> = (&'a Arc<dyn Op>, usize);

/// The values of `order` that lie within another one. An input of a concatenation does if its operation can write
/// there and all its readers can read there; a slice does if all its readers can read there; a
/// reshaped value always does.
///
/// `own` is the memory of a value that lies in no other.
pub(super) fn find(
    graph: &Graph,
    order: &[Value],
    outputs: &[Value],
    own: impl Fn(Value) -> Result<Buf>,
) -> Result<HashMap<Value, Buf>> {
    let mut readers: HashMap<Value, Vec<Reader>> = HashMap::new();
    for value in order {
        let node = graph.node(*value)?;
        if let Source::Op(op) = &node.source {
            for (i, input) in node.inputs.iter().enumerate() {
                readers.entry(*input).or_default().push((op, i));
            }
        }
    }
    let readable = |value: Value| {
        !outputs.contains(&value)
            && readers.get(&value).is_none_or(|list| list.iter().all(|(op, i)| op.reads_slice(*i)))
    };
    // A slice of whole vec4s, or one that ends where the tensor does: what follows it there is padding.
    let aligned = |from: usize, count: usize, of: usize| {
        from.is_multiple_of(4) && (count.is_multiple_of(4) || from + count == of)
    };
    let mut slices: HashMap<Value, Buf> = HashMap::new();
    for &value in order {
        let node = graph.node(value)?;
        let Source::Op(op) = &node.source else { continue };
        let [.., channels] = node.shape.dims();
        if op.joins() {
            let whole = slices.get(&value).copied().map_or_else(|| own(value), Ok)?;
            let mut from = 0;
            for &part in &node.inputs {
                let maker = graph.node(part)?;
                let [.., count] = maker.shape.dims();
                let writes = matches!(&maker.source, Source::Op(op) if op.writes_slice());
                // What is joined with itself would be copied within one buffer.
                let once = node.inputs.iter().filter(|v| **v == part).count() == 1;
                if writes
                    && once
                    && aligned(from, count, channels)
                    && readable(part)
                    && !slices.contains_key(&part)
                {
                    slices.insert(part, whole.channels(from, maker.shape));
                }
                from += count;
            }
        }
        if let (true, [parent]) = (op.renames() && !outputs.contains(&value), &node.inputs[..]) {
            let whole = slices.get(parent).copied().map_or_else(|| own(*parent), Ok)?;
            if whole.slice.is_none() {
                slices.insert(value, Buf { shape: node.shape, ..whole });
            }
        }
        if let (Some(from), [parent]) = (op.slices(), &node.inputs[..]) {
            let of = graph.shape(*parent)?;
            if aligned(from, channels, of.dims()[3]) && readable(value) {
                let whole = slices.get(parent).copied().map_or_else(|| own(*parent), Ok)?;
                slices.insert(value, whole.channels(from, node.shape));
            }
        }
    }
    Ok(slices)
}
