//! Whatever waits for the GPU: reading back, timing. A browser must not be kept waiting, see `web.rs`.

use super::device::{Gpu, lost};
use super::run::{Bound, Buffer, Pass, Submission, record, seen};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// How long a callback may take that is due.
const CALLBACK_TIME: Duration = Duration::from_secs(60);

impl Gpu {
    /// Submits a pass and measures each of its kernels on the GPU, in milliseconds; `None` where the adapter
    /// has no timestamps.
    ///
    /// # Errors
    /// As [`Gpu::submit`] and [`Gpu::read`].
    pub fn submit_timed(&self, pass: &Pass) -> Result<Option<Vec<f64>>> {
        if !self.info().timestamps {
            self.submit(pass)?;
            return Ok(None);
        }
        let mut times = Vec::with_capacity(pass.dispatches.len());
        // A query set holds at most 4096 timestamps.
        for chunk in pass.dispatches.chunks(2048) {
            times.extend(self.submit_chunk_timed(chunk)?);
        }
        self.submit(&Pass { dispatches: &[], copies: pass.copies })?;
        Ok(Some(times))
    }

    fn submit_chunk_timed(&self, chunk: &[Bound]) -> Result<Vec<f64>> {
        let count = chunk.len() as u32 * 2;
        let bytes = u64::from(count) * 8;
        let set = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved =
            self.make("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let staging = self.staging("timestamps read back", bytes)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        for (i, bound) in (0u32..).zip(chunk) {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &set,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                }),
            });
            record(&mut compute, bound);
        }
        encoder.resolve_query_set(&set, 0..count, &resolved.inner, 0);
        encoder.copy_buffer_to_buffer(&resolved.inner, 0, &staging.inner, 0, bytes);
        let submission = Submission(self.queue.submit([encoder.finish()]));
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.read(&staging, bytes, &submission)?);
        let period = f64::from(self.queue.get_timestamp_period()) * 1e-6;
        Ok(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period).collect())
    }

    /// Waits until the GPU has done everything submitted.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device was lost on the way.
    pub fn wait(&self) -> Result<()> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    fn poll(&self, until: wgpu::PollType) -> Result<()> {
        // wgpu 30 panics in `poll` when the device is lost, before its callback could turn it into an error.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        self.faults.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::gpu(format!("waiting for the GPU failed: {error}"))),
            Err(_) => Err(lost("it stopped answering")),
        }
    }

    /// Waits for what was submitted last to fill a staging buffer, not for what came after that, and returns its first `bytes`
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub fn read(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        let (send, receive) = mpsc::channel();
        seen(staging, bytes).map_async(wgpu::MapMode::Read, move |mapped| {
            // The receiver is gone only if waiting failed, and then that error is the one to report.
            let _ = send.send(mapped);
        });
        self.poll(wgpu::PollType::Wait { submission_index: Some(filled.0.clone()), timeout: None })?;
        // Another thread's `wait` may be the one that runs the callback, and may not have come to it yet.
        match receive.recv_timeout(CALLBACK_TIME) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::gpu(format!("reading from the GPU failed: {error}"))),
            Err(_) => return Err(lost("it gave no answer to a read")),
        }
        Self::mapped(staging, bytes)
    }

    /// As [`Gpu::read`], which it is here; a browser awaits it.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        self.read(staging, bytes, filled)
    }

    /// Copies a buffer's first `bytes` bytes to the host, waiting for what was submitted before.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn download(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        let staging = self.staging("read back", bytes)?;
        let whole = bytes.next_multiple_of(4).min(buffer.size);
        let copies = [(buffer.clone(), staging.clone(), whole)];
        let submission = self.submit(&Pass { dispatches: &[], copies: &copies })?;
        self.read(&staging, bytes, &submission)
    }
}
