//! Zero-copy slices: values that are stored within another value. A channel slice makes concatenation and splitting
//! free, and a reshape shares the memory of its input.

use crate::error::Result;
use crate::graph::{Graph, OpTraits, Storage};
use crate::kernels::Buf;
use crate::tensor::Value;
use std::collections::{HashMap, HashSet};

/// The values of `order` that are stored within another one: an input of a concatenation, if its operation can write a
/// slice and all its consumers can read one; a slice, if all its consumers can read one; a reshape, unless it is an
/// output or its input is a channel slice.
///
/// `own` returns the buffer of a value that is not stored within another one.
pub(super) fn find(
    graph: &Graph,
    order: &[Value],
    outputs: &[Value],
    own: impl Fn(Value) -> Result<Buf>,
) -> Result<HashMap<Value, Buf>> {
    let updated = graph.updated(order)?;
    let mut finder = Finder { graph, outputs, readers: HashMap::new(), updated, own, slices: HashMap::new() };
    for value in order {
        let Some(traits) = traits(graph, *value)? else { continue };
        for (i, input) in graph.node(*value)?.inputs.iter().enumerate() {
            finder.readers.entry(*input).or_default().push((traits, i));
        }
    }
    for &value in order {
        match traits(graph, value)?.map(|traits| traits.storage) {
            Some(Storage::Concatenated) => finder.concatenation(value)?,
            Some(Storage::Reshaped) => finder.reshape(value)?,
            Some(Storage::Channels(from)) => finder.channels(value, from)?,
            Some(Storage::Own) | None => {}
        }
    }
    Ok(finder.slices)
}

fn traits(graph: &Graph, value: Value) -> Result<Option<OpTraits>> {
    Ok(graph.node(value)?.traits())
}

/// Whether a slice consists of whole `vec4`s, or ends with the tensor, where padding follows.
fn is_aligned(from: usize, count: usize, of: usize) -> bool {
    from.is_multiple_of(4) && (count.is_multiple_of(4) || from.checked_add(count) == Some(of))
}

struct Finder<'a, F> {
    graph: &'a Graph,
    outputs: &'a [Value],
    /// The consumers of each value: their traits and the position of the input.
    readers: HashMap<Value, Vec<(OpTraits, usize)>>,
    /// The values that an operation updates. What is computed of them needs its own memory.
    updated: HashSet<Value>,
    own: F,
    slices: HashMap<Value, Buf>,
}

impl<F: Fn(Value) -> Result<Buf>> Finder<'_, F> {
    /// Whether all consumers of a value can read it from a slice.
    fn is_readable(&self, value: Value) -> bool {
        let all = |list: &Vec<(OpTraits, usize)>| list.iter().all(|(op, i)| op.reads_slice.contains(*i));
        !self.outputs.contains(&value) && self.readers.get(&value).is_none_or(all)
    }

    fn buf(&self, value: Value) -> Result<Buf> {
        self.slices.get(&value).copied().map_or_else(|| (self.own)(value), Ok)
    }

    fn concatenation(&mut self, value: Value) -> Result<()> {
        let (whole, node) = (self.buf(value)?, self.graph.node(value)?);
        let [.., channels] = node.shape.dims();
        let mut from = 0;
        for &part in &node.inputs {
            let shape = self.graph.shape(part)?;
            let [.., count] = shape.dims();
            let writes = traits(self.graph, part)?.is_some_and(|traits| traits.writes_slice);
            // A value that is concatenated with itself would need a copy within one buffer.
            let once = node.inputs.iter().filter(|v| **v == part).count() == 1;
            let fits = writes && once && is_aligned(from, count, channels) && self.is_readable(part);
            if fits && !self.slices.contains_key(&part) {
                self.slices.insert(part, whole.channels(from, shape));
            }
            from += count;
        }
        Ok(())
    }

    fn reshape(&mut self, value: Value) -> Result<()> {
        let node = self.graph.node(value)?;
        let [parent] = node.inputs[..] else { return Ok(()) };
        let whole = self.buf(parent)?;
        if !self.outputs.contains(&value) && whole.slice.is_none() {
            self.slices.insert(value, Buf { shape: node.shape, ..whole });
        }
        Ok(())
    }

    fn channels(&mut self, value: Value, from: usize) -> Result<()> {
        let node = self.graph.node(value)?;
        let [parent] = node.inputs[..] else { return Ok(()) };
        let ([.., channels], [.., of]) = (node.shape.dims(), self.graph.shape(parent)?.dims());
        let kept = !self.updated.contains(&self.graph.root(parent)?);
        if kept && is_aligned(from, channels, of) && self.is_readable(value) {
            let slice = self.buf(parent)?.channels(from, node.shape);
            self.slices.insert(value, slice);
        }
        Ok(())
    }
}
