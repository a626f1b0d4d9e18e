//! Buffers, pipelines and bound kernels: what lies on the GPU.

use crate::error::{Error, Result};
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
    pub(super) read: Arc<AtomicBool>,
}

impl Buffer {
    pub(super) fn new(inner: wgpu::Buffer, size: u64) -> Self {
        Self { inner, start: 0, size, read: Arc::default() }
    }

    /// Bytes, rounded up to a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The buffer of wgpu in which it lies, and its bytes there: for copies by commands of one's own.
    pub fn as_wgpu(&self) -> (&wgpu::Buffer, Range<u64>) {
        (&self.inner, self.start..self.start + self.size)
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
                .hint("wait for that before they are read again"));
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
pub struct BoundDispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group: wgpu::BindGroup,
    pub(super) workgroups: [u32; 3],
}

/// What is mapped to read so many bytes of a buffer.
pub(super) fn seen(staging: &Buffer, bytes: u64) -> wgpu::BufferSlice<'_> {
    staging.inner.slice(..bytes.max(8).next_multiple_of(8).min(staging.size))
}
