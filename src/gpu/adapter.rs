//! The adapters of this machine, and which of them to use.

use crate::error::{Error, Result};
use serde::Serialize;

/// What kind of hardware an adapter is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A graphics card with memory of its own.
    Discrete,
    /// Graphics on the processor's chip.
    Integrated,
    /// A graphics card lent to a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// No graphics hardware: a driver that computes on the processor.
    Cpu,
}

/// What is known of an adapter without opening it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// Its place in the list, for `--adapter`.
    pub index: usize,
    /// The name that the driver gives it.
    pub name: String,
    /// The kind of hardware.
    pub kind: AdapterKind,
    /// Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Kernels are compiled by FXC, which takes many times as long as DXC: on Direct3D 12 where there is no `dxcompiler.dll` that can be used.
    pub slow_compiler: bool,
    /// There is a `dxcompiler.dll`, but it is too old or no DXC, or the adapter lacks Shader Model 6.0; so FXC compiles.
    pub dxc_refused: bool,
    /// Half-precision arithmetic in shaders.
    pub f16: bool,
    /// The least and the most lanes of a subgroup, if kernels can work across them.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// Kernels can be timed on the adapter.
    pub timestamps: bool,
    /// The most bytes that one binding of a kernel may span.
    pub max_binding_bytes: u64,
    /// The most bytes that one buffer may hold.
    pub max_buffer_bytes: u64,
    /// The most bytes of memory shared by a workgroup.
    pub max_workgroup_bytes: u32,
    /// The most invocations of a workgroup.
    pub max_workgroup_size: u32,
}

fn instance(backends: wgpu::Backends, compiler: wgpu::Dx12Compiler) -> wgpu::Instance {
    let mut backend_options = wgpu::BackendOptions::default();
    backend_options.dx12.shader_compiler = compiler;
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        backend_options,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Those that `WGPU_BACKEND` names, as in other programs that use wgpu: one or several of vulkan, metal and dx12, with commas. All of
/// them if it is not set.
///
/// # Errors
/// [`Error::Usage`] if there is another name in it.
#[cfg(not(target_family = "wasm"))]
fn backends(wanted: Option<&str>) -> Result<wgpu::Backends> {
    let Some(wanted) = wanted else { return Ok(wgpu::Backends::PRIMARY) };
    wanted.split(',').try_fold(wgpu::Backends::empty(), |all, name| {
        Ok(all
            | match name.trim().to_ascii_lowercase().as_str() {
                "vulkan" | "vk" => wgpu::Backends::VULKAN,
                "metal" | "mtl" => wgpu::Backends::METAL,
                "dx12" | "d3d12" => wgpu::Backends::DX12,
                _ => {
                    return Err(Error::usage(format!("WGPU_BACKEND is \"{wanted}\""))
                        .hint("set it to vulkan, metal or dx12, or to several with commas, or not at all"));
                }
            })
    })
}

/// wgpu does not say which compiler it has found. FXC ends at Shader Model 5.1, which has none of these; of what runs the programs of
/// DXC all have one of them at least.
fn has_fxc(backend: wgpu::Backend, features: wgpu::Features) -> bool {
    let later = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64 | wgpu::Features::SHADER_F16;
    backend == wgpu::Backend::Dx12 && !features.intersects(later)
}

pub(super) fn describe(index: usize, adapter: &wgpu::Adapter, dxc_refused: bool) -> AdapterInfo {
    let info = adapter.get_info();
    let features = adapter.features();
    let limits = adapter.limits();
    AdapterInfo {
        index,
        name: info.name.clone(),
        kind: match info.device_type {
            // A browser may call its own software adapter like any other.
            wgpu::DeviceType::Other if is_software(&info.name) => AdapterKind::Cpu,
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Cpu,
            wgpu::DeviceType::Other => AdapterKind::Other,
        },
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        slow_compiler: has_fxc(info.backend, features),
        dxc_refused,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroup_sizes: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some([info.subgroup_min_size, info.subgroup_max_size]),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_size: limits.max_compute_invocations_per_workgroup,
    }
}

/// Whether an adapter is called like a driver that computes on the processor.
fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["swiftshader", "llvmpipe", "lavapipe", "basic render"].iter().any(|known| name.contains(known))
}

#[cfg(not(target_family = "wasm"))]
async fn enumerate() -> Result<Vec<(AdapterInfo, wgpu::Adapter)>> {
    let wanted = std::env::var_os("WGPU_BACKEND").filter(|wanted| !wanted.is_empty());
    let wanted = wanted.as_ref().map(|wanted| wanted.to_string_lossy());
    let backends = backends(wanted.as_deref())?;
    // DXC if `dxcompiler.dll` lies beside the program or where Windows looks for libraries, else FXC, which is part of Windows;
    // WGPU_DX12_COMPILER picks one.
    let compiler = wgpu::Dx12Compiler::Auto.with_env();
    let may_fall_back = cfg!(windows) && matches!(compiler, wgpu::Dx12Compiler::Auto);
    let mut adapters = instance(backends, compiler).enumerate_adapters(backends).await;
    let through_dx12 = |adapter: &wgpu::Adapter| adapter.get_info().backend == wgpu::Backend::Dx12;
    // With a DXC that it cannot use, wgpu gives no adapter of Direct3D 12 at all. FXC does all of them.
    let dxc_refused =
        may_fall_back && backends.contains(wgpu::Backends::DX12) && !adapters.iter().any(through_dx12);
    if dxc_refused {
        let dx12 = wgpu::Backends::DX12;
        adapters.extend(instance(dx12, wgpu::Dx12Compiler::Fxc).enumerate_adapters(dx12).await);
    }
    if adapters.is_empty() {
        return Err(none(wanted.as_deref()));
    }
    let info = |i, adapter: &wgpu::Adapter| describe(i, adapter, dxc_refused && through_dx12(adapter));
    Ok(adapters.into_iter().enumerate().map(|(i, adapter)| (info(i, &adapter), adapter)).collect())
}

/// A browser gives one adapter to a page.
#[cfg(target_family = "wasm")]
async fn enumerate() -> Result<Vec<(AdapterInfo, wgpu::Adapter)>> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    let adapter = instance(wgpu::Backends::PRIMARY, wgpu::Dx12Compiler::Auto).request_adapter(&options).await;
    adapter.map(|adapter| vec![(describe(0, &adapter, false), adapter)]).map_err(|_| none())
}

/// All adapters of this machine that wgpu can use through Vulkan, Metal or DX12, or through those of them that `WGPU_BACKEND` names.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none, [`Error::Usage`] if `WGPU_BACKEND` names anything else.
#[cfg(not(target_family = "wasm"))]
pub fn adapters() -> Result<Vec<AdapterInfo>> {
    Ok(pollster::block_on(enumerate())?.into_iter().map(|(info, _)| info).collect())
}

#[cfg(not(target_family = "wasm"))]
fn none(wanted: Option<&str>) -> Error {
    if let Some(wanted) = wanted {
        let what = format!("this machine has no GPU adapter that answers through WGPU_BACKEND={wanted}");
        return Error::no_adapter(what).hint("leave that variable out to take any");
    }
    Error::no_adapter("this machine has no GPU adapter that answers through Vulkan, Metal or DX12").hint(
        "install your GPU's driver, or a software adapter (on Debian or Ubuntu: \
         `apt-get install libvulkan1 mesa-vulkan-drivers`)",
    )
}

#[cfg(target_family = "wasm")]
fn none() -> Error {
    Error::no_adapter("this browser gives no GPU adapter through WebGPU")
        .hint("use a browser with WebGPU, and see to it that hardware acceleration is on")
}

/// Finds the adapter that `wanted` names by its index or by a part of its name (upper and lower case
/// alike), or the best one.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none, or none of that name.
pub(super) async fn choose(wanted: Option<&str>) -> Result<(AdapterInfo, wgpu::Adapter)> {
    let mut all = enumerate().await?;
    let position = match wanted {
        None => all.iter().enumerate().min_by_key(|(i, (info, _))| (info.kind, *i)).map(|(i, _)| i),
        Some(wanted) => wanted.parse().ok().filter(|i| *i < all.len()).or_else(|| {
            // Also a number that is no index may be a part of a name.
            let wanted = wanted.to_lowercase();
            let fits = |info: &AdapterInfo| info.name.to_lowercase().contains(&wanted);
            all.iter().position(|(info, _)| !wanted.is_empty() && fits(info))
        }),
    };
    match position {
        Some(i) => Ok(all.swap_remove(i)),
        None => {
            let list: Vec<String> = all.iter().map(|(i, _)| format!("{} \"{}\"", i.index, i.name)).collect();
            Err(Error::no_adapter(format!("there is no adapter \"{}\"", wanted.unwrap_or_default()))
                .hint(format!("this machine has {}", list.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_fxc;

    #[test]
    fn fxc_is_told_from_dxc() {
        let dx12 = wgpu::Backend::Dx12;
        assert!(has_fxc(dx12, wgpu::Features::TIMESTAMP_QUERY));
        assert!(!has_fxc(dx12, wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SUBGROUP));
        assert!(!has_fxc(dx12, wgpu::Features::SHADER_INT64));
        assert!(!has_fxc(wgpu::Backend::Vulkan, wgpu::Features::empty()));
    }
}
