//! The only code that knows wgpu: adapters, the device, kernels, buffers, read-back, timing.
//!
//! Nothing here knows what is computed. A [`Kernel`] is WGSL text with constants, a [`Gpu`] turns it
//! into a pipeline and runs [`CommandList`]s of bound kernels.

mod adapter;
mod compile;
mod device;
mod kernel;
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
pub use device::{Fault, Gpu, GpuOptions, LimitChoice, Limits};
pub use kernel::{Field, Kernel, KernelParams, MAX_WORKGROUPS};
pub use resource::{BINDING_ALIGNMENT, BoundDispatch, Buffer, Pipeline};
pub use submit::{CommandList, Submission};

/// The version of wgpu that [`Gpu::from_wgpu`] takes a device of.
pub use wgpu;

pub use stamp::{Expected, STAMP_BYTES, Stamp};
