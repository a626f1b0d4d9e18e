//! Compilation of kernels: each kernel once, and the kernels of a plan in parallel.

use super::device::Gpu;
use super::kernel::Kernel;
use super::resource::Pipeline;
use crate::error::Result;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::PoisonError;
#[cfg(not(target_family = "wasm"))]
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};
#[cfg(not(target_family = "wasm"))]
use std::time::{Duration, Instant};

/// The most compiler threads: a driver's compiler can take a hundred megabytes, and some compilers serialise beyond a
/// few threads.
#[cfg(not(target_family = "wasm"))]
const MAX_COMPILERS: usize = 16;

/// Pipelines are written to the cache file at once if they took longer to compile. The others are written when the device
/// is closed: the tuner compiles many kernels one after the other, and each write takes time.
#[cfg(not(target_family = "wasm"))]
const WORTH_A_WRITE: Duration = Duration::from_millis(500);

/// A kernel of a plan with what its first dispatch needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedKernel<'a> {
    pub(crate) kernel: &'a Kernel,
    /// The content of its uniform buffer.
    #[cfg_attr(target_family = "wasm", expect(dead_code))]
    pub(crate) params: &'a [u8],
    /// The number of its storage buffers, which follow the uniform buffer.
    #[cfg_attr(target_family = "wasm", expect(dead_code))]
    pub(crate) buffers: usize,
}

impl Gpu {
    /// Compiles the kernels of a plan before they are needed.
    ///
    /// # Errors
    /// As [`Gpu::compile`].
    pub(crate) async fn compile_planned(
        &self,
        kernels: impl Iterator<Item = PlannedKernel<'_>>,
    ) -> Result<()> {
        let mut seen = HashSet::new();
        let unknown: Vec<PlannedKernel> = kernels
            .filter(|planned| seen.insert(planned.kernel) && self.known(planned.kernel).is_none())
            .collect();
        self.compile(unknown.iter().map(|planned| planned.kernel)).await?;
        #[cfg(not(target_family = "wasm"))]
        self.dispatch_first(&unknown);
        Ok(())
    }

    /// Compiles a kernel, or returns the cached pipeline. Several threads may call it at the same time. The driver checks
    /// the kernel's indices: nobody knows which buffers the caller will bind.
    ///
    /// # Errors
    /// [`crate::error::Error::Internal`] if the shader does not compile on this adapter,
    /// [`crate::error::Error::NoAdapter`] as in [`Gpu::check_half`].
    pub fn pipeline(&self, kernel: &Kernel) -> Result<Pipeline> {
        self.planned_pipeline(&Kernel { trusted: false, ..kernel.clone() })
    }

    /// Like [`Gpu::pipeline`], for a dispatch of a plan. The kernels of this library run without checks.
    pub(crate) fn planned_pipeline(&self, kernel: &Kernel) -> Result<Pipeline> {
        if let Some(pipeline) = self.known(kernel) {
            return Ok(pipeline);
        }
        // The cache is not locked during compilation. If two threads compile the same kernel, the first pipeline is
        // kept.
        let pipeline = self.build(kernel)?;
        self.faults.check()?;
        let mut known = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(kernel.clone()).or_insert(pipeline).clone())
    }

    fn known(&self, kernel: &Kernel) -> Option<Pipeline> {
        self.pipelines.lock().unwrap_or_else(PoisonError::into_inner).get(kernel).cloned()
    }

    fn build(&self, kernel: &Kernel) -> Result<Pipeline> {
        if kernel.is_half() {
            self.check_half()?;
        }
        // A compile error concerns this kernel alone; another kernel may compute the same. A browser reports the error
        // later, when this call has returned; there it becomes a fault of the device, which the next read-back reports.
        #[cfg(not(target_family = "wasm"))]
        let [internal, validation] = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| self.device.push_error_scope(filter));
        let text = match self.miscompiler.get() {
            Some(change) => change(kernel, kernel.source()),
            None => kernel.source(),
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
        };
        let checked = self.checked || !kernel.trusted;
        let module = if checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: only kernels of this library get here, recorded by its own operations (`Recorder::record`). They
            // derive every index from the shapes of the views that they bind. The graph has checked that these shapes fit
            // each other, the recorder that the views fit their buffers, and every loop ends. The tests run all kernels
            // with checks on as well.
            #[allow(unsafe_code)]
            unsafe {
                self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            }
        };
        let constants: Vec<(&str, f64)> = kernel.constants.iter().map(|(n, v)| (*n, f64::from(*v))).collect();
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: checked,
            },
            #[cfg(not(target_family = "wasm"))]
            cache: self.cache.as_ref().map(super::pipeline_cache::PipelineCache::used),
            #[cfg(target_family = "wasm")]
            cache: None,
        });
        let pipeline = Pipeline { layout: pipeline.get_bind_group_layout(0), inner: pipeline };
        #[cfg(not(target_family = "wasm"))]
        if let Some(fault) =
            [validation, internal].map(|scope| pollster::block_on(scope.pop())).into_iter().flatten().next()
        {
            return Err(crate::error::Error::internal(format!("the kernel does not compile: {fault}"))
                .at(format!("{} {}", kernel.name, kernel.entry)));
        }
        Ok(pipeline)
    }

    /// Compiles kernels in parallel on the processor's cores before they are needed: the drivers' compilers take most
    /// of the time before the first step. `web.rs` has the version for browsers.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`], for the first kernel that fails.
    #[cfg(not(target_family = "wasm"))]
    pub async fn compile<'a>(&self, kernels: impl Iterator<Item = &'a Kernel>) -> Result<()> {
        let start = Instant::now();
        let mut seen = HashSet::new();
        let unknown: Vec<&Kernel> =
            kernels.filter(|kernel| seen.insert(*kernel) && self.known(kernel).is_none()).collect();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let fault = Mutex::new(None);
        let compile = || {
            while let Some((i, kernel)) = take(&next, &unknown) {
                if let Err(error) = self.planned_pipeline(kernel) {
                    let mut first = fault.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|(known, _)| i < *known) {
                        *first = Some((i, error));
                    }
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..cores.min(unknown.len()).min(MAX_COMPILERS) {
                // If the system refuses a thread, fewer threads compile.
                if std::thread::Builder::new()
                    .name("compiler".to_owned())
                    .spawn_scoped(scope, compile)
                    .is_err()
                {
                    break;
                }
            }
            compile();
        });
        if let Some(cache) = self.cache.as_ref().filter(|_| start.elapsed() >= WORTH_A_WRITE) {
            cache.save();
        }
        match fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// The next kernel that no thread has taken, with its index.
#[cfg(not(target_family = "wasm"))]
pub(super) fn take<T: Copy>(next: &AtomicUsize, kernels: &[T]) -> Option<(usize, T)> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    kernels.get(i).map(|kernel| (i, *kernel))
}
