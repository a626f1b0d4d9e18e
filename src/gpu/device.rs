//! The open device: its limits, its faults, and how its buffers are made.

use super::adapter::{self, AdapterInfo, AdapterKind};
use super::kernel::Kernel;
use super::resource::{Buffer, Pipeline};
use crate::error::{Choice, Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// The adapter's index or a part of its name; the best adapter if absent.
    pub adapter: Option<String>,
    /// Let the driver check every index of every kernel. Slower; the tests run both ways.
    pub checked: bool,
    /// Which of the adapter's limits to ask for.
    pub limits: LimitChoice,
}

/// For tests: what drivers are known to lose without an error.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Kernels do nothing.
    Dispatches,
    /// Copies do nothing.
    Copies,
    /// Kernels and copies do nothing.
    Submissions,
    /// What the host writes does not arrive.
    Writes,
    /// Submissions of which nothing is copied do nothing, such as the update behind summed gradients.
    Updates,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::None, Self::Dispatches, Self::Copies, Self::Submissions, Self::Writes, Self::Updates];
}

/// Which limits a device gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitChoice {
    /// All that the adapter has.
    #[default]
    Adapter,
    /// Those that WebGPU grants everywhere, to see whether a network runs under them.
    WebGpu,
}

/// What a plan must know of the device, so that a plan can be made without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that one binding of a kernel may span.
    pub binding_bytes: u64,
    /// The most bytes that one buffer may hold.
    pub buffer_bytes: u64,
}

impl Limits {
    /// What WebGPU grants everywhere: 128 MiB a binding, 256 MiB a buffer.
    pub const WEBGPU: Self = Self { binding_bytes: 128 << 20, buffer_bytes: 256 << 20 };

    /// The most bytes that a kernel can see as one buffer.
    pub fn bindable_bytes(&self) -> u64 {
        self.binding_bytes.min(self.buffer_bytes)
    }
}

/// The first thing that went wrong outside the call that caused it. wgpu reports validation errors,
/// lack of memory and the loss of the device through callbacks only.
#[derive(Default)]
pub(super) struct Faults {
    first: Mutex<Option<Error>>,
    lost: AtomicBool,
    /// For tests: a place of [`Fault::ALL`].
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

/// An open GPU.
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
    /// Opens the adapter that the options name, with all its limits.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none that fits, [`Error::Gpu`] if it cannot be opened.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(options: &GpuOptions) -> Result<Self> {
        pollster::block_on(Self::open_async(options))
    }

    /// Like `Gpu::open`, for callers that must not block.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none that fits, [`Error::Gpu`] if it cannot be opened.
    pub async fn open_async(options: &GpuOptions) -> Result<Self> {
        let (info, adapter) = adapter::choose(options.adapter.as_deref()).await?;
        let mut features = wgpu::Features::empty();
        if info.timestamps {
            features |= wgpu::Features::TIMESTAMP_QUERY;
        }
        // Elsewhere the sizes of subgroups may vary, and no kernel uses them.
        if info.kind == AdapterKind::Cpu && info.subgroup_sizes.is_some() {
            features |= wgpu::Features::SUBGROUP;
        }
        // WebGPU does not grant it everywhere.
        if info.f16 && options.limits == LimitChoice::Adapter {
            features |= wgpu::Features::SHADER_F16;
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("ocelli"),
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
        let faults = Arc::new(Faults::default());
        let sink = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            sink.put(match error {
                wgpu::Error::OutOfMemory { .. } => Error::out_of_memory("the GPU has no memory left")
                    .hint("try a smaller batch, or close other programs"),
                other => Error::internal(format!("the driver refused a command: {other}"))
                    .hint("please report this with the output of `ocelli devices`"),
            });
        }));
        let sink = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Here it is destroyed when it is no longer used; a browser destroys it when it wants it back.
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
        Ok(Self {
            device,
            queue,
            faults,
            checked: options.checked,
            pipelines: Mutex::default(),
            info,
            limits,
            buffers_made: AtomicU64::new(0),
            bytes_made: AtomicU64::new(0),
            downloads: AtomicU32::new(0),
        })
    }

    /// The adapter behind this device.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// The limits that a plan must respect.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the device was taken away: what is on it is gone, and nothing runs any more.
    pub fn is_lost(&self) -> bool {
        self.faults.lost.load(Ordering::Relaxed)
    }

    /// Whether kernels may read and write half-precision numbers.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if they may not.
    pub fn check_half(&self) -> Result<()> {
        if self.device.features().contains(wgpu::Features::SHADER_F16) {
            return Ok(());
        }
        Err(no_half(&self.info))
    }

    /// For tests: loses so much of what is submitted from now on.
    #[doc(hidden)]
    pub fn inject(&self, fault: Fault) {
        self.faults.injected.store(fault as u8, Ordering::Relaxed);
    }

    /// What gets lost.
    pub(crate) fn injected(&self) -> Fault {
        let place = self.faults.injected.load(Ordering::Relaxed);
        Fault::ALL.get(usize::from(place)).copied().unwrap_or_default()
    }

    /// Takes the device for lost, for this reason.
    pub(super) fn broken(&self, error: Error) -> Error {
        self.faults.lost.store(true, Ordering::Relaxed);
        self.refuse(error)
    }

    /// Answers everything that is asked of the device from now on with this error.
    pub(crate) fn refuse(&self, error: Error) -> Error {
        self.faults.put(error.clone());
        error
    }

    /// How many buffers were made so far, and their bytes together.
    pub fn allocated(&self) -> (u64, u64) {
        (self.buffers_made.load(Ordering::Relaxed), self.bytes_made.load(Ordering::Relaxed))
    }

    /// Makes a buffer for kernels, zeroed.
    ///
    /// # Errors
    /// [`Error::Gpu`] if it is larger than the adapter allows or does not fit.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        self.make(label, bytes, usage)
    }

    /// Makes the buffer of a kernel's parameters.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn uniform(&self, label: &str, content: &[u8]) -> Result<Buffer> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.make(label, content.len() as u64, usage)?;
        self.write(&buffer, content)?;
        Ok(buffer)
    }

    /// Makes a buffer for these uses, zeroed. Its size is rounded up to a multiple of 16, which is what a binding of a vector needs.
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

/// Why kernels may not use half precision on an adapter.
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
