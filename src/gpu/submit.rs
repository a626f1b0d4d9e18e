//! Binding, submission, and writes to the GPU.

use super::device::{Fault, Gpu};
use super::resource::{BoundDispatch, Buffer, Pipeline, seen};
use crate::error::{Error, Result};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// A submission to the GPU's queue.
#[derive(Debug, Clone)]
// A browser waits for all submitted work, so it does not use the index.
pub struct Submission(
    #[cfg_attr(target_family = "wasm", expect(dead_code))] pub(super) wgpu::SubmissionIndex,
);

/// The commands of one submission.
#[derive(Default)]
pub struct CommandList<'a> {
    /// The kernels in order; each sees the writes of those before it.
    pub dispatches: &'a [BoundDispatch],
    /// How many more times the kernels run.
    pub again: u32,
    /// The dispatches that stamp the results, after the kernels.
    pub stamp: &'a [BoundDispatch],
    /// The copies after the stamp: source, destination, bytes.
    pub copies: &'a [(Buffer, Buffer, u64)],
}

impl Gpu {
    /// Binds buffers to a compiled kernel in the order of its bindings, each with the byte range that it may access.
    ///
    /// # Errors
    /// [`Error::Internal`] if the buffers do not fit the kernel.
    pub fn bind(
        &self,
        label: &str,
        pipeline: &Pipeline,
        buffers: &[(&Buffer, Range<u64>)],
        workgroups: [u32; 3],
    ) -> Result<BoundDispatch> {
        let mut entries = Vec::with_capacity(buffers.len());
        for (i, (buffer, seen)) in buffers.iter().enumerate() {
            // A kernel reads whole `vec4`s, and buffers end with one.
            let end = seen.end.checked_next_multiple_of(16).unwrap_or(u64::MAX).min(buffer.size);
            // Without a size wgpu binds the rest of the buffer, so an empty range is an error.
            let size = end.checked_sub(seen.start).and_then(NonZeroU64::new);
            let size =
                size.filter(|_| seen.start <= seen.end && seen.end <= buffer.size).ok_or_else(|| {
                    Error::internal(format!("bytes {seen:?} of a buffer of {} are bound", buffer.size))
                        .at(label)
                })?;
            entries.push(wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffer.inner,
                    offset: buffer.start + seen.start,
                    size: Some(size),
                }),
            });
        }
        // Buffers that do not fit the kernel concern this call alone.
        #[cfg(not(target_family = "wasm"))]
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        #[cfg(not(target_family = "wasm"))]
        if let Some(fault) = pollster::block_on(validation.pop()) {
            return Err(Error::internal(format!("the buffers do not fit the kernel: {fault}"))
                .at(label)
                .hint("bind one buffer for each storage binding of the shader, in their order"));
        }
        self.faults.check().map_err(|e| e.at(label))?;
        Ok(BoundDispatch { pipeline: pipeline.inner.clone(), group, workgroups })
    }

    /// Creates a staging buffer: results are copied to it, and the host reads it.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn staging(&self, label: &str, bytes: u64) -> Result<Buffer> {
        self.make(label, bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// Writes `content` to the start of a buffer or a part of one. The write precedes the next submission.
    ///
    /// # Errors
    /// [`Error::Internal`] if `content` is larger than the buffer.
    pub fn write(&self, buffer: &Buffer, content: &[u8]) -> Result<()> {
        if content.len() as u64 > buffer.size {
            return Err(Error::internal(format!(
                "{} bytes written to a buffer of {}",
                content.len(),
                buffer.size
            )));
        }
        if self.injected() != Fault::Writes {
            self.queue.write_buffer(&buffer.inner, buffer.start, content);
        }
        self.faults.check()
    }

    /// Submits a command list.
    ///
    /// # Errors
    /// [`Error::Usage`] if it copies to a buffer that is being read; any error that the driver has reported so far.
    pub fn submit(&self, pass: &CommandList) -> Result<Submission> {
        if pass.copies.iter().any(|(_, to, _)| to.read.load(Ordering::Acquire)) {
            return Err(Error::usage("a run was started that would overwrite results that are being read")
                .hint("wait for them before the next but one run is started"));
        }
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        for (from, to, bytes) in pass.copies {
            if *bytes > from.size.min(to.size) || !bytes.is_multiple_of(4) {
                let (from, to) = (from.size, to.size);
                return Err(Error::internal(format!(
                    "{bytes} bytes copied from a buffer of {from} to one of {to}"
                )));
            }
        }
        let lost = |what| self.loses(what, !pass.copies.is_empty());
        if !(pass.dispatches.is_empty() && pass.stamp.is_empty() || lost(Fault::Dispatches)) {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..=pass.again {
                pass.dispatches.iter().for_each(|bound| record(&mut compute, bound));
            }
            pass.stamp.iter().for_each(|bound| record(&mut compute, bound));
        }
        if !lost(Fault::Copies) {
            copy(&mut encoder, pass.copies);
        }
        let submission = self.queue.submit([encoder.finish()]);
        self.faults.check()?;
        Ok(Submission(submission))
    }

    /// Whether the injected fault drops this part of a submission, for tests.
    pub(super) fn loses(&self, what: Fault, is_copied: bool) -> bool {
        let fault = self.injected();
        fault == what || fault == Fault::Submissions || fault == Fault::Updates && !is_copied
    }

    /// Submits the pending writes, so that wgpu keeps no copy of them in host memory.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device was lost.
    pub fn flush(&self) -> Result<()> {
        self.queue.submit([]);
        // A browser submits pending writes without a wait, and must not block.
        #[cfg(not(target_family = "wasm"))]
        self.wait()?;
        self.faults.check()
    }

    /// The first `bytes` bytes of a mapped staging buffer.
    pub(super) fn mapped(staging: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        let view = seen(staging, bytes)
            .get_mapped_range()
            .map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        let content = view.get(..bytes as usize).map(<[u8]>::to_vec);
        content
            .ok_or_else(|| Error::internal(format!("{bytes} bytes read from a buffer of {}", staging.size)))
    }
}

pub(super) fn record(compute: &mut wgpu::ComputePass, bound: &BoundDispatch) {
    let [x, y, z] = bound.workgroups;
    compute.set_pipeline(&bound.pipeline);
    compute.set_bind_group(0, &bound.group, &[]);
    compute.dispatch_workgroups(x, y, z);
}

pub(super) fn copy(encoder: &mut wgpu::CommandEncoder, copies: &[(Buffer, Buffer, u64)]) {
    for (from, to, bytes) in copies {
        encoder.copy_buffer_to_buffer(&from.inner, from.start, &to.inner, to.start, *bytes);
    }
}

#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;
    use crate::gpu::resource::Reading;

    #[test]
    fn results_that_are_being_read_are_an_error_of_the_call_and_no_fault_of_the_device() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let (from, to) = (gpu.buffer("from", 64).unwrap(), gpu.staging("to", 64).unwrap());
        gpu.write(&from, &[7; 64]).unwrap();
        let copies = [(from, to.clone(), 64)];
        let pass = CommandList { copies: &copies, ..CommandList::default() };
        let submitted = gpu.submit(&pass).unwrap();
        for _ in 0..2 {
            let reading = Reading::begin(&to, 64).unwrap();
            assert!(matches!(Reading::begin(&to, 64), Err(Error::Usage(_))));
            assert!(matches!(gpu.submit(&pass), Err(Error::Usage(_))));
            assert!(matches!(gpu.read(&to, 64, &submitted), Err(Error::Usage(_))));
            drop(reading);
            // A read that is dropped before it is complete.
            let mut reading = Reading::begin(&to, 64).unwrap();
            reading.map(64, |_| ());
            drop(reading);
            let again = gpu.submit(&pass).unwrap();
            assert_eq!(gpu.read(&to, 64, &again).unwrap(), [7; 64]);
        }
        gpu.faults.check().unwrap();
    }
}
