//! Blocking calls. They are not available in a browser, which must not block.

use super::{Session, Started};
use crate::error::{Error, Result};
use crate::gpu::STAMP_BYTES;
use crate::tensor::Value;

impl Session {
    /// Runs the kernels of a step `times` times without copying its outputs. If a step is one submission, all runs
    /// share one submission and one stamp.
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

    /// Waits for all runs so far and verifies that they were done.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed or has lost work.
    pub fn finish(&self) -> Result<()> {
        match self.stamped.get() {
            0 => self.gpu.wait(),
            _ => pollster::block_on(self.gpu.check_stamp(&self.stamp, self.expected())),
        }
    }

    /// Runs the kernels of a step without copying its outputs. Returns the time of each dispatch in milliseconds, or
    /// `None` if the adapter has no timestamp queries.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&self) -> Result<Option<Vec<f64>>> {
        self.gpu.submit_timed(&self.kernels()?)
    }

    /// Waits for the last [`Session::run`] and returns one of the outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn output(&self, value: Value) -> Result<Vec<f32>> {
        let last = self.last.borrow().clone();
        self.output_of(&last.ok_or_else(|| Error::internal("an output before the first run"))?, value)
    }

    /// Waits for a run and returns one of its outputs, without padding.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn output_of(&self, run: &Started, value: Value) -> Result<Vec<f32>> {
        let (staging, bytes, shape) = self.copied(run, value)?;
        let read = self.gpu.read(staging, bytes + STAMP_BYTES, &run.submission)?;
        self.unpacked(run, read, bytes, shape)
    }

    /// Copies a state to the host in its memory layout, padding included.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
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
