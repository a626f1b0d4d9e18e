//! Opening a device.

use super::adapter::{self, AdapterInfo, AdapterKind};
use super::device::Gpu;
#[cfg(not(target_family = "wasm"))]
use super::pipeline_cache::{PipelineCache, PipelineCacheOptions};
use crate::error::{Choice, Error, Result};
#[cfg(not(target_family = "wasm"))]
use std::sync::atomic::Ordering;

/// Options for opening a device.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// The index of the adapter or a part of its name; `None` selects the best adapter.
    pub adapter: Option<String>,
    /// Keep the driver's bounds checks in all kernels. They make kernels slower; the tests run with and without them.
    pub checked: bool,
    /// Which limits to request.
    pub limits: LimitChoice,
    /// Where compiled pipelines are kept between runs of the program; nowhere by default.
    #[cfg(not(target_family = "wasm"))]
    pub pipeline_cache: Option<PipelineCacheOptions>,
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
        let gpu = request(info, &adapter, options).await?;
        #[cfg(not(target_family = "wasm"))]
        let gpu = gpu.opened_from(adapter, options);
        Ok(gpu)
    }

    #[cfg(not(target_family = "wasm"))]
    fn opened_from(mut self, adapter: wgpu::Adapter, options: &GpuOptions) -> Self {
        self.cache = PipelineCache::open(&self.device, self.info(), options.pipeline_cache.as_ref());
        self.origin = Some((adapter, options.clone()));
        self
    }

    /// Another device of the same adapter, without a pipeline cache; `None` if the program has opened the device itself.
    #[cfg(not(target_family = "wasm"))]
    pub(super) fn another(&self) -> Option<Result<Self>> {
        let (adapter, options) = self.origin.as_ref()?;
        let options = GpuOptions { pipeline_cache: None, ..options.clone() };
        Some(pollster::block_on(request(self.info().clone(), adapter, &options)))
    }

    /// The memory of the adapter in bytes: its largest heap, which other programs use too. For a software adapter and a GPU on the
    /// processor's chip it is a part of the system's memory. `None` where the interface does not tell (all but Vulkan), and for a device
    /// that the program has opened itself.
    #[cfg(not(target_family = "wasm"))]
    pub fn memory(&self) -> Option<u64> {
        let (adapter, _) = self.origin.as_ref()?;
        super::heap::largest(adapter)
    }

    /// Whether the device is lost and [`Gpu::replacement`] can open another one. It cannot for a device that the program has opened
    /// itself, and does not where the driver has lost work without an error: what such a driver computes is not to be trusted.
    #[cfg(not(target_family = "wasm"))]
    pub fn is_replaceable(&self) -> bool {
        // A loss shows when the device is asked.
        if !self.is_lost() {
            let _ = self.wait();
        }
        self.origin.is_some() && self.is_lost() && !self.faults.silent.load(Ordering::Relaxed)
    }

    /// Opens another device of the same adapter, as this one was opened, with the same kernels excluded. Its memory is empty.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if the adapter is not there any more, or its driver is another one; [`Error::Gpu`] if it cannot be opened.
    #[cfg(not(target_family = "wasm"))]
    pub fn replacement(&self) -> Result<Self> {
        let Some((_, options)) = &self.origin else {
            return Err(Error::usage("the program has opened this device itself").hint("open another one"));
        };
        let gpu = Self::open(options)?;
        if gpu.who() != self.who() {
            return Err(Error::no_adapter(format!(
                "{} is not there any more, only {}",
                self.who(),
                gpu.who()
            ))
            .hint("run again when it is back: another adapter or driver computes other bits"));
        }
        gpu.exclude((*self.excluded()).clone());
        Ok(gpu)
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
}

/// Opens an adapter.
async fn request(info: AdapterInfo, adapter: &wgpu::Adapter, options: &GpuOptions) -> Result<Gpu> {
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
    // Vulkan has it, on every adapter.
    #[cfg(not(target_family = "wasm"))]
    if options.pipeline_cache.is_some() {
        features |= adapter.features() & wgpu::Features::PIPELINE_CACHE;
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
    Ok(Gpu::of(info, device, queue, options.checked))
}
