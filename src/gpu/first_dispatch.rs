//! Kernels that are compiled when they first run.
//!
//! llvmpipe creates machine code at the first dispatch of a kernel, one kernel after the other on the thread of the
//! device's queue, which takes most of the time before the first step. It keeps the code in Mesa's shader cache on disk,
//! which all devices read. So several devices dispatch the kernels once, without workgroups: the code is created in
//! parallel, and the first step finds it.

use super::compile::{PlannedKernel, take};
use super::device::Gpu;
use super::kernel::Kernel;
use super::resource::Buffer;
use super::submit::CommandList;
use crate::error::Result;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// The most devices.
const MAX_DEVICES: usize = 16;
/// A first dispatch that takes longer has created code. A shorter one has found it in the cache, where that of the other
/// kernels is as well.
const CREATED: Duration = Duration::from_millis(25);
/// The fewest bytes of a uniform buffer: more than the members of any kernel's parameters.
const PARAMS_BYTES: usize = 256;
/// The bytes of a storage buffer: more than the smallest binding of any kernel.
const BOUND_BYTES: u64 = 64 << 10;

impl Gpu {
    /// Dispatches compiled kernels for the first time, where that compiles them. Nothing depends on it: after a failure
    /// the first step takes longer, and reports the same failure.
    pub(super) fn dispatch_first(&self, kernels: &[PlannedKernel]) {
        if !self.info().name.starts_with("llvmpipe") || kernels.is_empty() {
            return;
        }
        // A long text takes long, so it comes first, and the devices finish at about the same time.
        let mut kernels = kernels.to_vec();
        let length = |kernel: &Kernel| kernel.sources.iter().map(|text| text.len()).sum::<usize>();
        kernels.sort_by_key(|planned| std::cmp::Reverse(length(planned.kernel)));
        let next = AtomicUsize::new(0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let (mut here, mut alone) = (Dispatcher::new(self), true);
            while let Some((_, planned)) = take(&next, &kernels) {
                let start = Instant::now();
                let done = here.dispatch(&planned).is_ok();
                if !(alone && done && start.elapsed() >= CREATED) {
                    continue;
                }
                alone = false;
                for _ in 1..cores.min(kernels.len()).min(MAX_DEVICES) {
                    let dispatch = || {
                        let Some(Ok(other)) = self.another() else { return };
                        let mut there = Dispatcher::new(&other);
                        while let Some((_, planned)) = take(&next, &kernels) {
                            // What fails here fails in the first step too, which reports it.
                            let _ = there.dispatch(&planned);
                        }
                    };
                    let thread = std::thread::Builder::new().name("compiler".to_owned());
                    if thread.spawn_scoped(scope, dispatch).is_err() {
                        break;
                    }
                }
            }
        });
    }
}

#[cfg(test)]
impl Gpu {
    /// Dispatches kernels on this device, whatever adapter it is.
    pub(crate) fn dispatch_without_workgroups(&self, kernels: &[PlannedKernel]) -> Result<()> {
        let mut dispatcher = Dispatcher::new(self);
        kernels.iter().try_for_each(|planned| dispatcher.dispatch(planned))
    }
}

/// A device with storage buffers that any kernel can be bound to.
struct Dispatcher<'a> {
    gpu: &'a Gpu,
    storage: Vec<Buffer>,
}

impl<'a> Dispatcher<'a> {
    fn new(gpu: &'a Gpu) -> Self {
        Self { gpu, storage: Vec::new() }
    }

    /// Dispatches a kernel without workgroups, and waits.
    fn dispatch(&mut self, planned: &PlannedKernel) -> Result<()> {
        let pipeline = self.gpu.planned_pipeline(planned.kernel)?;
        while self.storage.len() < planned.buffers {
            self.storage.push(buffer(self.gpu, wgpu::BufferUsages::STORAGE, BOUND_BYTES));
        }
        // llvmpipe makes constants of some parameters.
        let bytes = planned.params.len().max(PARAMS_BYTES).next_multiple_of(16) as u64;
        let params = buffer(self.gpu, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, bytes);
        self.gpu.write(&params, planned.params)?;
        let storage = self.storage.iter().take(planned.buffers).map(|buffer| (buffer, 0..BOUND_BYTES));
        let buffers: Vec<_> = [(&params, 0..bytes)].into_iter().chain(storage).collect();
        let bound = self.gpu.bind(planned.kernel.name, &pipeline, &buffers, [0; 3])?;
        self.gpu.submit(&CommandList { dispatches: &[bound], ..CommandList::default() })?;
        self.gpu.wait()
    }
}

/// A buffer that does not count as one of the device: nothing is computed with it.
fn buffer(gpu: &Gpu, usage: wgpu::BufferUsages, size: u64) -> Buffer {
    let label = Some("first dispatch");
    let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
    Buffer::new(gpu.device().create_buffer(&descriptor), size)
}
