//! The GPU adapters of this machine and the selection of one of them.

use crate::error::{Error, Result};
use serde::Serialize;

/// The kind of hardware behind an adapter, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A graphics card with its own memory.
    Discrete,
    /// A GPU on the processor's chip, which shares the system memory.
    Integrated,
    /// A GPU that a virtual machine provides.
    Virtual,
    /// The driver does not report the kind.
    Other,
    /// A software driver that computes on the processor.
    Cpu,
}

/// The properties of an adapter that are known before it is opened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterInfo {
    /// The index in the list of adapters, as `--adapter` takes it.
    pub index: usize,
    /// The name that the driver reports.
    pub name: String,
    /// The kind of hardware.
    pub kind: AdapterKind,
    /// The graphics API: Vulkan, Metal or Dx12.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Whether FXC compiles the kernels. It takes many times as long as DXC. Direct3D 12 uses it when no usable
    /// `dxcompiler.dll` is found.
    pub slow_compiler: bool,
    /// Whether a `dxcompiler.dll` was found but not used: it is too old or is not DXC, or the adapter lacks Shader
    /// Model 6.0. FXC compiles instead.
    pub dxc_refused: bool,
    /// Whether shaders can use half-precision arithmetic.
    pub f16: bool,
    /// The largest subgroup in lanes, if kernels can use cooperative matrices of 16x16x16 with operands in half precision
    /// and sums in single precision.
    pub cooperative: Option<u32>,
    /// The smallest and the largest subgroup size in lanes; `None` if kernels cannot use subgroup operations.
    pub subgroup_sizes: Option<[u32; 2]>,
    /// Whether kernels can be timed with timestamp queries.
    pub timestamps: bool,
    /// The largest binding of a kernel, in bytes.
    pub max_binding_bytes: u64,
    /// The largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// The largest workgroup memory, in bytes.
    pub max_workgroup_bytes: u32,
    /// The largest workgroup, in invocations.
    pub max_workgroup_size: u32,
}

impl AdapterInfo {
    /// What identifies the adapter, its driver and this version of the library, a line each. What was measured or
    /// compiled is valid only there.
    pub fn place(&self) -> String {
        format!("{} ({})\n{}\n{}", self.name, self.backend, self.driver, env!("CARGO_PKG_VERSION"))
    }

    /// A hash of [`AdapterInfo::place`] for the names of files. It is the same in every process.
    pub fn place_hash(&self) -> u64 {
        // FNV-1a.
        self.place().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
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

/// The backends that `WGPU_BACKEND` names, as in other programs that use wgpu: a comma-separated list of vulkan, metal
/// and dx12. All of them if the variable is not set.
///
/// # Errors
/// [`Error::Usage`] if the variable contains another name.
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

/// Whether FXC is the compiler of an adapter. wgpu does not report which compiler it has found. FXC ends at Shader
/// Model 5.1, which has none of the features below; every adapter that runs DXC's programs has at least one of them.
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
            // A browser may report its own software adapter as `Other`.
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
        cooperative: cooperative(adapter, &info),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_workgroup_size: limits.max_compute_invocations_per_workgroup,
    }
}

/// The largest subgroup of an adapter that has the cooperative matrices of `gemm/cooperative.wgsl`.
#[cfg(not(target_family = "wasm"))]
fn cooperative(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Option<u32> {
    let features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    let fits = adapter.cooperative_matrix_properties().iter().any(|p| {
        [p.m_size, p.n_size, p.k_size] == [16; 3]
            && p.ab_type == wgpu::CooperativeScalarType::F16
            && p.cr_type == wgpu::CooperativeScalarType::F32
    });
    Some(info.subgroup_max_size).filter(|_| fits && adapter.features().contains(features))
}

/// WebGPU has no cooperative matrices.
#[cfg(target_family = "wasm")]
fn cooperative(_adapter: &wgpu::Adapter, _info: &wgpu::AdapterInfo) -> Option<u32> {
    None
}

/// Whether the name of an adapter is that of a software driver.
fn is_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["swiftshader", "llvmpipe", "lavapipe", "basic render"].iter().any(|known| name.contains(known))
}

#[cfg(not(target_family = "wasm"))]
async fn enumerate() -> Result<Vec<(AdapterInfo, wgpu::Adapter)>> {
    let wanted = std::env::var_os("WGPU_BACKEND").filter(|wanted| !wanted.is_empty());
    let wanted = wanted.as_ref().map(|wanted| wanted.to_string_lossy());
    let backends = backends(wanted.as_deref())?;
    // wgpu uses DXC if `dxcompiler.dll` is beside the program or on the library search path of Windows. Otherwise it
    // uses FXC, which is part of Windows. WGPU_DX12_COMPILER selects one of them.
    let compiler = wgpu::Dx12Compiler::Auto.with_env();
    let may_fall_back = cfg!(windows) && matches!(compiler, wgpu::Dx12Compiler::Auto);
    let mut adapters = instance(backends, compiler).enumerate_adapters(backends).await;
    let through_dx12 = |adapter: &wgpu::Adapter| adapter.get_info().backend == wgpu::Backend::Dx12;
    // With an unusable DXC, wgpu returns no Direct3D 12 adapter at all. FXC works with all of them.
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

/// Returns the one adapter that a browser gives to a page.
#[cfg(target_family = "wasm")]
async fn enumerate() -> Result<Vec<(AdapterInfo, wgpu::Adapter)>> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    let adapter = instance(wgpu::Backends::PRIMARY, wgpu::Dx12Compiler::Auto).request_adapter(&options).await;
    adapter.map(|adapter| vec![(describe(0, &adapter, false), adapter)]).map_err(|_| none())
}

/// Lists all adapters of this machine that wgpu can use through Vulkan, Metal or DX12. `WGPU_BACKEND` restricts the
/// list to the backends that it names.
///
/// # Errors
/// [`Error::NoAdapter`] if there is no adapter, [`Error::Usage`] if `WGPU_BACKEND` contains another name.
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

/// Finds the adapter whose index is `wanted` or whose name contains it, ignoring case. Without `wanted` it returns the
/// best adapter.
///
/// # Errors
/// [`Error::NoAdapter`] if there is no adapter, or none matches.
pub(super) async fn choose(wanted: Option<&str>) -> Result<(AdapterInfo, wgpu::Adapter)> {
    let mut all = enumerate().await?;
    let position = match wanted {
        None => all.iter().enumerate().min_by_key(|(i, (info, _))| (info.kind, *i)).map(|(i, _)| i),
        Some(wanted) => wanted.parse().ok().filter(|i| *i < all.len()).or_else(|| {
            // A number that is not a valid index may still be part of a name.
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
