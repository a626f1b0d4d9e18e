//! Gradients as graph nodes: reverse-mode differentiation of a graph.

use super::BackwardRule;
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Source};
use crate::tensor::{Layout, Shape, Value};
use std::collections::HashMap;

impl Graph {
    /// Appends the gradient of sum(`seed` * `of`) with respect to each value of `wrt`. `seed` has the shape of `of`.
    /// The result is `None` for a value that `of` does not depend on.
    ///
    /// Contributions from several uses of a value are added in the order of those uses, last use first. The gradient of
    /// pixels has the layout of activations, see [`Graph::preprocess`].
    ///
    /// # Errors
    /// [`Error::Internal`] for a value of another graph, [`Error::Usage`] if `seed` has another shape than `of`; the
    /// error of an operation that has no gradient.
    pub fn gradients(&mut self, of: Value, seed: Value, wrt: &[Value]) -> Result<Vec<Option<Value>>> {
        self.gradients_of_sum(&[(of, seed)], wrt)
    }

    /// Like [`Graph::gradients`], but for the sum over several pairs of `of` and `seed`. No `of` may depend on another
    /// one.
    ///
    /// # Errors
    /// As [`Graph::gradients`].
    pub fn gradients_of_sum(&mut self, of: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Option<Value>>> {
        self.gradients_by(BackwardRule::Gradient, of, wrt)
    }

    /// Like [`Graph::gradients_of_sum`], but some operations pass back what `rule` says instead of their gradient.
    ///
    /// # Errors
    /// As [`Graph::gradients`].
    pub fn gradients_by(
        &mut self,
        rule: BackwardRule,
        of: &[(Value, Value)],
        wrt: &[Value],
    ) -> Result<Vec<Option<Value>>> {
        for (of, seed) in of {
            let (wanted, given) = (self.shape(*of)?, self.shape(*seed)?);
            if wanted.dims() != given.dims() || wanted.layout() != given.layout() {
                return Err(Error::usage(format!("the gradient of {wanted:?} from a seed of {given:?}"))
                    .hint("give a seed of the same shape"));
            }
        }
        wrt.iter().try_for_each(|value| self.node(*value).map(|_| ()))?;
        let layer = std::mem::take(&mut self.layer);
        let kind = std::mem::replace(&mut self.kind, Kind::Gradient);
        let gradients = self.backwards(rule, of, wrt);
        // Restore both even after an error: nodes that are added later are not part of the gradient.
        (self.layer, self.kind) = (layer, kind);
        gradients
    }

    fn backwards(
        &mut self,
        rule: BackwardRule,
        of: &[(Value, Value)],
        wrt: &[Value],
    ) -> Result<Vec<Option<Value>>> {
        // Only values on a path from `wrt` to `of` need a gradient.
        let mut depends = vec![false; self.nodes.len()];
        for value in wrt {
            depends[value.index()] = true;
        }
        for i in 0..self.nodes.len() {
            depends[i] |= self.nodes[i].inputs.iter().any(|v| depends[v.index()]);
        }
        let last = of.iter().map(|(of, _)| of.index()).max().unwrap_or(0);
        let mut gradients: HashMap<Value, Value> = HashMap::new();
        for &(of, seed) in of {
            let sum = match gradients.get(&of) {
                Some(&other) => self.add(other, seed)?,
                None => seed,
            };
            gradients.insert(of, sum);
        }
        for value in self.values().rev().filter(|v| v.index() <= last) {
            let (true, Some(&dy)) = (depends[value.index()], gradients.get(&value)) else { continue };
            let node = self.nodes[value.index()].clone();
            let Source::Op(op) = node.source else { continue };
            if !node.inputs.iter().any(|input| depends[input.index()]) {
                continue;
            }
            self.layer = node.name;
            let parts = rule.back(self, op.as_ref(), &node.inputs, value, dy)?;
            if parts.len() != node.inputs.len() {
                let (has, wants) = (parts.len(), node.inputs.len());
                return Err(Error::internal(format!(
                    "{} gives {has} gradients for {wants} inputs",
                    op.name()
                )));
            }
            for (input, part) in node.inputs.into_iter().zip(parts) {
                let (true, Some(part)) = (depends[input.index()], part) else { continue };
                self.check_gradient(op.name(), input, part)?;
                let sum = match gradients.get(&input) {
                    Some(&other) => self.add(other, part)?,
                    None => part,
                };
                gradients.insert(input, sum);
            }
        }
        Ok(wrt.iter().map(|v| gradients.get(v).copied()).collect())
    }

    /// Checks the gradient that an operation gives for an input: the kernels of other operations rely on its shape.
    fn check_gradient(&self, op: &str, input: Value, gradient: Value) -> Result<()> {
        let (of, given) = (self.shape(input)?, self.shape(gradient)?);
        let wanted = match (of.layout(), of.dims()) {
            (Layout::Pixels, [n, h, w, _]) => Shape::image(n, h, w, 3),
            _ => of,
        };
        if (wanted.layout(), wanted.dims()) != (given.layout(), given.dims()) {
            return Err(Error::internal(format!(
                "{op} gives a gradient of {given:?} for an input of {of:?}"
            ))
            .hint(format!("its gradient must be {wanted:?}")));
        }
        Ok(())
    }
}
