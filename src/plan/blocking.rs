//! Waiting for the GPU, which a browser must not.

use super::{Session, Started};
use crate::error::{Error, Result};
use crate::gpu::STAMP_BYTES;
use crate::tensor::Value;

impl Session {
    /// Runs the kernels of a step so many times without copying its outputs: in one submission, with one stamp, if a step is one.
    pub(crate) fn repeat(&self, times: u32) -> Result<()> {
        let (submissions, again) = match self.plan.submissions.len() {
            0 | 1 => (1, times.saturating_sub(1)),
            _ => (times, 0),
        };
        for _ in 0..submissions {
            let number = self.runs.replace(self.runs.get() + 1);
            self.submit_again(number, again, &[])?;
        }
        Ok(())
    }

    /// Waits for all runs until now, and sees whether they were done.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way or has lost work.
    pub fn finish(&self) -> Result<()> {
        match self.stamped.get() {
            0 => self.gpu.wait(),
            _ => pollster::block_on(self.gpu.check_stamp(&self.stamp, self.expected())),
        }
    }

    /// Runs the kernels of a step, without copying its outputs, and measures each on the GPU, in milliseconds; `None` where the
    /// adapter cannot.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&self) -> Result<Option<Vec<f64>>> {
        self.gpu.submit_timed(&self.kernels()?)
    }

    /// Waits for the last [`Session::run`] and returns one of the outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn output(&self, value: Value) -> Result<Vec<f32>> {
        let last = self.last.borrow().clone();
        self.output_of(&last.ok_or_else(|| Error::internal("an output before the first run"))?, value)
    }

    /// Waits for a run and returns one of its outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn output_of(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, bytes, shape) = self.copied(run, value)?;
        let read = self.gpu.read(staging, bytes + STAMP_BYTES, &run.submission)?;
        self.unpacked(run, read, bytes, shape)
    }

    /// Copies a state to the host as it lies in memory, padding included.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn read_stored(&self, value: Value) -> Result<Vec<f32>> {
        self.shape(value)?.decode(&pollster::block_on(self.stored(value))?)
    }

    /// Copies a state to the host, without padding.
    ///
    /// # Errors
    /// As [`Session::read_stored`].
    pub fn read(&self, value: Value) -> Result<Vec<f32>> {
        self.shape(value)?.unpad(&self.read_stored(value)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Fault, Gpu, GpuOptions};
    use crate::graph::Graph;
    use crate::plan::{Plan, PlanOptions};
    use crate::tensor::Shape;
    use std::sync::Arc;

    #[test]
    fn runs_that_are_repeated_are_one_submission_with_one_stamp() {
        let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
        let mut graph = Graph::new();
        let hyper = graph.input("hyper", Shape::vector(4));
        let state = graph.state("changed", Shape::vector(8));
        let velocity = graph.momentum("velocity", Shape::vector(8));
        let gradient = graph.fill(8, 1.0).unwrap();
        graph.sgd(hyper, gradient, state, velocity).unwrap();
        let plan = Plan::new(&graph, &[], &PlanOptions::for_gpu(&gpu)).unwrap();
        let session = Session::new(gpu.clone(), plan, None).unwrap();
        session.finish().unwrap();
        session.write(hyper, &[0.5, 0.0, 0.0, 1.0]).unwrap();
        session.repeat(3).unwrap();
        session.finish().unwrap();
        assert_eq!((session.read(state).unwrap(), session.stamped.get()), (vec![-1.5; 8], 1));
        gpu.inject(Fault::Submissions);
        session.repeat(3).unwrap();
        gpu.inject(Fault::None);
        assert!(matches!(session.finish(), Err(Error::Gpu(_))));
    }
}
