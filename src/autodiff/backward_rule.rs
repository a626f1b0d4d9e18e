//! What an operation passes back to its inputs, where that is not its gradient.

use crate::error::Result;
use crate::graph::{Description, Graph, Op};
use crate::tensor::Value;

/// What a ReLU, and in one case a local response normalisation, passes back. All other operations pass back their gradient. With `y`
/// the result of the ReLU and `dy` what comes from above, a ReLU passes back:
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BackwardRule {
    /// The gradient: `dy` where `y > 0`.
    #[default]
    Gradient,
    /// Guided backpropagation (Springenberg et al., "Striving for Simplicity", 2014, section 3.4): `dy` where `y > 0` and `dy > 0`.
    Guided,
    /// DeconvNet (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 2.1): `max(dy, 0)`,
    /// whatever `y` is. A local response normalisation passes back `dy` itself: the paper has none on the way back. A max pooling
    /// passes `dy` to the place of the maximum, which is its gradient and the paper's unpooling with switches.
    Deconvnet,
}

impl BackwardRule {
    /// Appends what `op` passes back to each of its inputs.
    pub(super) fn back(
        self,
        g: &mut Graph,
        op: &dyn Op,
        x: &[Value],
        y: Value,
        dy: Value,
    ) -> Result<Vec<Option<Value>>> {
        match (self, op.describe()) {
            (Self::Guided, Some(Description::Relu)) => {
                let positive = g.relu(dy)?;
                op.gradient(g, x, y, positive)
            }
            (Self::Deconvnet, Some(Description::Relu)) => Ok(vec![Some(g.relu(dy)?)]),
            (Self::Deconvnet, Some(Description::Lrn(_))) => Ok(vec![Some(dy)]),
            _ => op.gradient(g, x, y, dy),
        }
    }
}
