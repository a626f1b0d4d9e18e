//! GPU resources: buffers, pipelines and bound kernels.

use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The required alignment of a binding's offset in bytes: the value that WebGPU accepts on every adapter.
pub const BINDING_ALIGNMENT: u64 = 256;

/// GPU memory: a buffer or a part of one.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub(super) inner: wgpu::Buffer,
    /// The offset of the first byte in `inner`.
    pub(super) start: u64,
    pub(super) size: u64,
    /// Whether the host is reading the buffer. The GPU must not write to it meanwhile, and no other call can read it.
    pub(super) read: Arc<AtomicBool>,
}

impl Buffer {
    pub(super) fn new(inner: wgpu::Buffer, size: u64) -> Self {
        Self { inner, start: 0, size, read: Arc::default() }
    }

    /// The size in bytes, rounded up to a multiple of 16.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The wgpu buffer that contains this memory, and the byte range in it, for copies by the program's own commands.
    pub fn as_wgpu(&self) -> (&wgpu::Buffer, Range<u64>) {
        (&self.inner, self.start..self.start + self.size)
    }

    /// A part of the buffer. It starts at a multiple of [`BINDING_ALIGNMENT`].
    ///
    /// # Errors
    /// [`Error::Internal`] if the range exceeds the buffer or is not aligned.
    pub fn part(&self, bytes: Range<u64>) -> Result<Self> {
        let aligned = bytes.start.is_multiple_of(BINDING_ALIGNMENT);
        if bytes.end > self.size || bytes.start > bytes.end || !aligned {
            return Err(Error::internal(format!("bytes {bytes:?} of a buffer of {}", self.size)));
        }
        let (start, size) = (self.start + bytes.start, bytes.end - bytes.start);
        Ok(Self { start, size, ..self.clone() })
    }

    /// The rest of the buffer from a byte on. Copies use it; their offsets are multiples of four.
    pub(super) fn after(&self, byte: u64) -> Self {
        let byte = byte.min(self.size);
        Self { start: self.start + byte, size: self.size - byte, ..self.clone() }
    }

    /// Frees the memory as soon as the submissions that use it are done.
    pub(super) fn destroy(&self) {
        self.inner.destroy();
    }
}

/// A read of a staging buffer by the host. It ends when the value is dropped.
pub(super) struct Reading<'a> {
    buffer: &'a Buffer,
    mapping: bool,
}

impl<'a> Reading<'a> {
    /// Marks the buffer as being read. wgpu treats a second read, or a command that writes to the buffer, as an error
    /// of the whole device.
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

    /// Starts to map the first `bytes` bytes.
    pub(super) fn map(
        &mut self,
        bytes: u64,
        done: impl FnOnce(std::result::Result<(), wgpu::BufferAsyncError>) + wgpu::WasmNotSend + 'static,
    ) {
        self.mapping = true;
        seen(self.buffer, bytes).map_async(wgpu::MapMode::Read, done);
    }

    /// Records that the mapping has failed.
    pub(super) fn failed(&mut self) {
        self.mapping = false;
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // It may also be a mapping in progress whose caller no longer waits.
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

/// A kernel with its bind group and its grid: one dispatch, ready to be replayed.
#[derive(Debug, Clone)]
pub struct BoundDispatch {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) group: wgpu::BindGroup,
    pub(super) workgroups: [u32; 3],
}

/// The slice of a staging buffer that is mapped to read `bytes` bytes.
pub(super) fn seen(staging: &Buffer, bytes: u64) -> wgpu::BufferSlice<'_> {
    staging.inner.slice(..bytes.max(8).next_multiple_of(8).min(staging.size))
}
