//! A network as a table: layers, sizes, parameters, multiply-adds.

use super::{Arch, Mode, Settings};
use crate::error::Result;
use crate::graph::Source;
use crate::tensor::Value;
use serde::Serialize;
use std::collections::HashMap;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The name, e.g. `layer1.0.conv1`.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// Height, width and channels of the result.
    pub output: [usize; 3],
    /// The number of trained parameters, including biases and the scales of batch norm.
    pub parameters: u64,
    /// Multiply-adds of its GEMMs for one image.
    pub macs: u64,
    /// Bytes of its result for one image, plus those of its parameters.
    pub bytes: u64,
}

/// The whole table. Field names are those of `ocelli show --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The variant.
    pub arch: &'static str,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// The number of trained parameters. Running statistics do not count.
    pub parameters: u64,
    /// Multiply-adds of convolutions and linear layers for one image.
    pub macs: u64,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

impl Arch {
    /// The network as a table, for one image.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the settings do not fit the network.
    pub fn summary(&self, settings: &Settings) -> Result<Summary> {
        let network = self.network(&Settings { batch_size: 1, ..*settings }, Mode::Inference)?;
        let trained: HashMap<_, _> =
            network.parameters.iter().filter(|p| p.trained).map(|p| (p.value, p)).collect();
        let mut layers = Vec::new();
        // A reshaped parameter counts as the parameter.
        let mut trained = trained;
        for (value, node) in network.graph.values().zip(network.graph.nodes()) {
            let Source::Op(op) = &node.source else { continue };
            if op.traits().is_reshape() {
                let parameter = node.inputs.first().and_then(|v| trained.get(v).copied());
                trained.extend(parameter.map(|p| (value, p)));
                continue;
            }
            let shapes = node.inputs.iter().map(|v| network.graph.shape(*v)).collect::<Result<Vec<_>>>()?;
            // The shards of a layer are one line.
            let pieces = layers
                .iter()
                .rev()
                .take_while(|l: &&Layer| op.traits().is_concat() && l.name == node.name)
                .count();
            if pieces > 0 {
                let pieces: Vec<Layer> = layers.drain(layers.len() - pieces..).collect();
                let [_, h, w, c] = node.shape.dims();
                layers.push(Layer {
                    name: node.name.clone(),
                    op: pieces.first().map_or(op.name(), |p| p.op),
                    output: [h, w, c],
                    parameters: pieces.iter().map(|p| p.parameters).sum(),
                    macs: pieces.iter().map(|p| p.macs).sum(),
                    bytes: pieces.iter().map(|p| p.bytes).sum(),
                });
                continue;
            }
            let count = |v: &Value| trained.get(v).and_then(|p| p.shape.elements()).unwrap_or(0) as u64;
            let bytes = |v: &Value| trained.get(v).map_or(0, |p| p.shape.bytes());
            let [_, h, w, c] = node.shape.dims();
            layers.push(Layer {
                name: node.name.clone(),
                op: op.name(),
                output: [h, w, c],
                parameters: node.inputs.iter().map(count).sum(),
                macs: op.macs(&shapes),
                bytes: node.inputs.iter().map(bytes).fold(node.shape.bytes(), u64::saturating_add),
            });
        }
        let [h, w] = settings.size;
        Ok(Summary {
            arch: self.name,
            input: [h, w, 3],
            classes: settings.classes,
            parameters: layers.iter().map(|l| l.parameters).sum(),
            macs: layers.iter().map(|l| l.macs).sum(),
            layers,
        })
    }
}
