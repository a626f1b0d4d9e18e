//! The only module that uses wgpu: adapters, the device, kernels, buffers, read-back, timing.
//!
//! It does not know what is computed. A [`Kernel`] is WGSL text with constants. A [`Gpu`] compiles it to a pipeline and
//! runs [`CommandList`]s of bound kernels.

mod adapter;
mod compile;
mod device;
mod excluded;
#[cfg(not(target_family = "wasm"))]
mod first_dispatch;
#[cfg(not(target_family = "wasm"))]
mod heap;
mod kernel;
mod open;
#[cfg(not(target_family = "wasm"))]
mod pipeline_cache;
mod resource;
mod stamp;
mod submit;
mod timing;
#[cfg(not(target_family = "wasm"))]
mod wait;
#[cfg(target_family = "wasm")]
mod web;

#[cfg(not(target_family = "wasm"))]
pub use adapter::adapters;
pub use adapter::{AdapterInfo, AdapterKind};
pub(crate) use compile::PlannedKernel;
pub use device::{Fault, Gpu, Limits};
pub use excluded::Excluded;
pub use kernel::{Field, Kernel, KernelParams, MAX_WORKGROUPS};
pub use open::{GpuOptions, LimitChoice};
#[cfg(not(target_family = "wasm"))]
pub use pipeline_cache::PipelineCacheOptions;
pub use resource::{BINDING_ALIGNMENT, BoundDispatch, Buffer, Pipeline};
pub use submit::{CommandList, Submission};

/// The version of wgpu whose devices [`Gpu::from_wgpu`] accepts.
pub use wgpu;

pub use stamp::{Expected, STAMP_BYTES, Stamp};
