//! The inputs and results of a step besides its parameters.

use super::Target;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::models::Network;
use crate::plan::Session;
use crate::tensor::{Shape, Value};

/// The inputs and outputs of a step.
#[derive(Debug, Clone)]
pub struct Ports {
    pub(super) pixels: Value,
    pub(super) labels: Value,
    /// Soft targets and the label smoothing of the loss, if it takes them.
    targets: Option<(Value, f32)>,
    pub(super) classes: usize,
    pub(super) loss: Value,
    pub(super) rank: Value,
}

impl Ports {
    /// Writes a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if pixels or targets are not those of a batch, a class is none of the network, or the loss takes no soft
    /// targets and is given some.
    pub(super) fn feed(&self, session: &Session, pixels: &[u8], targets: &[Target]) -> Result<()> {
        let classes = self.classes;
        let found = targets.iter().flat_map(|t| [t.label, t.second]).find(|label| *label as usize >= classes);
        if let Some(label) = found {
            return Err(Error::usage(format!("class {label} of a network with {classes} classes"))
                .hint("classes are counted from 0"));
        }
        session.write_stored(self.pixels, pixels)?;
        let labels: Vec<u32> = targets.iter().map(|t| t.label).collect();
        session.write_stored(self.labels, bytemuck::cast_slice(&labels))?;
        match self.targets {
            Some((to, _)) => {
                let stored: Vec<f32> = targets.iter().flat_map(Target::stored).collect();
                session.write(to, &stored)
            }
            None if targets.iter().all(Target::is_plain) => Ok(()),
            None => Err(Error::usage("this training step takes no mixed or weighted targets")
                .hint("build it with `TrainingOptions::with_soft_targets`")),
        }
    }

    /// The loss of logits for each image.
    pub(super) fn loss_of(&self, graph: &mut Graph, logits: Value) -> Result<Value> {
        match self.targets {
            Some((targets, smoothing)) => graph.soft_cross_entropy(logits, targets, smoothing),
            None => graph.softmax_cross_entropy(logits, self.labels),
        }
    }
}

/// Adds the loss of a network, and the inputs and outputs of a step. With `soft`, a label smoothing, the loss takes soft targets.
pub(super) fn with_loss(network: &mut Network, batch_size: usize, soft: Option<f32>) -> Result<Ports> {
    let graph = &mut network.graph;
    let labels = graph.input("labels", Shape::labels(batch_size));
    let targets = soft.map(|smoothing| (graph.input("targets", Shape::vector(4 * batch_size)), smoothing));
    let classes = graph.shape(network.logits)?.dims()[3];
    let unset = Value::default();
    let ports = Ports { pixels: network.pixels, labels, targets, classes, loss: unset, rank: unset };
    graph.layer("loss");
    let loss = ports.loss_of(graph, network.logits)?;
    let rank = graph.label_rank(network.logits, labels)?;
    Ok(Ports { loss, rank, ..ports })
}
