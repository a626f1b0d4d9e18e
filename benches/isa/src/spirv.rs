//! A kernel as SPIR-V, as wgpu hands it to a Vulkan driver.

use naga::back::{PipelineConstants, pipeline_constants, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use ocelli::gpu::Kernel;

/// A kernel for a driver.
pub(crate) struct Translated {
    pub(crate) words: Vec<u32>,
    /// The size of its variables in workgroup memory.
    pub(crate) workgroup_bytes: u64,
}

/// The SPIR-V of a kernel with its constants, without bounds checks: trusted kernels run so.
pub(crate) fn translate(kernel: &Kernel) -> Result<Translated, String> {
    let text = kernel.source();
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?;
    let validate = |module: &Module| {
        Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(module)
            .map_err(|e| e.emit_to_string(&text))
    };
    let info = validate(&module)?;
    let constants: PipelineConstants =
        kernel.constants.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect();
    let entry = Some((ShaderStage::Compute, kernel.entry));
    let (module, _) = pipeline_constants::process_overrides(&module, &info, entry, &constants)
        .map_err(|e| e.to_string())?;
    let info = validate(&module)?;
    let policy = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        bounds_check_policies: BoundsCheckPolicies {
            index: policy,
            buffer: policy,
            image_load: policy,
            binding_array: policy,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..spv::Options::default()
    };
    let entry =
        spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.to_owned() };
    let words = spv::write_vec(&module, &info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    let used = info.get_entry_point(0);
    let variables = module.global_variables.iter();
    let workgroup = variables.filter(|(i, v)| v.space == AddressSpace::WorkGroup && !used[*i].is_empty());
    let workgroup_bytes =
        workgroup.map(|(_, v)| u64::from(module.types[v.ty].inner.size(module.to_ctx()))).sum();
    Ok(Translated { words, workgroup_bytes })
}
