//! The updates of the parameters as operations of a graph.

use super::TrainingOptions;
use crate::error::Result;
use crate::graph::{Graph, Kind};
use crate::models::Parameter;
use crate::tensor::{Shape, Value};
use std::collections::HashMap;

/// The name of the state that holds the loss scale.
pub(super) const LOSS_SCALE: &str = "loss scale";

/// Adds the updates of the parameters to the graph of the step. With gradient accumulation they form a graph of their own, which shares
/// its states.
pub(super) struct Updates<'a> {
    options: &'a TrainingOptions,
    /// The input for the hyperparameters.
    pub hyper: Value,
    /// The input for the share of the new weights in the averages.
    pub average: Option<Value>,
    /// The input of each update: the hyperparameters, or with loss scaling those that a skipped step replaces.
    rates: Value,
    /// The hyperparameters of each group of parameters, by the factors of rate and decay.
    groups: HashMap<[u32; 2], Value>,
    /// The graph of the updates, with gradient accumulation.
    pub separate: Option<Graph>,
    /// The parameters in that graph.
    shared: HashMap<Value, Value>,
    /// The largest root mean square of a filter, by parameter.
    limits: HashMap<Value, f32>,
}

impl<'a> Updates<'a> {
    pub fn new(options: &'a TrainingOptions, step: &mut Graph, limited: &[(Value, f32)]) -> Self {
        let mut separate = (options.accumulate > 1).then(Graph::new);
        let graph = separate.as_mut().unwrap_or(step);
        let hyper = graph.input("hyper-parameters", Shape::vector(4));
        let average = options.averages.then(|| graph.input("share of the average", Shape::vector(4)));
        let limits = limited.iter().copied().collect();
        let (groups, shared) = (HashMap::new(), HashMap::new());
        Self { options, hyper, average, rates: hyper, groups, separate, shared, limits }
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

    /// Limits the norm of all gradients together, if the options say so. The updates wait for it.
    pub fn clip(&mut self, step: &mut Graph, gradients: &[Value]) -> Result<()> {
        let Some(max_norm) = self.options.clip_norm else { return Ok(()) };
        let graph = self.separate.as_mut().unwrap_or(step);
        self.rates = graph.layer("gradient norm").clip_grad_norm(self.rates, gradients, max_norm)?;
        Ok(())
    }

    /// The hyperparameters of a parameter.
    fn rates_of(&mut self, step: &mut Graph, parameter: &Parameter, is_head: bool) -> Result<Value> {
        let rate = if is_head { 1.0 } else { self.options.body_rate };
        // Filters have several dimensions; biases, scales and shifts have one.
        let decays = self.options.bias_decay || parameter.torch_shape.len() > 1;
        let decay = if decays { 1.0 } else { 0.0 };
        if (rate, decay) == (1.0, 1.0) {
            return Ok(self.rates);
        }
        let key = [rate, decay].map(f32::to_bits);
        if let Some(rates) = self.groups.get(&key) {
            return Ok(*rates);
        }
        let graph = self.separate.as_mut().unwrap_or(step);
        let rates = graph.layer("hyper-parameters").param_group(self.rates, rate, decay)?;
        self.groups.insert(key, rates);
        Ok(rates)
    }

    /// The parameter in the graph of the updates.
    fn of_updates(&mut self, parameter: &Parameter) -> Value {
        let Some(graph) = &mut self.separate else { return parameter.value };
        *self.shared.entry(parameter.value).or_insert_with(|| graph.state(parameter.key(), parameter.shape))
    }

    /// Adds the update of one parameter and returns its velocity.
    pub fn add(
        &mut self,
        step: &mut Graph,
        parameter: &Parameter,
        gradient: Value,
        is_head: bool,
    ) -> Result<Value> {
        let (key, shape) = (parameter.key(), parameter.shape);
        let limit = self.limits.get(&parameter.value).copied();
        let sums = self.separate.is_some();
        let (rates, weights) = (self.rates_of(step, parameter, is_head)?, self.of_updates(parameter));
        let graph = self.separate.as_mut().unwrap_or(step);
        let velocity = graph.momentum(format!("{key} velocity"), shape);
        // A norm of all gradients needs them before any update.
        let waits = self.rates != self.hyper && self.options.clip_norm.is_none();
        if waits && graph.smaller_inputs(gradient)?.is_some() {
            graph.schedule_before_update(gradient)?;
        }
        let graph = graph.layer(key);
        match self.options.nesterov {
            true => graph.sgd_nesterov(rates, gradient, weights, velocity)?,
            false => graph.sgd(rates, gradient, weights, velocity)?,
        };
        if let Some(limit) = limit {
            graph.limit_rms(rates, weights, limit)?;
        }
        if sums {
            graph.clear(gradient)?;
        }
        Ok(velocity)
    }

    /// Adds the moving average of a parameter or running statistic that training changes; `None` if no averages are kept.
    pub fn add_average(&mut self, step: &mut Graph, parameter: &Parameter) -> Result<Option<Value>> {
        let Some(share) = self.average else { return Ok(None) };
        let weights = self.of_updates(parameter);
        let graph = self.separate.as_mut().unwrap_or(step);
        let key = parameter.key();
        let average = graph.momentum(format!("{key} average"), parameter.shape);
        graph.layer(key).moving_average(share, weights, average)?;
        Ok(Some(average))
    }
}
