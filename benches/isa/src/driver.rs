//! A Vulkan device that compiles and runs nothing: the driver returns what its compiler has made of a kernel.

use ash::vk::{self, Handle};
use std::ffi::{CStr, c_char};

/// What a driver's compiler says of a kernel.
#[derive(Debug)]
pub(crate) struct Executable {
    /// The driver's figures by name, such as `VGPRs`.
    pub(crate) figures: Vec<(String, u64)>,
    /// The assembly text.
    pub(crate) assembly: String,
}

/// The bindings that a kernel may have: a uniform buffer, then storage buffers.
const BINDINGS: u32 = 16;

/// A device of a driver, with the layout that serves all kernels.
pub(crate) struct Driver {
    pub(crate) name: String,
    pub(crate) version: String,
    device: ash::Device,
    executables: ash::khr::pipeline_executable_properties::Device,
    layout: vk::PipelineLayout,
    // The library must outlive the device.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

const EXTENSION: &CStr = ash::khr::pipeline_executable_properties::NAME;

#[allow(
    unsafe_code,
    reason = "Vulkan is a C interface. Every handle here comes from the driver and is used as its \
                               documentation says; the device lives as long as the process."
)]
impl Driver {
    /// Opens the first device that can tell what it compiles.
    pub(crate) fn open() -> Result<Self, String> {
        // SAFETY: the loader's library is opened once, before any thread of ours.
        let entry = unsafe { ash::Entry::load() }.map_err(|e| format!("there is no Vulkan loader: {e}"))?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY: the structs live until the call returns.
        let instance = unsafe { entry.create_instance(&create, None) }
            .map_err(|e| format!("the Vulkan driver cannot be loaded: {e}"))?;
        // SAFETY: the instance is alive.
        let physical = unsafe { instance.enumerate_physical_devices() }
            .map_err(|e| format!("the Vulkan driver lists no device: {e}"))?;
        let able = physical.into_iter().find(|device| {
            // SAFETY: the device is one of this instance.
            let extensions = unsafe { instance.enumerate_device_extension_properties(*device) };
            extensions.unwrap_or_default().iter().any(|e| e.extension_name_as_c_str() == Ok(EXTENSION))
        });
        let Some(physical) = able else {
            return Err("no device of this Vulkan driver can tell what it compiles".to_owned());
        };
        Self::on(entry, instance, physical)
    }

    fn on(entry: ash::Entry, instance: ash::Instance, physical: vk::PhysicalDevice) -> Result<Self, String> {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the chain of structs is valid and writable.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let name = text(&properties.properties.device_name);
        let version = format!("{} {}", text(&driver.driver_name), text(&driver.driver_info));
        let mut cooperative = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut vulkan12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut vulkan11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut known = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut vulkan11)
            .push_next(&mut vulkan12)
            .push_next(&mut cooperative);
        // SAFETY: as above.
        unsafe { instance.get_physical_device_features2(physical, &mut known) };
        let has_cooperative = cooperative.cooperative_matrix == vk::TRUE;
        let mut extensions: Vec<*const c_char> = vec![EXTENSION.as_ptr()];
        let mut info = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut wanted12 = vk::PhysicalDeviceVulkan12Features::default()
            .shader_float16(vulkan12.shader_float16 == vk::TRUE)
            .vulkan_memory_model(vulkan12.vulkan_memory_model == vk::TRUE)
            .vulkan_memory_model_device_scope(vulkan12.vulkan_memory_model_device_scope == vk::TRUE);
        let mut wanted11 = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(vulkan11.storage_buffer16_bit_access == vk::TRUE)
            .uniform_and_storage_buffer16_bit_access(
                vulkan11.uniform_and_storage_buffer16_bit_access == vk::TRUE,
            );
        let mut wanted = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut info)
            .push_next(&mut wanted11)
            .push_next(&mut wanted12);
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        if has_cooperative {
            extensions.push(ash::khr::cooperative_matrix::NAME.as_ptr());
            wanted = wanted.push_next(&mut matrices);
        }
        let priorities = [1.0];
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&priorities)];
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut wanted);
        // SAFETY: the structs live until the call returns; the extensions are those that the device lists.
        let device = unsafe { instance.create_device(physical, &create, None) }
            .map_err(|e| format!("{name}: no device: {e}"))?;
        let executables = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
        let layout = layout(&device).map_err(|e| format!("{name}: no pipeline layout: {e}"))?;
        Ok(Self { name, version, device, executables, layout, _instance: instance, _entry: entry })
    }

    /// Compiles the entry of a SPIR-V module.
    pub(crate) fn compile(&self, spirv: &[u32], entry: &str) -> Result<Executable, String> {
        let name = std::ffi::CString::new(entry).map_err(|e| e.to_string())?;
        let said = |e: vk::Result| e.to_string();
        let create = vk::ShaderModuleCreateInfo::default().code(spirv);
        // SAFETY: naga has validated the module, and the structs live until the calls return.
        let module = unsafe { self.device.create_shader_module(&create, None) }.map_err(said)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&name);
        let create = vk::ComputePipelineCreateInfo::default()
            .flags(
                vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                    | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
            )
            .stage(stage)
            .layout(self.layout);
        // SAFETY: as above.
        let made =
            unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None) };
        // SAFETY: the pipeline does not need its module any more.
        unsafe { self.device.destroy_shader_module(module, None) };
        let pipeline = made.map_err(|(_, e)| said(e))?.first().copied().unwrap_or_default();
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline was made with both flags.
        let figures = unsafe { self.executables.get_pipeline_executable_statistics(&info) }.map_err(said)?;
        let assembly = self.assembly(&info).map_err(said)?;
        // SAFETY: nothing uses the pipeline after this.
        unsafe { self.device.destroy_pipeline(pipeline, None) };
        let figures = figures.iter().map(|figure| (text(&figure.name), value(figure))).collect();
        Ok(Executable { figures, assembly })
    }

    /// The text of the representation whose name has `ssembly`.
    fn assembly(&self, info: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String, vk::Result> {
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.device.handle();
        let mut count = 0;
        // SAFETY: without an array the driver writes only the count.
        unsafe { get(device, info, &raw mut count, std::ptr::null_mut()) }.result()?;
        let mut list = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
        // SAFETY: the array has room for `count`; without data pointers the driver writes only the sizes.
        unsafe { get(device, info, &raw mut count, list.as_mut_ptr()) }.result()?;
        let mut texts: Vec<Vec<u8>> = list.iter().map(|one| vec![0; one.data_size]).collect();
        for (one, text) in list.iter_mut().zip(&mut texts) {
            one.p_data = text.as_mut_ptr().cast();
        }
        // SAFETY: every pointer has room for the size that the driver has told.
        unsafe { get(device, info, &raw mut count, list.as_mut_ptr()) }.result()?;
        let found = list.iter().zip(texts).find(|(one, _)| text(&one.name).contains("ssembly"));
        let bytes = found.map(|(_, bytes)| bytes).unwrap_or_default();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

/// One descriptor set of a uniform buffer and storage buffers.
#[allow(unsafe_code, reason = "as above")]
fn layout(device: &ash::Device) -> Result<vk::PipelineLayout, vk::Result> {
    let binding = |i: u32| {
        let kind =
            if i == 0 { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
        vk::DescriptorSetLayoutBinding::default()
            .binding(i)
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings: Vec<_> = (0..BINDINGS).map(binding).collect();
    let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: the structs live until the calls return.
    let set = unsafe { device.create_descriptor_set_layout(&create, None) }?;
    debug_assert!(!set.is_null());
    let sets = [set];
    let create = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
    // SAFETY: as above.
    unsafe { device.create_pipeline_layout(&create, None) }
}

#[allow(unsafe_code, reason = "a union of C")]
fn value(figure: &vk::PipelineExecutableStatisticKHR<'_>) -> u64 {
    // SAFETY: the format says which member the driver has written.
    unsafe {
        match figure.format {
            vk::PipelineExecutableStatisticFormatKHR::BOOL32 => u64::from(figure.value.b32),
            vk::PipelineExecutableStatisticFormatKHR::INT64 => figure.value.i64.max(0) as u64,
            vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => figure.value.f64 as u64,
            _ => figure.value.u64,
        }
    }
}

/// A text of a fixed array of C.
fn text(array: &[c_char]) -> String {
    let bytes: Vec<u8> = array.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
