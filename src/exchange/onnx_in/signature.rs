//! Signatures: hashes of what each value of a graph computes, without its numbers. They cover products, windows and their order. Batch norm,
//! bias and ReLU are ignored: exporters fold the first two, and a ReLU may come before or after a max pooling.

use crate::graph::Description;
use crate::graph::{Graph, Source};
use crate::ops::PoolOptions;
use crate::tensor::{Shape, Value};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A pooling, described by its windows on its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Windows {
    maximum: bool,
    kernel: [usize; 2],
    stride: [usize; 2],
    before: [usize; 2],
    result: [usize; 2],
    /// If windows reach beyond the map: whether an average counts the padding, and the padding behind the map.
    count: Option<(bool, [usize; 2])>,
}

/// The description of an operation and its inputs; `None` for inputs of the graph and for operations that no network has.
pub(super) fn operation(graph: &Graph, value: Value) -> Option<(Description, &[Value])> {
    let node = graph.node(value).ok()?;
    match &node.source {
        Source::Op(op) => Some((op.describe()?, &node.inputs)),
        _ => None,
    }
}

/// Skips operations without effect, such as reshapes and averages over one position.
pub(super) fn origin(graph: &Graph, mut value: Value) -> Value {
    // Inputs have smaller indices, so this ends.
    while let Some(before) = idle(graph, value) {
        value = before;
    }
    value
}

/// The input of an operation without effect.
fn idle(graph: &Graph, value: Value) -> Option<Value> {
    let (description, [x, ..]) = operation(graph, value)? else { return None };
    let nothing = match description {
        Description::Reshape | Description::Ungroup { .. } => true,
        Description::AveragePool(_) | Description::AdaptiveAveragePool(_) => {
            let (from, to) = (graph.shape(*x).ok(), graph.shape(value).ok());
            from == to && pooling(graph, value).is_some_and(|w| w.kernel == [1; 2])
        }
        _ => false,
    };
    nothing.then_some(*x)
}

/// Describes a pooling.
pub(super) fn pooling(graph: &Graph, value: Value) -> Option<Windows> {
    let (description, [x, ..]) = operation(graph, value)? else { return None };
    let (from, to) = (graph.shape(*x).ok()?, graph.shape(value).ok()?);
    match description {
        Description::MaxPool(options) => Some(windows(options, true, from, to)),
        Description::AveragePool(options) => Some(windows(options, false, from, to)),
        Description::AdaptiveAveragePool([p, q]) => {
            let [_, h, w, _] = from.dims();
            if p == 0 || q == 0 || h % p != 0 || w % q != 0 {
                return None;
            }
            let even = [h / p, w / q];
            let options = PoolOptions { kernel: even, stride: even, ..PoolOptions::square(1, 1) };
            Some(windows(options, false, from, to))
        }
        _ => None,
    }
}

fn windows(options: PoolOptions, maximum: bool, from: Shape, to: Shape) -> Windows {
    let PoolOptions { kernel, stride, pad, count_padding, .. } = options;
    let ([_, h, w, _], [_, p, q, _]) = (from.dims(), to.dims());
    let mut made =
        Windows { maximum, kernel, stride, before: [pad[0][0], pad[1][0]], result: [p, q], count: None };
    let mut beyond = false;
    for (i, (size, count)) in [(h, p), (w, q)].into_iter().enumerate() {
        if count == 1 {
            made.stride[i] = 0;
        }
        let end = (count.saturating_sub(1) * stride[i]).saturating_add(kernel[i]);
        let counts = !maximum && count_padding;
        if count == 1 && !counts && end >= size.saturating_add(made.before[i]) {
            // One window over the whole map.
            (made.kernel[i], made.before[i]) = (size, 0);
        } else {
            beyond |= made.before[i] > 0 || end > size.saturating_add(made.before[i]);
        }
    }
    if beyond && !maximum {
        made.count = Some((count_padding, if count_padding { [pad[0][1], pad[1][1]] } else { [0; 2] }));
    }
    made
}

/// Describes a product.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Taps {
    /// 0 if there is only one position.
    stride: [usize; 2],
    pad: [usize; 2],
    groups: usize,
    filters: [usize; 4],
}

/// The product that computes a value.
pub(super) fn product(graph: &Graph, value: Value) -> Option<Taps> {
    let (Description::Conv2d(options), [_, w, ..]) = operation(graph, value)? else { return None };
    let mut groups = options.groups;
    let mut weights = *w;
    while let Some((description, [inner, ..])) = operation(graph, weights) {
        if let Description::Ungroup { groups: before } = description {
            groups = before;
        }
        weights = *inner;
    }
    let [_, p, q, _] = graph.shape(value).ok()?.dims();
    let along = |stride: usize, count: usize| if count == 1 { 0 } else { stride };
    let stride = [along(options.stride[0], p), along(options.stride[1], q)];
    Some(Taps { stride, pad: options.pad, groups, filters: graph.shape(weights).ok()?.dims() })
}

/// The signature of each value. `input` is the input of the network.
pub(super) fn signatures(graph: &Graph, input: Value) -> Vec<u64> {
    let mut all: Vec<u64> = Vec::with_capacity(graph.nodes().len());
    for value in graph.values() {
        let of = |v: &Value| all.get(v.index()).copied().unwrap_or(0);
        let mut hash = DefaultHasher::new();
        let signature = match operation(graph, value) {
            _ if value == input => 1,
            None => 0,
            Some((description, inputs)) => {
                let first = inputs.first().map_or(0, of);
                match description {
                    Description::Reshape
                    | Description::Ungroup { .. }
                    | Description::Relu
                    | Description::BatchNorm { .. } => first,
                    // Ignored operations have the signature of their input.
                    _ if idle(graph, value).is_some() => first,
                    Description::Add => {
                        // The order of the operands does not matter.
                        let mut both: Vec<u64> = inputs.iter().map(of).collect();
                        both.sort_unstable();
                        ("add", both).hash(&mut hash);
                        hash.finish()
                    }
                    Description::Conv2d(_) => {
                        (product(graph, value), first).hash(&mut hash);
                        hash.finish()
                    }
                    Description::MaxPool(_)
                    | Description::AveragePool(_)
                    | Description::AdaptiveAveragePool(_) => {
                        match pooling(graph, value) {
                            Some(windows) => (windows, first).hash(&mut hash),
                            None => (format!("{description:?}"), first).hash(&mut hash),
                        }
                        hash.finish()
                    }
                    // The operation is determined by its constants and its shape.
                    _ => {
                        (format!("{description:?}"), inputs.iter().map(of).collect::<Vec<_>>())
                            .hash(&mut hash);
                        hash.finish()
                    }
                }
            }
        };
        all.push(signature);
    }
    all
}
