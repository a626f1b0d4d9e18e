//! The inputs and results of a step besides its parameters.

use crate::error::{Error, Result};
use crate::models::Network;
use crate::plan::Session;
use crate::tensor::{Shape, Value};

/// The inputs and outputs of a step.
#[derive(Debug, Clone)]
pub struct Ports {
    pub(super) pixels: Value,
    pub(super) labels: Value,
    pub(super) classes: usize,
    pub(super) loss: Value,
    pub(super) rank: Value,
}

impl Ports {
    /// Writes a batch.
    ///
    /// # Errors
    /// [`Error::Usage`] if pixels or labels are not those of a batch, or a label is no class of the network.
    pub(super) fn feed(&self, session: &Session, pixels: &[u8], labels: &[u32]) -> Result<()> {
        if let Some(label) = labels.iter().find(|label| **label as usize >= self.classes) {
            let classes = self.classes;
            return Err(Error::usage(format!("class {label} of a network with {classes} classes"))
                .hint("classes are counted from 0"));
        }
        session.write_stored(self.pixels, pixels)?;
        session.write_stored(self.labels, bytemuck::cast_slice(labels))
    }
}

/// Adds the loss of a network, and the inputs and outputs of a step.
pub(super) fn with_loss(network: &mut Network, batch_size: usize) -> Result<Ports> {
    let labels = network.graph.input("labels", Shape::labels(batch_size));
    network.graph.layer("loss");
    let loss = network.graph.softmax_cross_entropy(network.logits, labels)?;
    let rank = network.graph.label_rank(network.logits, labels)?;
    let classes = network.graph.shape(network.logits)?.dims()[3];
    Ok(Ports { pixels: network.pixels, labels, classes, loss, rank })
}
