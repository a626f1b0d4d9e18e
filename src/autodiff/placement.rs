//! Placement of gradients that are larger than their inputs: they can be computed directly before the update that
//! consumes them.

use crate::error::Result;
use crate::graph::Graph;
use crate::tensor::{Layout, Value};

impl Graph {
    /// The inputs of a gradient, if all of them are activations and together take less memory than the gradient. An
    /// example is the weight gradient of a product over few pixels.
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

    /// Schedules a gradient directly before the node that is added next. No node may read the gradient yet.
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
