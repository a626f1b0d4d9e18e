//! The open device: its limits, its faults, and the creation of buffers.

use super::adapter::AdapterInfo;
use super::excluded::Excluded;
use super::kernel::Kernel;
#[cfg(not(target_family = "wasm"))]
use super::open::GpuOptions;
#[cfg(not(target_family = "wasm"))]
use super::pipeline_cache::PipelineCache;
use super::resource::{Buffer, Pipeline};
use crate::error::{Choice, Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Work that is dropped on purpose, for tests: drivers are known that drop such work without an error.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is dropped.
    #[default]
    None,
    /// Dispatches are dropped.
    Dispatches,
    /// Copies are dropped.
    Copies,
    /// Dispatches and copies are dropped.
    Submissions,
    /// Writes of the host are dropped.
    Writes,
    /// Submissions without copies are dropped, for example the update after accumulated gradients.
    Updates,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::None, Self::Dispatches, Self::Copies, Self::Submissions, Self::Writes, Self::Updates];
}

/// The limits of a device that a plan depends on. A plan can be made from them without a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest binding of a kernel, in bytes.
    pub binding_bytes: u64,
    /// The largest buffer, in bytes.
    pub buffer_bytes: u64,
}

impl Limits {
    /// The limits that WebGPU guarantees: 128 MiB a binding, 256 MiB a buffer.
    pub const WEBGPU: Self = Self { binding_bytes: 128 << 20, buffer_bytes: 256 << 20 };

    /// The most bytes that a kernel can access through one binding.
    pub fn bindable_bytes(&self) -> u64 {
        self.binding_bytes.min(self.buffer_bytes)
    }
}

/// The first error that was reported outside the call that caused it. wgpu reports validation errors, lack of memory
/// and device loss only through callbacks.
#[derive(Default)]
pub(super) struct Faults {
    first: Mutex<Option<Error>>,
    lost: AtomicBool,
    /// Whether the driver has lost work without an error.
    pub(super) silent: AtomicBool,
    /// The index of the injected fault in [`Fault::ALL`], for tests.
    injected: AtomicU8,
}

impl Faults {
    fn put(&self, error: Error) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(super) fn check(&self) -> Result<()> {
        match &*self.first.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

/// An open GPU device with its queue and its compiled pipelines.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) faults: Arc<Faults>,
    pub(super) checked: bool,
    pub(super) pipelines: Mutex<HashMap<Kernel, Pipeline>>,
    #[cfg(not(target_family = "wasm"))]
    pub(super) cache: Option<PipelineCache>,
    /// The adapter and how it was opened; `None` for a device that the program has opened itself.
    #[cfg(not(target_family = "wasm"))]
    pub(super) origin: Option<(wgpu::Adapter, GpuOptions)>,
    info: AdapterInfo,
    limits: Limits,
    buffers_made: AtomicU64,
    bytes_made: AtomicU64,
    pub(super) downloads: AtomicU32,
    excluded: Mutex<Arc<Excluded>>,
    pub(super) miscompiler: OnceLock<Box<Miscompiler>>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.who()).finish_non_exhaustive()
    }
}

/// Changes the text of a kernel before it is compiled.
pub(super) type Miscompiler = dyn Fn(&Kernel, String) -> String + Send + Sync;

impl Gpu {
    pub(super) fn of(info: AdapterInfo, device: wgpu::Device, queue: wgpu::Queue, checked: bool) -> Self {
        let faults = Arc::new(Faults::default());
        let sink = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| sink.put(reported(&error))));
        let sink = faults.clone();
        // It is called too when a device is dropped. Nobody asks for its faults then.
        device.set_device_lost_callback(move |_, message| {
            sink.lost.store(true, Ordering::Relaxed);
            sink.put(lost(&message));
        });
        let granted = device.limits();
        let limits = Limits {
            binding_bytes: granted.max_storage_buffer_binding_size,
            buffer_bytes: granted.max_buffer_size,
        };
        Self {
            device,
            queue,
            faults,
            checked,
            pipelines: Mutex::default(),
            #[cfg(not(target_family = "wasm"))]
            cache: None,
            #[cfg(not(target_family = "wasm"))]
            origin: None,
            info,
            limits,
            buffers_made: AtomicU64::new(0),
            bytes_made: AtomicU64::new(0),
            downloads: AtomicU32::new(0),
            excluded: Mutex::default(),
            miscompiler: OnceLock::new(),
        }
    }

    /// Reports an error that the program's own handler received for the device of [`Gpu::from_wgpu`]. The next call
    /// returns it.
    pub fn report(&self, error: &wgpu::Error) {
        self.faults.put(reported(error));
    }

    /// The wgpu device, for the program's own commands.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The wgpu queue. Commands submitted to it run in order with the runs of sessions.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// The adapter of this device.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// The limits that a plan must respect.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the device is lost: its memory is gone, and it runs no more work.
    pub fn is_lost(&self) -> bool {
        self.faults.lost.load(Ordering::Relaxed)
    }

    /// Checks that kernels may read and write half-precision numbers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if they may not.
    pub fn check_half(&self) -> Result<()> {
        if self.device.features().contains(wgpu::Features::SHADER_F16) {
            return Ok(());
        }
        Err(no_half(&self.info))
    }

    /// Drops the given kind of work from now on, for tests.
    #[doc(hidden)]
    pub fn inject(&self, fault: Fault) {
        self.faults.injected.store(fault as u8, Ordering::Relaxed);
    }

    /// Changes the text of kernels before they are compiled, for tests: compilers are known that make something wrong of a
    /// kernel. The first call counts.
    #[doc(hidden)]
    pub fn miscompile(&self, change: impl Fn(&Kernel, String) -> String + Send + Sync + 'static) {
        self.miscompiler.get_or_init(|| Box::new(change));
    }

    /// The kernels that plans for this device do not use, because they compute wrongly on the adapter.
    pub fn excluded(&self) -> Arc<Excluded> {
        self.excluded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Excludes kernels from all plans that are made for this device from now on
    /// ([`PlanOptions::for_gpu`](crate::plan::PlanOptions::for_gpu)).
    pub fn exclude(&self, excluded: Excluded) {
        *self.excluded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(excluded);
    }

    /// The injected fault.
    pub(crate) fn injected(&self) -> Fault {
        let place = self.faults.injected.load(Ordering::Relaxed);
        Fault::ALL.get(usize::from(place)).copied().unwrap_or_default()
    }

    /// Marks the device as lost, because its driver has lost work without an error.
    pub(super) fn broken(&self, error: Error) -> Error {
        self.faults.silent.store(true, Ordering::Relaxed);
        self.faults.lost.store(true, Ordering::Relaxed);
        self.refuse(error)
    }

    /// Marks the device as lost.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn gone(&self, message: &str) -> Error {
        self.faults.lost.store(true, Ordering::Relaxed);
        self.refuse(lost(message))
    }

    /// Makes every later call on this device fail with this error, unless an earlier one was reported.
    pub(crate) fn refuse(&self, error: Error) -> Error {
        self.faults.put(error.clone());
        error
    }

    /// The number of buffers created so far, and the sum of their bytes.
    pub fn allocated(&self) -> (u64, u64) {
        (self.buffers_made.load(Ordering::Relaxed), self.bytes_made.load(Ordering::Relaxed))
    }

    /// Creates a zeroed storage buffer.
    ///
    /// # Errors
    /// [`Error::Gpu`] if it exceeds the adapter's limit or the free memory.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        self.make(label, bytes, usage)
    }

    /// Creates the uniform buffer of a kernel's parameters.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn uniform(&self, label: &str, content: &[u8]) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.make(label, content.len() as u64, usage)?;
        self.write(&buffer, content)?;
        Ok(buffer)
    }

    /// Creates a zeroed buffer with these usages. Its size is rounded up to a multiple of 16, as a binding of vectors
    /// needs.
    pub(super) fn make(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer> {
        let size = bytes.max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX);
        if size > self.limits.buffer_bytes {
            return Err(Error::out_of_memory(format!(
                "a buffer of {} MiB is needed, and the adapter allows {} MiB",
                size >> 20,
                self.limits.buffer_bytes >> 20
            ))
            .at(label)
            .hint("try a smaller batch"));
        }
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        self.faults.check().map_err(|e| e.at(format!("making the buffer {label} of {} MiB", size >> 20)))?;
        self.buffers_made.fetch_add(1, Ordering::Relaxed);
        self.bytes_made.fetch_add(size, Ordering::Relaxed);
        Ok(Buffer::new(buffer, size))
    }
}

/// Converts an error that wgpu reported outside a call.
fn reported(error: &wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::out_of_memory("the GPU has no memory left")
            .hint("try a smaller batch, or close other programs"),
        other => Error::internal(format!("the driver refused a command: {other}"))
            .hint("please report this with the output of `ocelli devices`"),
    }
}

/// The error that explains why kernels cannot use half precision on an adapter.
fn no_half(info: &AdapterInfo) -> Error {
    let (what, hint) = if info.f16 {
        (
            "the adapter was opened without half precision (shader-f16)",
            "ask for all of the adapter's limits, or take f32".into(),
        )
    } else {
        let hint = Choice::Adapter.after("take f32, or ");
        ("the adapter has no half precision (shader-f16)", hint)
    };
    Error::no_adapter(what).at(info.name.clone()).hint(hint)
}

pub(super) fn lost(message: &str) -> Error {
    let hint = if cfg!(target_family = "wasm") {
        "its driver was reset or the browser took it away; load the network again"
    } else {
        "its driver was reset or the device was unplugged; run again; a training run can be resumed from its last checkpoint"
    };
    Error::gpu(format!("the GPU was lost: {message}")).hint(hint)
}

#[cfg(test)]
#[cfg(not(target_family = "wasm"))]
mod tests {
    use super::*;
    use crate::gpu::LimitChoice;

    #[test]
    fn who_has_half_precision_is_told_to_open_it_and_who_has_none_to_look_elsewhere() {
        let gpu = Gpu::open(&GpuOptions { limits: LimitChoice::WebGpu, ..GpuOptions::default() }).unwrap();
        assert!(matches!(gpu.check_half(), Err(Error::NoAdapter(_))));
        for (f16, says, leaves) in
            [(true, "all of the adapter's limits", "another"), (false, "another", "limits")]
        {
            let said = no_half(&AdapterInfo { f16, ..gpu.info().clone() }).to_string();
            assert!(said.contains(says) && said.contains("f32") && !said.contains(leaves), "{said}");
        }
    }

    #[test]
    fn what_is_injected_is_what_gets_lost() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        assert_eq!(gpu.injected(), Fault::None);
        for fault in Fault::ALL {
            gpu.inject(fault);
            assert_eq!(gpu.injected(), fault);
        }
    }
}
