//! Batch chunks: values that are too large for one binding are stored in several buffers, each with a range of images.

use crate::error::Result;
use crate::graph::{Graph, Source};
use crate::kernels::Buf;
use crate::tensor::{Layout, Value};
use std::collections::HashMap;

/// The values of `order` that are stored in chunks: those larger than `limit` bytes, and those that are bound together
/// with one and could not be bound at each of its chunks' first images, because a binding must begin at a multiple of
/// 256 bytes. Inputs and outputs are copied from and to the host, so each is stored in one buffer.
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
        if buf.batch.chunk > 0 && free(value)? {
            cut.insert(value, buf);
        }
    }
    // Each round makes at least one chunk smaller, or it is the last.
    let mut grows = !cut.is_empty();
    while grows {
        grows = false;
        for &value in order {
            let node = graph.node(value)?;
            let Some(traits) = node.traits() else { continue };
            let mut together = Vec::new();
            for &input in &node.inputs {
                if graph.shape(input)?.layout() == Layout::Image {
                    together.push(input);
                }
            }
            let per_image = traits.per_image;
            if (0..node.inputs.len()).any(|i| per_image.contains(i)) {
                together.push(value);
            }
            let Some(least) = together.iter().filter_map(|v| cut.get(v)).map(|b| b.batch.chunk).min() else {
                continue;
            };
            for part in together {
                let before =
                    cut.get(&part).copied().map_or_else(|| Ok(Buf::of(part, graph.shape(part)?)), Ok)?;
                let after = before.beside_chunks_of(least);
                if after != before && free(part)? {
                    cut.insert(part, after);
                    grows = true;
                }
            }
        }
    }
    Ok(cut)
}
