//! A look inside a run: the operations of a plan one by one, what they compute, and how long each takes. Everything is awaited, so
//! that a browser can.

use super::{Plan, PlanOptions, Role, Session};
use crate::error::{Error, Result};
use crate::gpu::{CommandList, Gpu, Stamp};
use crate::graph::Graph;
use crate::tensor::Value;
use std::collections::HashMap;

/// An operation of a plan with those that are done in its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it computes: the result of the last one.
    pub value: Value,
    /// The results of all of them in order.
    pub members: Vec<Value>,
}

impl Plan {
    /// As [`Plan::new`], but what is computed stays where it is until it is asked for by [`Session::kept`], and no run copies it.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn keeping(graph: &Graph, kept: &[Value], options: &PlanOptions) -> Result<Self> {
        let plan = Self::new(graph, kept, options)?;
        Ok(Self { outputs: Vec::new(), ..plan })
    }

    /// Waits until its kernels are compiled.
    ///
    /// # Errors
    /// As [`Session::compiled`].
    pub(crate) async fn compiled(&self, gpu: &Gpu) -> Result<()> {
        let stamp = Stamp::kernel();
        gpu.compile(self.dispatches.iter().map(|dispatch| &dispatch.kernel).chain([&stamp])).await
    }

    /// Adds up the milliseconds of each dispatch by the steps.
    pub fn by_step(&self, times: &[f64]) -> Vec<f64> {
        let mut sums: HashMap<Value, f64> = HashMap::new();
        for (dispatch, ms) in self.dispatches.iter().zip(times) {
            *sums.entry(dispatch.value).or_default() += ms;
        }
        self.steps.iter().map(|step| sums.get(&step.value).copied().unwrap_or(0.0)).collect()
    }
}

impl Session {
    /// What a value holds after the last run, without padding: an input, a state, or what a plan of [`Plan::keeping`] keeps.
    ///
    /// # Errors
    /// [`Error::Internal`] for a value whose memory is used for others too; [`Error::Gpu`] if the device failed.
    pub async fn kept(&self, value: Value) -> Result<Vec<f32>> {
        let role = self.plan.values.get(&value).map(|planned| planned.role);
        if role.is_none_or(|role| role == Role::Temporary) {
            return Err(Error::internal("a value that is not kept"));
        }
        let shape = self.shape(value)?;
        shape.unpad(&shape.decode(&self.stored(value).await?)?)
    }

    /// Runs all kernels and measures each step by the GPU's clock, in milliseconds; `None` where the adapter has none, and
    /// then nothing is run.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_steps(&self) -> Result<Option<Vec<f64>>> {
        // Without a clock the kernels would run for nothing.
        if !self.gpu.info().timestamps {
            return Ok(None);
        }
        let times = self.gpu.submit_timed_async(&self.kernels()?).await?;
        Ok(times.map(|times| self.plan.by_step(&times)))
    }

    /// Runs the steps one after the other and waits for each, in milliseconds of the clock `now`: for adapters without one of their
    /// own. The way to the GPU and back is part of each time.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_steps_waiting(&self, now: &dyn Fn() -> f64) -> Result<Vec<f64>> {
        let mut rest = self.bound()?;
        let mut times = Vec::with_capacity(rest.len());
        self.gpu.finished().await?;
        // The calls of an operation follow each other.
        for calls in self.plan.dispatches.chunk_by(|a, b| a.value == b.value) {
            let (dispatches, behind) = rest.split_at(calls.len().min(rest.len()));
            let start = now();
            self.gpu.submit(&CommandList { dispatches, ..CommandList::default() })?;
            self.gpu.finished().await?;
            let ms = now() - start;
            times.extend(calls.iter().map(|_| ms / calls.len() as f64));
            rest = behind;
        }
        Ok(self.plan.by_step(&times))
    }
}
