//! Gradients that are larger than what they are computed from: they can wait for the update that reads them.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::{Layout, Value};

impl Graph {
    /// What a gradient is computed from, if that is activations that together take less memory: the weight gradient of a
    /// product over few pixels.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub fn smaller_inputs(&self, gradient: Value) -> Result<Option<Vec<Value>>> {
        let node = self.node(self.root(gradient)?)?;
        let mut bytes = 0u64;
        for input in &node.inputs {
            let shape = self.shape(*input)?;
            if shape.layout() != Layout::Image {
                return Ok(None);
            }
            bytes = bytes.saturating_add(shape.bytes());
        }
        let smaller = bytes < node.shape.bytes() && !node.inputs.is_empty();
        Ok(smaller.then(|| node.inputs.clone()))
    }

    /// Has a gradient that nothing reads yet computed right before the node that is added next.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub fn schedule_before_update(&mut self, gradient: Value) -> Result<()> {
        let (mut value, root, place) = (gradient, self.root(gradient)?, self.nodes.len());
        loop {
            self.nodes[value.index()].place = place;
            match self.nodes[value.index()].inputs[..] {
                [parent] if value != root => value = parent,
                _ => return Ok(()),
            }
        }
    }
}
