//! Translates a kernel to SPIR-V, MSL and HLSL, with the options that wgpu uses.

use super::Compiled;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::{AddressSpace, ShaderStage};

/// The input of one compiler.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Written {
    pub language: Language,
    /// Whether there are checks of indices, loops and divisions (`GpuOptions::checked`).
    pub checked: bool,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// For a version of Vulkan: major, minor.
    SpirV(u8, u8),
    /// For a shader model, e.g. `cs_6_0`.
    Hlsl(&'static str),
    Msl,
}

impl Language {
    /// The folder of its files, and their extension.
    pub fn folder(self) -> (String, &'static str) {
        match self {
            Self::SpirV(major, minor) => (format!("vulkan{major}.{minor}"), "spv"),
            Self::Hlsl(profile) => (profile.to_owned(), "hlsl"),
            Self::Msl => ("metal".to_owned(), "metal"),
        }
    }
}

/// A kernel in every language, with checks and without.
pub fn write(compiled: &Compiled, name: &str) -> Vec<Written> {
    let mut all = Vec::new();
    for checked in [false, true] {
        let mut add = |language, bytes| all.push(Written { language, checked, bytes });
        for (version, vulkan) in [((1, 3), (1, 1)), ((1, 6), (1, 3))] {
            add(Language::SpirV(vulkan.0, vulkan.1), spirv(compiled, name, version, checked));
        }
        for (model, profile) in models(compiled) {
            add(Language::Hlsl(profile), high_level(compiled, name, (model, profile), checked).into_bytes());
        }
        add(Language::Msl, metal(compiled, name, checked).into_bytes());
    }
    all
}

/// The shader models that have all features that a kernel needs. 5.1, which is FXC's, has neither half precision nor
/// subgroups.
fn models(compiled: &Compiled) -> Vec<(hlsl::ShaderModel, &'static str)> {
    let all = [
        (hlsl::ShaderModel::V5_1, "cs_5_1"),
        (hlsl::ShaderModel::V6_0, "cs_6_0"),
        (hlsl::ShaderModel::V6_2, "cs_6_2"),
    ];
    let first = match () {
        () if compiled.half => 2,
        () if compiled.subgroups => 1,
        () => 0,
    };
    all[first..].to_vec()
}

fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn spirv(Compiled { module, info, .. }: &Compiled, name: &str, version: (u8, u8), checked: bool) -> Vec<u8> {
    let pipeline = spv::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: module.entry_points[0].name.clone(),
    };
    let options = spv::Options {
        lang_version: version,
        bounds_check_policies: policies(checked),
        // Vulkan can do this natively from version 1.3 on.
        zero_initialize_workgroup_memory: match (checked, version) {
            (false, _) => spv::ZeroInitializeWorkgroupMemoryMode::None,
            (true, (1, 3)) => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
            (true, _) => spv::ZeroInitializeWorkgroupMemoryMode::Native,
        },
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let words = spv::write_vec(module, info, &options, Some(&pipeline));
    let words = words.unwrap_or_else(|e| panic!("{name} as SPIR-V: {e}"));
    assert!(words.len() > 5, "{name} as SPIR-V");
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn metal(Compiled { module, info, .. }: &Compiled, name: &str, checked: bool) -> String {
    let entry = &module.entry_points[0].name;
    let mut slots = msl::EntryPointResources::default();
    for (_, global) in module.global_variables.iter() {
        let Some(binding) = global.binding else { continue };
        let target =
            msl::BindTarget { buffer: Some(binding.binding as u8), mutable: true, ..Default::default() };
        slots.resources.insert(binding, target);
    }
    slots.sizes_buffer = Some(30);
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, entry.clone())),
        ..Default::default()
    };
    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [(entry.clone(), slots)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: policies(checked),
        zero_initialize_workgroup_memory: checked,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..Default::default()
    };
    let (text, written) = msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|e| panic!("{name} in Metal's language: {e}"));
    assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
    assert!(text.contains("kernel void"), "{name}");
    text
}

fn high_level(
    Compiled { module, info, .. }: &Compiled,
    name: &str,
    (shader_model, profile): (hlsl::ShaderModel, &str),
    checked: bool,
) -> String {
    let entry = (ShaderStage::Compute, module.entry_points[0].name.clone());
    let mut binding_map = hlsl::BindingMap::default();
    for (_, global) in module.global_variables.iter() {
        let Some(binding) = global.binding else { continue };
        let restrict_indexing = matches!(global.space, AddressSpace::Storage { .. });
        let target = hlsl::BindTarget { register: binding.binding, restrict_indexing, ..Default::default() };
        binding_map.insert(binding, target);
    }
    let options = hlsl::Options {
        shader_model,
        binding_map,
        fake_missing_bindings: false,
        special_constants_binding: Some(hlsl::BindTarget { space: 1, ..Default::default() }),
        zero_initialize_workgroup_memory: checked,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..Default::default()
    };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions { entry_point: Some(entry) })
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name} in HLSL: {e}"));
    let [Ok(entry)] = &written.entry_point_names[..] else {
        panic!("{name}: {:?}", written.entry_point_names)
    };
    assert!(text.contains("numthreads"), "{name}");
    // The options that a compiler needs besides the text.
    format!("// -T {profile} -E {entry}\n{text}")
}
