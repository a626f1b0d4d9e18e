//! The open device: its limits, its faults, and the creation of buffers.

use super::adapter::{self, AdapterInfo, AdapterKind};
use super::kernel::Kernel;
use super::resource::{Buffer, Pipeline};
use crate::error::{Choice, Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Options for opening a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// The index of the adapter or a part of its name; `None` selects the best adapter.
    pub adapter: Option<String>,
    /// Keep the driver's bounds checks in all kernels. They make kernels slower; the tests run with and without them.
    pub checked: bool,
    /// Which limits to request.
    pub limits: LimitChoice,
}

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

/// The limits that a device is opened with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitChoice {
    /// All limits of the adapter.
    #[default]
    Adapter,
    /// The limits that WebGPU guarantees on every adapter, to test whether a network runs within them.
    WebGpu,
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
    info: AdapterInfo,
    limits: Limits,
    buffers_made: AtomicU64,
    bytes_made: AtomicU64,
    pub(super) downloads: AtomicU32,
}

impl Gpu {
    /// Opens the adapter that the options name.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if no adapter matches, [`Error::Gpu`] if it cannot be opened.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::open_async(options))
    }

    /// Like `Gpu::open`, for callers that must not block.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if no adapter matches, [`Error::Gpu`] if it cannot be opened.
    pub async fn open_async(options: &GpuOptions) -> Result<Self> {
        let (info, adapter) = adapter::choose(options.adapter.as_deref()).await?;
        let mut features = wgpu::Features::empty();
        if info.timestamps {
            features |= wgpu::Features::TIMESTAMP_QUERY;
        }
        // On other kinds of adapters the subgroup size may vary, and no kernel uses subgroups.
        if info.kind == AdapterKind::Cpu && info.subgroup_sizes.is_some() {
            features |= wgpu::Features::SUBGROUP;
        }
        // WebGPU does not guarantee half precision.
        if info.f16 && options.limits == LimitChoice::Adapter {
            features |= wgpu::Features::SHADER_F16;
        }
        let mut experimental = wgpu::ExperimentalFeatures::disabled();
        if info.cooperative.is_some() && options.limits == LimitChoice::Adapter {
            features |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            // SAFETY: the only experimental feature is that of one kernel. Its tiles lie within its own arrays of workgroup
            // memory, and it is used only where a measurement has found its results right.
            #[allow(unsafe_code)]
            unsafe {
                experimental = wgpu::ExperimentalFeatures::enabled();
            }
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ocelli"),
            experimental_features: experimental,
            required_features: features,
            required_limits: match options.limits {
                LimitChoice::Adapter => adapter.limits(),
                LimitChoice::WebGpu => wgpu::Limits::default(),
            },
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) = opened.map_err(|e| {
            Error::gpu(format!("the adapter cannot be opened: {e}"))
                .at(info.name.clone())
                .hint(Choice::Adapter.after("update its driver, or "))
        })?;
        Ok(Self::of(info, device, queue, options.checked))
    }

    /// Uses a device that the program has opened itself, for example that of a game or a renderer, so that both share
    /// its memory ([`crate::plan::Session::buffer`]). The program must use the same version of wgpu:
    /// [`crate::gpu::wgpu`].
    ///
    /// Ocelli replaces the device's handlers for errors and for device loss, and returns what they report as an
    /// [`Error`] of its next call. A program that needs its own handlers sets them afterwards and passes errors on with
    /// [`Gpu::report`].
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if the device was opened with lower limits than WebGPU's defaults
    /// ([`wgpu::Limits::default`]).
    pub fn from_wgpu(adapter: &wgpu::Adapter, device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let mut info = adapter::describe(0, adapter, false);
        let (granted, features) = (device.limits(), device.features());
        let wanted = wgpu::Limits::default();
        for (name, has, wants) in [
            (
                "storage buffers",
                granted.max_storage_buffers_per_shader_stage,
                wanted.max_storage_buffers_per_shader_stage,
            ),
            (
                "bytes of workgroup memory",
                granted.max_compute_workgroup_storage_size,
                wanted.max_compute_workgroup_storage_size,
            ),
            (
                "invocations",
                granted.max_compute_invocations_per_workgroup,
                wanted.max_compute_invocations_per_workgroup,
            ),
            ("invocations in x", granted.max_compute_workgroup_size_x, wanted.max_compute_workgroup_size_x),
            (
                "workgroups",
                granted.max_compute_workgroups_per_dimension,
                wanted.max_compute_workgroups_per_dimension,
            ),
        ] {
            if has < wants {
                let what =
                    format!("the device was opened for {has} {name} of a kernel, and {wants} are needed");
                return Err(Error::no_adapter(what)
                    .at(info.name)
                    .hint("open it with wgpu::Limits::default()"));
            }
        }
        // Clear the features that the adapter has but the device was opened without.
        info.timestamps &= features.contains(wgpu::Features::TIMESTAMP_QUERY);
        info.f16 &= features.contains(wgpu::Features::SHADER_F16);
        let matrices = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        info.cooperative = info.cooperative.filter(|_| matrices);
        info.subgroup_sizes = info.subgroup_sizes.filter(|_| features.contains(wgpu::Features::SUBGROUP));
        Ok(Self::of(info, device, queue, false))
    }

    fn of(info: AdapterInfo, device: wgpu::Device, queue: wgpu::Queue, checked: bool) -> Self {
        let faults = Arc::new(Faults::default());
        let sink = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| sink.put(reported(&error))));
        let sink = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            // A native device is destroyed when it is dropped, which is no fault. A browser destroys a device to
            // reclaim it.
            if reason != wgpu::DeviceLostReason::Destroyed || cfg!(target_family = "wasm") {
                sink.lost.store(true, Ordering::Relaxed);
                sink.put(lost(&message));
            }
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
            info,
            limits,
            buffers_made: AtomicU64::new(0),
            bytes_made: AtomicU64::new(0),
            downloads: AtomicU32::new(0),
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

    /// The injected fault.
    pub(crate) fn injected(&self) -> Fault {
        let place = self.faults.injected.load(Ordering::Relaxed);
        Fault::ALL.get(usize::from(place)).copied().unwrap_or_default()
    }

    /// Marks the device as lost, for this reason.
    pub(super) fn broken(&self, error: Error) -> Error {
        self.faults.lost.store(true, Ordering::Relaxed);
        self.refuse(error)
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
