//! Which values lie in several buffers of some pictures each, because one would be too large for a binding.

use crate::error::Result;
use crate::graph::{Graph, Layout, Source, Value};
use crate::ops::Buf;
use std::collections::HashMap;

/// The values of `order` that lie in pieces: those larger than `limit`, and those that are bound beside one and could not be
/// bound from each of its first pictures on, because a binding must begin at a multiple of 256 bytes. Inputs and outputs are
/// copied from and to the host and lie in one piece.
pub(super) fn find(
    graph: &Graph,
    order: &[Value],
    outputs: &[Value],
    limit: u64,
) -> Result<HashMap<Value, Buf>> {
    let mut cut = HashMap::new();
    let free = |value| Ok(!outputs.contains(&value) && matches!(graph.node(value)?.source, Source::Op(_)));
    for &value in order {
        let buf = Buf::of_batch(value, graph.shape(value)?, limit);
        if buf.batch.piece > 0 && free(value)? {
            cut.insert(value, buf);
        }
    }
    // Each round makes a piece smaller or ends the search.
    let mut grows = !cut.is_empty();
    while grows {
        grows = false;
        for &value in order {
            let node = graph.node(value)?;
            let Source::Op(op) = &node.source else { continue };
            let mut together = Vec::new();
            for &input in &node.inputs {
                if graph.shape(input)?.layout() == Layout::Image {
                    together.push(input);
                }
            }
            if (0..node.inputs.len()).any(|i| op.per_image(i)) {
                together.push(value);
            }
            let Some(least) = together.iter().filter_map(|v| cut.get(v)).map(|b| b.batch.piece).min() else {
                continue;
            };
            for part in together {
                let before =
                    cut.get(&part).copied().map_or_else(|| Ok(Buf::of(part, graph.shape(part)?)), Ok)?;
                let after = before.beside_pieces_of(least);
                if after != before && free(part)? {
                    cut.insert(part, after);
                    grows = true;
                }
            }
        }
    }
    Ok(cut)
}
