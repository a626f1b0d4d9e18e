//! Every kernel that a network or a test of an operation uses, with its constants, in the languages of Vulkan, Metal and
//! Direct3D 12, and within the limits that WebGPU grants everywhere.

use crate::ops::harness::PRODUCTS;
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ShaderStage, TypeInner};
use ocelli::gpu::{Kernel, Limits};
use ocelli::graph::Precision;
use ocelli::models::{ARCHS, Mode, Settings};
use ocelli::ops::{Dispatch, Product};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::train::{TrainingGraph, TrainingOptions};
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_INVOCATIONS: u32 = 256;

fn plans(product: Product, precision: Precision) -> Vec<Plan> {
    // Limits that every network fits, at sizes that keep the planning quick.
    let options = PlanOptions::new(product, Limits { binding_bytes: 1 << 40, buffer_bytes: 1 << 40 });
    let mut plans = Vec::new();
    for arch in ARCHS {
        let settings = Settings { size: [arch.size; 2], precision, ..arch.settings(2) };
        plans.push(
            TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap().plan(&options).unwrap(),
        );
        let network = arch.network(&settings, Mode::Inference).unwrap();
        plans.push(Plan::new(&network.graph, &[network.logits], &options).unwrap());
    }
    plans
}

/// A kernel as it is compiled: its constants put in, only the one entry point.
struct Compiled {
    module: Module,
    info: ModuleInfo,
}

fn compile(dispatch: &Dispatch) -> Compiled {
    let kernel = &dispatch.kernel;
    let text = kernel.source();
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
    // What not all adapters have is for the one core that is chosen where there are subgroups, and for half precision.
    let mut allowed = Capabilities::empty();
    allowed.set(Capabilities::SUBGROUP, kernel.entry.starts_with("subgroup"));
    allowed.set(Capabilities::SHADER_FLOAT16, kernel.is_half());
    let validate = |module: &Module| {
        Validator::new(ValidationFlags::all(), allowed)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(module)
            .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)))
    };
    let info = validate(&module);
    for (name, _) in &kernel.constants {
        let known = module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
        assert!(known, "{} sets {name}, which its shader does not declare", kernel.name);
    }
    let constants: PipelineConstants =
        kernel.constants.iter().map(|(name, value)| ((*name).to_owned(), f64::from(*value))).collect();
    let entry = Some((ShaderStage::Compute, kernel.entry));
    let (module, info) = pipeline_constants::process_overrides(&module, &info, entry, &constants)
        .unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
    let (module, info) = (module.into_owned(), info.into_owned());
    validate(&module);
    Compiled { module, info }
}

fn translate(Compiled { module, info }: &Compiled, name: &str, half: bool) {
    let entry = (ShaderStage::Compute, module.entry_points[0].name.clone());
    let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.clone() };
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let words = spv::write_vec(module, info, &options, Some(&pipeline));
    assert!(words.unwrap_or_else(|e| panic!("{name} as SPIR-V: {e}")).len() > 5);

    let pipeline = msl::PipelineOptions { entry_point: Some(entry.clone()), ..Default::default() };
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let (text, written) = msl::write_string(module, info, &options, &pipeline)
        .unwrap_or_else(|e| panic!("{name} in Metal's language: {e}"));
    assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
    assert!(text.contains("kernel void"), "{name}");

    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions { entry_point: Some(entry) };
    let shader_model = if half { hlsl::ShaderModel::V6_2 } else { hlsl::ShaderModel::V6_0 };
    let options = hlsl::Options { shader_model, ..Default::default() };
    let written = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name} in HLSL: {e}"));
    assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
    assert!(text.contains("numthreads"), "{name}");
}

fn within_limits(Compiled { module, info }: &Compiled, name: &str) {
    let entry = &module.entry_points[0];
    let used = info.get_entry_point(0);
    let mut storage = 0;
    let mut workgroup = 0;
    for (handle, global) in module.global_variables.iter() {
        if used[handle].is_empty() {
            continue;
        }
        match global.space {
            AddressSpace::Storage { .. } => storage += 1,
            AddressSpace::WorkGroup => workgroup += module.types[global.ty].inner.size(module.to_ctx()),
            _ => {}
        }
    }
    assert!(storage <= MAX_STORAGE_BUFFERS, "{name} binds {storage} storage buffers");
    assert!(workgroup <= MAX_WORKGROUP_BYTES, "{name} takes {workgroup} bytes of workgroup memory");
    let invocations: u32 = entry.workgroup_size.iter().product();
    assert!((1..=MAX_INVOCATIONS).contains(&invocations), "{name} has {invocations} invocations");
}

/// The struct in WGSL and the one in Rust have the same members at the same places, and the same length.
fn same_params(Compiled { module, .. }: &Compiled, dispatch: &Dispatch) {
    let name = dispatch.kernel.name;
    let uniforms: Vec<_> =
        module.global_variables.iter().filter(|(_, g)| g.space == AddressSpace::Uniform).collect();
    let [(_, params)] = uniforms[..] else { panic!("{name} has {} uniforms", uniforms.len()) };
    let TypeInner::Struct { members, span } = &module.types[params.ty].inner else {
        panic!("{name}: its parameters are no struct")
    };
    let theirs: Vec<_> = members
        .iter()
        .map(|m| {
            let kind = match module.types[m.ty].inner {
                TypeInner::Scalar(Scalar::U32) => "u32",
                TypeInner::Scalar(Scalar::I32) => "i32",
                TypeInner::Scalar(Scalar::F32) => "f32",
                // The one table.
                TypeInner::Array { base, size: naga::ArraySize::Constant(count), stride: 16 }
                    if module.types[base].inner
                        == (TypeInner::Vector { size: naga::VectorSize::Quad, scalar: Scalar::U32 }) =>
                {
                    &format!("array<vec4<u32>, {count}>")
                }
                ref other => panic!("{name}: a parameter of type {other:?}"),
            };
            (m.name.clone().unwrap_or_default(), m.offset as usize, kind.to_owned())
        })
        .collect();
    let ours: Vec<_> =
        dispatch.fields.iter().map(|(n, at, t)| ((*n).to_owned(), *at, (*t).to_owned())).collect();
    assert_eq!(theirs, ours, "the parameters of {name}: WGSL, then Rust");
    assert_eq!(*span as usize, dispatch.params.len(), "the length of the parameters of {name}");
}

/// All checks of the kernel of a dispatch; those seen before are passed over. Every plan that a test of an operation
/// runs comes through here.
pub fn check(dispatch: &Dispatch) {
    static SEEN: LazyLock<Mutex<HashSet<Kernel>>> = LazyLock::new(Mutex::default);
    if !SEEN.lock().unwrap().insert(dispatch.kernel.clone()) {
        return;
    }
    let Kernel { name, constants, aliases, .. } = &dispatch.kernel;
    let name = format!("{name} {constants:?} {aliases:?}");
    let compiled = compile(dispatch);
    assert_eq!(compiled.module.entry_points.len(), 1, "{name}");
    translate(&compiled, &name, dispatch.kernel.is_half());
    within_limits(&compiled, &name);
    same_params(&compiled, dispatch);
}

#[test]
fn every_kernel_of_the_networks_compiles_for_every_backend_within_the_limits() {
    let mut kernels = HashSet::new();
    let all = PRODUCTS.into_iter().flat_map(|p| [(p, Precision::F32), (p, Precision::F16)]);
    for (product, precision) in all {
        for plan in plans(product, precision) {
            for dispatch in plan.dispatches() {
                check(dispatch);
                kernels.insert(dispatch.kernel.clone());
            }
        }
    }
    println!("{} kernels with their constants", kernels.len());
    assert!(kernels.len() > 30, "only {} kernels were looked at", kernels.len());
}
