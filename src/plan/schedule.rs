//! The order of the operations.

use crate::error::Result;
use crate::graph::{Graph, Kind, Node, Source};
use crate::tensor::Value;

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
    let updates = |node: &Node| matches!(&node.source, Source::Op(op) if !op.traits().updates.is_empty());
    let mut open: Vec<usize> = (0..nodes.len()).filter(|i| needed[*i] || updates(&nodes[*i])).collect();
    while let Some(i) = open.pop() {
        needed[i] = true;
        open.extend(nodes[i].inputs.iter().map(|v| v.index()).filter(|v| !needed[*v]));
    }
    // The place of each value in the order: inputs and states, then node by node; at one place first what is computed again, then the node
    // itself, then what comes early, then updates. Inputs and states are available from the first step, wherever they were added.
    let place_of = |node: &Node| if matches!(node.source, Source::Op(_)) { node.place } else { 0 };
    let mut last_reader: Vec<usize> = nodes.iter().map(place_of).collect();
    let mut keyed = Vec::new();
    for value in graph.values().filter(|v| needed[v.index()]) {
        let node = &nodes[value.index()];
        let traits = match &node.source {
            Source::Op(op) => Some(op.traits()),
            _ => None,
        };
        let ready = node.inputs.iter().map(|v| place_of(&nodes[v.index()])).max().unwrap_or(0);
        let key = match traits {
            // An update waits for the last reader of what it changes.
            Some(traits) if !traits.updates.is_empty() => {
                let mut at = ready;
                for changed in traits.updates.iter().filter_map(|i| node.inputs.get(*i)) {
                    at = at.max(last_reader[graph.root(*changed)?.index()]);
                }
                (at, 3)
            }
            Some(traits) if traits.early => (ready, 2),
            _ if node.kind == Kind::Recomputed => (node.place, 0),
            Some(_) => (node.place, 1),
            None => (0, 0),
        };
        keyed.push((key, value));
        // An update of what it reads or writes that is later in the graph comes later.
        for input in &node.inputs {
            let last = &mut last_reader[graph.root(*input)?.index()];
            *last = key.0.max(*last);
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}
