//! The order of the operations.

use crate::error::Result;
use crate::graph::{Graph, Kind, Node, Source, Value};

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
    // From what is needed to what it needs.
    let updates = |node: &Node| matches!(&node.source, Source::Op(op) if !op.updates().is_empty());
    let mut open: Vec<usize> = (0..nodes.len()).filter(|i| needed[*i] || updates(&nodes[*i])).collect();
    while let Some(i) = open.pop() {
        needed[i] = true;
        open.extend(nodes[i].inputs.iter().map(|v| v.index()).filter(|v| !needed[*v]));
    }
    // The place of each value in the order: inputs and states, then node by node; at one place first what is computed again, then the node
    // itself, then what comes early, then updates.
    // What nothing computes is there from the start, wherever it was added to the graph: velocities come after all gradients.
    let place_of = |node: &Node| if matches!(node.source, Source::Op(_)) { node.place } else { 0 };
    let place = |v: Value| place_of(&nodes[v.index()]);
    let mut last_reader: Vec<usize> = nodes.iter().map(place_of).collect();
    let mut keyed = Vec::new();
    for value in graph.values().filter(|v| needed[v.index()]) {
        let node = &nodes[value.index()];
        let op = match &node.source {
            Source::Op(op) => Some(op),
            _ => None,
        };
        let updates = op.map_or(&[][..], |op| op.updates());
        let ready = node.inputs.iter().map(|v| place(*v)).max().unwrap_or(0);
        if updates.is_empty() {
            let key = match op {
                Some(op) if op.is_early() => (ready, 2),
                _ if node.kind == Kind::Recomputed => (node.place, 0),
                Some(_) => (node.place, 1),
                None => (0, 0),
            };
            keyed.push((key, value));
            for input in &node.inputs {
                let last = &mut last_reader[graph.root(*input)?.index()];
                *last = key.0.max(*last);
            }
        } else {
            let mut at = ready;
            for i in updates {
                at = at.max(last_reader[graph.root(node.inputs[*i])?.index()]);
            }
            keyed.push(((at, 3), value));
            // An update of what it reads or writes that is later in the graph comes later.
            for input in &node.inputs {
                let last = &mut last_reader[graph.root(*input)?.index()];
                *last = at.max(*last);
            }
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}
