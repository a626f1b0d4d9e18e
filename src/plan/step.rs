//! The steps of a plan: its operations one by one, their results, and their times. The calls are asynchronous, so that
//! a browser can await them.

use super::{Plan, PlanOptions, Role, Session};
use crate::error::{Error, Result};
use crate::gpu::{CommandList, Gpu, Kernel, PlannedKernel, Stamp};
use crate::graph::Graph;
use crate::tensor::Value;
use std::collections::HashMap;

/// An operation of a plan, with the operations that are fused into its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The result of the last operation.
    pub value: Value,
    /// The results of all operations in order.
    pub members: Vec<Value>,
}

impl Plan {
    /// Like [`Plan::new`], but the values of `kept` stay in GPU memory. No run copies them; [`Session::kept`] reads
    /// them on request.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn keeping(graph: &Graph, kept: &[Value], options: &PlanOptions) -> Result<Self> {
        let plan = Self::new(graph, kept, options)?;
        Ok(Self { outputs: Vec::new(), ..plan })
    }

    /// Waits until the kernels of the plan are compiled.
    ///
    /// # Errors
    /// As [`Session::compiled`].
    pub(crate) async fn compiled(&self, gpu: &Gpu) -> Result<()> {
        gpu.compile_planned(self.planned_kernels(&Stamp::kernel())).await
    }

    /// The kernels of the plan, with the one that stamps its results.
    pub(crate) fn planned_kernels<'a>(
        &'a self,
        stamp: &'a Kernel,
    ) -> impl Iterator<Item = PlannedKernel<'a>> {
        let stamp = PlannedKernel { kernel: stamp, params: &[], buffers: Stamp::BUFFERS };
        let kernels = self.dispatches.iter().map(|dispatch| PlannedKernel {
            kernel: &dispatch.kernel,
            params: &dispatch.params,
            buffers: dispatch.buffers.len(),
        });
        kernels.chain([stamp])
    }

    /// Sums the times of the dispatches by step, in milliseconds.
    pub fn by_step(&self, times: &[f64]) -> Vec<f64> {
        let mut sums: HashMap<Value, f64> = HashMap::new();
        for (dispatch, ms) in self.dispatches.iter().zip(times) {
            *sums.entry(dispatch.value).or_default() += ms;
        }
        self.steps.iter().map(|step| sums.get(&step.value).copied().unwrap_or(0.0)).collect()
    }
}

impl Session {
    /// The content of a value after the last run, without padding: an input, a state, or a value kept by
    /// [`Plan::keeping`].
    ///
    /// # Errors
    /// [`Error::Internal`] for a value whose memory is shared with other values; [`Error::Gpu`] if the device failed.
    pub async fn kept(&self, value: Value) -> Result<Vec<f32>> {
        let role = self.plan.values.get(&value).map(|planned| planned.role);
        if role.is_none_or(|role| role == Role::Temporary) {
            return Err(Error::internal("a value that is not kept"));
        }
        let shape = self.shape(value)?;
        shape.unpad(&shape.decode(&self.stored(value).await?)?)
    }

    /// Runs all kernels and measures each step with timestamp queries, in milliseconds. If the adapter has none, it
    /// runs nothing and returns `None`.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_steps(&self) -> Result<Option<Vec<f64>>> {
        // Without timestamp queries the run would measure nothing.
        if !self.gpu.info().timestamps {
            return Ok(None);
        }
        let times = self.gpu.submit_timed_async(&self.kernels()?).await?;
        Ok(times.map(|times| self.plan.by_step(&times)))
    }

    /// Runs the steps one by one, waits for each, and measures it with the clock `now`, in milliseconds. It is for
    /// adapters without timestamp queries. Each time includes the latency of a submission.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn time_steps_waiting(&self, now: &dyn Fn() -> f64) -> Result<Vec<f64>> {
        let mut rest = self.bound()?;
        let mut times = Vec::with_capacity(rest.len());
        self.gpu.finished().await?;
        // The dispatches of an operation are consecutive.
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

#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;
    use crate::kernels::ConvOptions;
    use crate::ops::PoolOptions;
    use crate::tensor::Shape;
    use std::sync::Arc;

    #[test]
    fn every_kernel_of_a_plan_can_be_dispatched_without_workgroups() {
        let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::image(2, 9, 9, 8));
        let w = graph.state("w", Shape::filter(3, 3, 8, 16));
        let v = graph.momentum("v", Shape::filter(3, 3, 8, 16));
        let hyper = graph.input("hyper", Shape::vector(4));
        let y = graph.conv2d(x, w, None, ConvOptions::square(1, 1)).unwrap();
        let y = graph.relu(y).unwrap();
        let y = graph.max_pool(y, PoolOptions::square(3, 2)).unwrap();
        let dy = graph.input("dy", graph.shape(y).unwrap());
        let dw = graph.gradients(y, dy, &[w]).unwrap()[0].unwrap();
        graph.sgd(hyper, dw, w, v).unwrap();
        let plan = Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu)).unwrap();
        let stamp = Stamp::kernel();
        let kernels: Vec<PlannedKernel> = plan.planned_kernels(&stamp).collect();
        assert!(kernels.len() > 5);
        gpu.dispatch_without_workgroups(&kernels).unwrap();
        assert_eq!(gpu.allocated(), (0, 0), "buffers that nothing is computed with do not count");
    }
}
