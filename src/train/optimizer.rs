//! The updates of the parameters as operations of a graph.

use crate::error::Result;
use crate::graph::{Graph, Kind};
use crate::models::Parameter;
use crate::tensor::{Shape, Value};
use std::collections::HashMap;

/// The name of the state that holds the loss scale.
pub(super) const LOSS_SCALE: &str = "loss scale";

/// Adds the updates of the parameters to the graph of the step. With gradient accumulation they form a graph of their own, which shares
/// its states.
pub(super) struct Updates {
    /// The input for the hyperparameters.
    pub hyper: Value,
    /// The input of each update: the hyperparameters, or with loss scaling those that a skipped step replaces.
    rates: Value,
    /// The graph of the updates, with gradient accumulation.
    pub separate: Option<Graph>,
    /// The largest root mean square of a filter, by parameter.
    limits: HashMap<Value, f32>,
}

impl Updates {
    pub fn new(separate: bool, step: &mut Graph, limited: &[(Value, f32)]) -> Self {
        let mut graph = separate.then(Graph::new);
        let hyper = graph.as_mut().unwrap_or(step).input("hyper-parameters", Shape::vector(4));
        Self { hyper, rates: hyper, separate: graph, limits: limited.iter().copied().collect() }
    }

    /// The gradient of one parameter in the graph of the updates. With gradient accumulation it is the sum over the batches.
    pub fn summed(&mut self, step: &mut Graph, parameter: &Parameter, gradient: Value) -> Result<Value> {
        let Some(graph) = &mut self.separate else { return Ok(gradient) };
        let (key, shape) = (parameter.key(), parameter.shape);
        let name = format!("{key} gradient");
        let sum = step.of_kind(Kind::Gradient, |g| g.state(name.clone(), shape));
        step.layer(key).accumulate(gradient, sum)?;
        Ok(graph.of_kind(Kind::Gradient, |g| g.state(name, shape)))
    }

    /// Skips the updates that follow if a gradient of the scaled loss is not finite. The updates wait for this check. A gradient that is
    /// larger than its inputs is computed after it.
    pub fn loss_scale(&mut self, step: &mut Graph, scale: Value, gradients: &[Value]) -> Result<()> {
        let (graph, scale) = match &mut self.separate {
            None => (step, scale),
            Some(graph) => {
                let scale = graph.state(LOSS_SCALE, Shape::vector(4));
                (graph, scale)
            }
        };
        let mut values = Vec::with_capacity(gradients.len());
        for gradient in gradients {
            // If the inputs are finite in f16, sums of their products are finite in f32: the smaller inputs are checked instead.
            match graph.smaller_inputs(*gradient)? {
                Some(origin) => values.extend(origin),
                None => values.push(*gradient),
            }
        }
        self.rates = graph.layer(LOSS_SCALE).loss_scale(self.hyper, scale, &values)?;
        Ok(())
    }

    /// Adds the update of one parameter and returns its velocity.
    pub fn add(&mut self, step: &mut Graph, parameter: &Parameter, gradient: Value) -> Result<Value> {
        let (key, shape) = (parameter.key(), parameter.shape);
        let limit = self.limits.get(&parameter.value).copied();
        let sums = self.separate.is_some();
        let (graph, weights) = match &mut self.separate {
            None => (step, parameter.value),
            Some(graph) => {
                let weights = graph.state(key.clone(), shape);
                (graph, weights)
            }
        };
        let velocity = graph.momentum(format!("{key} velocity"), shape);
        if self.rates != self.hyper && graph.smaller_inputs(gradient)?.is_some() {
            graph.schedule_before_update(gradient)?;
        }
        graph.layer(key).sgd(self.rates, gradient, weights, velocity)?;
        if let Some(limit) = limit {
            graph.limit_rms(self.rates, weights, limit)?;
        }
        if sums {
            graph.clear(gradient)?;
        }
        Ok(velocity)
    }
}
