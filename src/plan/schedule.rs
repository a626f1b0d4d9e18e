//! The schedule: the order of the operations.

use crate::error::Result;
use crate::graph::{Graph, Kind, Node, Source};
use crate::tensor::Value;

/// The values that `outputs` and the updates need, in an order in which they can be computed. An update is scheduled as
/// early as possible: directly after the last consumer of the state that it changes. Its gradient is then dead early.
/// Operations with [`crate::graph::OpTraits::early`] are scheduled as early as their inputs allow.
pub(super) fn order(graph: &Graph, outputs: &[Value]) -> Result<Vec<Value>> {
    let nodes = graph.nodes();
    let mut needed = vec![false; nodes.len()];
    for output in outputs {
        graph.node(*output)?;
        needed[output.index()] = true;
    }
    // Mark all transitive inputs of the needed values.
    let updates = |node: &Node| node.traits().is_some_and(|traits| !traits.updates.is_empty());
    let mut open: Vec<usize> = (0..nodes.len()).filter(|i| needed[*i] || updates(&nodes[*i])).collect();
    while let Some(i) = open.pop() {
        needed[i] = true;
        open.extend(nodes[i].inputs.iter().map(|v| v.index()).filter(|v| !needed[*v]));
    }
    // The sort key of a value is a position in the graph, and a rank within that position: recomputed values first,
    // then the node itself, then early operations, then updates. Inputs and states are available from the first step,
    // wherever they were added.
    let place_of = |node: &Node| if matches!(node.source, Source::Op(_)) { node.place } else { 0 };
    let mut last_reader: Vec<usize> = nodes.iter().map(place_of).collect();
    let mut keyed = Vec::new();
    for value in graph.values().filter(|v| needed[v.index()]) {
        let node = &nodes[value.index()];
        let traits = node.traits();
        let ready = node.inputs.iter().map(|v| place_of(&nodes[v.index()])).max().unwrap_or(0);
        let key = match traits {
            // An update waits for the last consumer of the state that it changes.
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
        // A later update of a value that this node reads or writes must follow the node.
        for input in &node.inputs {
            let last = &mut last_reader[graph.root(*input)?.index()];
            *last = key.0.max(*last);
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok(keyed.into_iter().map(|(_, value)| value).collect())
}
