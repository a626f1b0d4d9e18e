//! Buffers, bound kernels, and running them; writing to and reading from the GPU.

use super::device::{Gpu, lost};
use crate::error::{Error, Result};
use std::num::NonZeroU64;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// How long a callback may take that is due.
const CALLBACK_TIME: Duration = Duration::from_secs(60);

/// Memory on the GPU.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub(super) inner: wgpu::Buffer,
    pub(super) size: u64,
}

impl Buffer {
    /// Bytes, rounded up to a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A compiled kernel.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pub(super) inner: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// A kernel with its buffers and its grid: one dispatch, ready to be replayed.
#[derive(Debug, Clone)]
pub struct Bound {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: [u32; 3],
}

/// Work that was handed to the GPU.
#[derive(Debug, Clone)]
pub struct Submission(wgpu::SubmissionIndex);

/// What one submission does.
#[derive(Default)]
pub struct Pass<'a> {
    /// Kernels in order; each sees what the ones before it wrote.
    pub dispatches: &'a [Bound],
    /// Copies after the kernels: from, to, bytes.
    pub copies: &'a [(Buffer, Buffer, u64)],
}

impl Gpu {
    /// Binds buffers to a compiled kernel in the order of its bindings, each with the range of bytes it may see.
    ///
    /// # Errors
    /// [`Error::Internal`] if the buffers do not fit the kernel.
    pub fn bind(
        &self,
        label: &str,
        pipeline: &Pipeline,
        buffers: &[(&Buffer, Range<u64>)],
        workgroups: [u32; 3],
    ) -> Result<Bound> {
        let entries: Vec<wgpu::BindGroupEntry> = buffers
            .iter()
            .enumerate()
            .map(|(i, (buffer, seen))| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer.inner,
                    offset: seen.start,
                    size: NonZeroU64::new(seen.end.next_multiple_of(16).min(buffer.size) - seen.start),
                }),
            })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.faults.check().map_err(|e| e.at(label))?;
        Ok(Bound { pipeline: pipeline.inner.clone(), group, workgroups })
    }

    /// Makes a buffer that results are copied into and read from.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn staging(&self, label: &str, bytes: u64) -> Result<Buffer> {
        self.make(label, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// Writes `content` to the start of a buffer, before whatever is submitted next.
    ///
    /// # Errors
    /// [`Error::Internal`] if it is larger than the buffer.
    pub fn write(&self, buffer: &Buffer, content: &[u8]) -> Result<()> {
        if content.len() as u64 > buffer.size {
            return Err(Error::internal(format!(
                "{} bytes written to a buffer of {}",
                content.len(),
                buffer.size
            )));
        }
        self.queue.write_buffer(&buffer.inner, 0, content);
        self.faults.check()
    }

    /// Submits a pass.
    ///
    /// # Errors
    /// Whatever the driver has reported until now.
    pub fn submit(&self, pass: &Pass) -> Result<Submission> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        if !pass.dispatches.is_empty() {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for bound in pass.dispatches {
                record(&mut compute, bound);
            }
        }
        copy(&mut encoder, pass.copies);
        let submission = self.queue.submit([encoder.finish()]);
        self.faults.check()?;
        Ok(Submission(submission))
    }

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

    /// Hands over what was written and waits for it. Until then wgpu keeps a copy of it in the memory of the host.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn flush(&self) -> Result<()> {
        self.queue.submit([]);
        self.wait()
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
        let slice = staging.inner.slice(..bytes.next_multiple_of(8).min(staging.size));
        slice.map_async(wgpu::MapMode::Read, move |mapped| {
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
        let view =
            slice.get_mapped_range().map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        let content = view.get(..bytes as usize).map(<[u8]>::to_vec);
        drop(view);
        staging.inner.unmap();
        content
            .ok_or_else(|| Error::internal(format!("{bytes} bytes read from a buffer of {}", staging.size)))
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

fn record(compute: &mut wgpu::ComputePass, bound: &Bound) {
    let [x, y, z] = bound.workgroups;
    compute.set_pipeline(&bound.pipeline);
    compute.set_bind_group(0, &bound.group, &[]);
    compute.dispatch_workgroups(x, y, z);
}

fn copy(encoder: &mut wgpu::CommandEncoder, copies: &[(Buffer, Buffer, u64)]) {
    for (from, to, bytes) in copies {
        encoder.copy_buffer_to_buffer(&from.inner, 0, &to.inner, 0, *bytes);
    }
}
