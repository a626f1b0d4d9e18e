//! The filters of a convolution.

use super::explainer::Explainer;
use super::layers::ExplainLayer;
use crate::error::{Error, Result};
use crate::graph::{Description, Graph, Source};
use crate::infer::Filters;
use crate::plan::Session;
use crate::tensor::Layout;

/// Weights of a convolution: rows, columns, inputs and filters.
pub(super) struct Weights {
    shape: [usize; 4],
    data: Vec<f32>,
}

/// The weights that the operation of a node reads; `None` if it is no convolution.
pub(super) async fn weights(graph: &Graph, node: usize, session: &Session) -> Result<Option<Weights>> {
    let Some(node) = graph.nodes().get(node) else { return Ok(None) };
    let is_convolution =
        matches!(&node.source, Source::Op(op) if matches!(op.describe(), Some(Description::Conv2d(_))));
    let Some(mut weights) = node.inputs.get(1).copied().filter(|_| is_convolution) else { return Ok(None) };
    // Filters of groups may be converted to filters of one group.
    while let (Source::Op(_), Some(before)) =
        (&graph.node(weights)?.source, graph.node(weights)?.inputs.first())
    {
        weights = *before;
    }
    let shape = graph.shape(weights)?;
    if shape.layout() != Layout::Filter {
        return Ok(None);
    }
    Ok(Some(Weights { shape: shape.dims(), data: session.kept(weights).await? }))
}

/// Whether a convolution reads the picture: it is the first one.
fn reads_picture(explainer: &Explainer, layer: &ExplainLayer) -> bool {
    !explainer.layers().iter().any(|other| other.op == "conv2d" && other.node < layer.node)
}

/// The filters of a convolution, whose channels are red, green and blue if it reads the picture; without a name those of the first one. A
/// layer that is no convolution stands for the last convolution before it, whose filters it shows.
///
/// # Errors
/// [`Error::Usage`] if there is no such layer, or no convolution with filters of more than one pixel; [`Error::Gpu`] if the device
/// failed.
pub async fn filters_async(explainer: &mut Explainer, layer: Option<&str>) -> Result<Filters> {
    let layers = explainer.layers();
    let is_convolution = |layer: &&ExplainLayer| layer.op == "conv2d";
    let found = match layer {
        None => layers.iter().find(is_convolution),
        Some(name) => {
            let node = explainer.layer(name)?.node;
            layers.iter().filter(is_convolution).rfind(|layer| layer.node <= node)
        }
    };
    let found = found.ok_or_else(|| {
        Error::usage("there is no convolution here").hint("name a convolution, or a network that has one")
    })?;
    let layer = found.clone();
    let weights = explainer.weights(&layer).await?;
    let weights = weights.ok_or_else(|| Error::internal("a convolution without filters"))?;
    let Weights { shape: [r, s, c, k], data } = weights;
    if r * s == 1 {
        return Err(Error::usage("its filters are of one pixel, which is no picture")
            .at(format!("layer {}", layer.name))
            .hint("name a convolution with larger filters"));
    }
    let mut filters = Filters::of(layer.name.clone(), [r, s, c, k], &data);
    if reads_picture(explainer, &layer) {
        explainer.reorder(&mut filters.data);
    }
    Ok(filters)
}
