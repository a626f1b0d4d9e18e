//! Buffers, bound kernels, and running them; writing to the GPU.

use super::device::{Fault, Gpu};
use crate::error::{Error, Result};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the first byte of a binding must be a multiple of: what WebGPU asks for everywhere.
pub const BINDING_ALIGNMENT: u64 = 256;

/// Memory on the GPU: a buffer or a part of one.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub(super) inner: wgpu::Buffer,
    /// Its first byte in that buffer.
    pub(super) start: u64,
    pub(super) size: u64,
    /// Whether the host is reading it: then the GPU must not write to it, and nobody else can read it.
    read: Arc<AtomicBool>,
}

impl Buffer {
    pub(super) fn new(inner: wgpu::Buffer, size: u64) -> Self {
        Self { inner, start: 0, size, read: Arc::default() }
    }

    /// Bytes, rounded up to a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Some of its bytes, from a multiple of [`BINDING_ALIGNMENT`] on.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has not so many, or they begin elsewhere.
    pub fn part(&self, bytes: Range<u64>) -> Result<Self> {
        let aligned = bytes.start.is_multiple_of(BINDING_ALIGNMENT);
        if bytes.end > self.size || bytes.start > bytes.end || !aligned {
            return Err(Error::internal(format!("bytes {bytes:?} of a buffer of {}", self.size)));
        }
        let (start, size) = (self.start + bytes.start, bytes.end - bytes.start);
        Ok(Self { start, size, ..self.clone() })
    }

    /// The same from a byte on, for copies, which may begin at every fourth.
    pub(super) fn after(&self, byte: u64) -> Self {
        let byte = byte.min(self.size);
        Self { start: self.start + byte, size: self.size - byte, ..self.clone() }
    }

    /// Gives its memory back now, when what uses it is done.
    pub(super) fn destroy(&self) {
        self.inner.destroy();
    }
}

/// A buffer that the host reads, until this is dropped.
pub(super) struct Reading<'a> {
    buffer: &'a Buffer,
    mapping: bool,
}

impl<'a> Reading<'a> {
    /// wgpu takes a second read, or a command that writes to the buffer, for a fault of the whole device.
    pub(super) fn begin(buffer: &'a Buffer, bytes: u64) -> Result<Self> {
        if bytes > buffer.size {
            return Err(Error::internal(format!("{bytes} bytes read from a buffer of {}", buffer.size)));
        }
        if buffer.read.swap(true, Ordering::Acquire) {
            return Err(Error::usage("these results are being read already")
                .cure("wait for that before they are read again"));
        }
        Ok(Self { buffer, mapping: false })
    }

    /// Begins to map its first `bytes` bytes.
    pub(super) fn map(
        &mut self,
        bytes: u64,
        done: impl FnOnce(std::result::Result<(), wgpu::BufferAsyncError>) + wgpu::WasmNotSend + 'static,
    ) {
        self.mapping = true;
        seen(self.buffer, bytes).map_async(wgpu::MapMode::Read, done);
    }

    /// That mapping has failed.
    pub(super) fn failed(&mut self) {
        self.mapping = false;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // Also what is still being mapped, if nobody waits for it any more.
        if self.mapping {
            self.buffer.inner.unmap();
        }
        self.buffer.read.store(false, Ordering::Release);
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
// A browser reads after everything that was submitted.
pub struct Submission(
    #[cfg_attr(target_family = "wasm", expect(dead_code))] pub(super) wgpu::SubmissionIndex,
);

/// What one submission does.
#[derive(Default)]
pub struct Pass<'a> {
    /// Kernels in order; each sees what the ones before it wrote.
    pub dispatches: &'a [Bound],
    /// How often they run again.
    pub again: u32,
    /// What stamps the results, after the kernels.
    pub stamp: &'a [Bound],
    /// Copies after that: from, to, bytes.
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
                    offset: buffer.start + seen.start,
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

    /// Writes `content` to the start of a buffer or a part of one, before whatever is submitted next.
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
        if self.injected() != Fault::Writes {
            self.queue.write_buffer(&buffer.inner, buffer.start, content);
        }
        self.faults.check()
    }

    /// Submits a pass.
    ///
    /// # Errors
    /// [`Error::Usage`] if it copies to a buffer that is being read; whatever the driver has reported until now.
    pub fn submit(&self, pass: &Pass) -> Result<Submission> {
        if pass.copies.iter().any(|(_, to, _)| to.read.load(Ordering::Acquire)) {
            return Err(Error::usage("a run was started that would overwrite results that are being read")
                .cure("wait for them before the next but one run is started"));
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

    /// For tests: whether kernels, or copies, of a submission get lost.
    pub(super) fn loses(&self, what: Fault, is_copied: bool) -> bool {
        let fault = self.injected();
        fault == what || fault == Fault::Submissions || fault == Fault::Updates && !is_copied
    }

    /// Hands over what was written, so that wgpu keeps no copy of it in the memory of the host.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device was lost on the way.
    pub fn flush(&self) -> Result<()> {
        self.queue.submit([]);
        // A browser does it by itself, and there nothing can be waited for.
        #[cfg(not(target_family = "wasm"))]
        self.wait()?;
        self.faults.check()
    }

    /// The first `bytes` bytes of a staging buffer that is mapped.
    pub(super) fn mapped(staging: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        let view = seen(staging, bytes)
            .get_mapped_range()
            .map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        let content = view.get(..bytes as usize).map(<[u8]>::to_vec);
        content
            .ok_or_else(|| Error::internal(format!("{bytes} bytes read from a buffer of {}", staging.size)))
    }
}

/// What is mapped to read so many bytes of a buffer.
fn seen(staging: &Buffer, bytes: u64) -> wgpu::BufferSlice<'_> {
    staging.inner.slice(..bytes.max(8).next_multiple_of(8).min(staging.size))
}

pub(super) fn record(compute: &mut wgpu::ComputePass, bound: &Bound) {
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

    #[test]
    fn results_that_are_being_read_are_an_error_of_the_call_and_no_fault_of_the_device() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let (from, to) = (gpu.buffer("from", 64).unwrap(), gpu.staging("to", 64).unwrap());
        gpu.write(&from, &[7; 64]).unwrap();
        let copies = [(from, to.clone(), 64)];
        let pass = Pass { copies: &copies, ..Pass::default() };
        let submitted = gpu.submit(&pass).unwrap();
        for _ in 0..2 {
            let reading = Reading::begin(&to, 64).unwrap();
            assert!(matches!(Reading::begin(&to, 64), Err(Error::Usage(_))));
            assert!(matches!(gpu.submit(&pass), Err(Error::Usage(_))));
            assert!(matches!(gpu.read(&to, 64, &submitted), Err(Error::Usage(_))));
            drop(reading);
            // A read that nobody waits for any more.
            let mut reading = Reading::begin(&to, 64).unwrap();
            reading.map(64, |_| ());
            drop(reading);
            let again = gpu.submit(&pass).unwrap();
            assert_eq!(gpu.read(&to, 64, &again).unwrap(), [7; 64]);
        }
        gpu.faults.check().unwrap();
    }
}
