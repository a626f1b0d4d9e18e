//! The order of the operations.

use crate::error::Result;
use crate::graph::{Graph, Source, Value};

/// The values that `outputs` and the updates need, in an order in which they can be computed. An update comes as
/// early as it can, right after the last reader of what it changes: so the gradient that it consumes is gone soon. So
/// does an operation that says it is early.
pub(super) fn order(graph: &Graph, outputs: &[Value]) -> Result<Vec<Value>> {
    let nodes = graph.nodes();
    let mut needed = vec![false; nodes.len()];
    for output in outputs {
        graph.node(*output)?;
        needed[output.index()] = true;
    }
    for i in (0..nodes.len()).rev() {
        let node = &nodes[i];
        if let Source::Op(op) = &node.source {
            needed[i] |= !op.updates().is_empty();
        }
        if needed[i] {
            for input in &node.inputs {
                needed[input.index()] = true;
            }
        }
    }
    let mut last_reader: Vec<usize> = (0..nodes.len()).collect();
    let mut keyed = Vec::new();
    for value in graph.values().filter(|v| needed[v.index()]) {
        let node = &nodes[value.index()];
        let updates = match &node.source {
            Source::Op(op) => op.updates(),
            _ => &[],
        };
        if updates.is_empty() {
            let ready = node.inputs.iter().map(|v| v.index()).max().unwrap_or(0);
            let early = matches!(&node.source, Source::Op(op) if op.is_early());
            keyed.push((if early { (ready, 1) } else { (value.index(), 0) }, value));
            for input in &node.inputs {
                last_reader[input.index()] = value.index();
            }
        } else {
            let ready = node.inputs.iter().map(|v| v.index());
            let free = updates.iter().map(|i| last_reader[node.inputs[*i].index()]);
            let place = ready.chain(free).max().unwrap_or(0);
            keyed.push(((place, 2), value));
            // Of two updates of one state the later one in the graph comes later.
            for i in updates {
                last_reader[node.inputs[*i].index()] = place;
            }
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}
