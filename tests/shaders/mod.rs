//! Translates every kernel of the networks and of the tests of operations, with its constants, to SPIR-V, MSL and
//! HLSL, and checks the limits that WebGPU guarantees. SPIR-V goes through `spirv-val` if it is installed.
//! `OCELLI_TEST_SHADERS` names a folder to which all translations are written instead, for `scripts/check_shaders.sh`,
//! which runs the compilers and `spirv-val`. `OCELLI_TEST_SHADERS_ALL=1` adds kernels.

mod cards;
mod languages;
mod spirv_val;

use crate::ops::harness::PRODUCTS;
use crate::support::fixtures::skipped;
use languages::Language;
use naga::back::{PipelineConstants, pipeline_constants};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ShaderStage, TypeInner};
use ocelli::gpu::{Kernel, Limits};
use ocelli::kernels::{
    Algorithm, AlgorithmCache, ConvProblem, Dispatch, GemmKernel, KernelFamily, Pass, WinogradTile,
};
use ocelli::models::{ARCHS, Arch, Mode, Settings};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::tensor::Precision;
use ocelli::train::{TrainingGraph, TrainingOptions};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16 << 10;
const MAX_INVOCATIONS: u32 = 256;

/// Limits that every network fits without batch chunks, which keeps planning fast.
const WIDE: Limits = Limits { binding_bytes: 1 << 40, buffer_bytes: 1 << 40 };

/// Networks that repeat the layers of another one many times. Planning them takes longer than everything else.
const DEEP: [&str; 2] = ["resnet1202", "preresnet1001"];

/// The plans of a training step and of inference.
fn plans(arch: &Arch, precision: Precision, options: &PlanOptions) -> [Plan; 2] {
    let settings = Settings { size: [arch.size; 2], precision, ..arch.settings(2) };
    let training = TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap();
    let network = arch.network(&settings, Mode::Inference).unwrap();
    [training.plan(options).unwrap(), Plan::new(&network.graph, &[network.logits], options).unwrap()]
}

/// An algorithm that a measurement may choose for a problem, whatever the heuristic says.
#[derive(Clone, Copy)]
enum Way {
    GemmKernel(GemmKernel),
    Winograd(WinogradTile),
}

impl Way {
    fn all() -> impl Iterator<Item = Self> {
        let blocks = [WinogradTile::F2x2, WinogradTile::F4x4].map(Self::Winograd);
        GemmKernel::all().map(Self::GemmKernel).chain(blocks)
    }

    fn of(self, key: &ConvProblem) -> Algorithm {
        match self {
            Self::GemmKernel(core) if key.pass == Pass::WeightGrad => {
                Algorithm::SplitK { kernel: core, splits: 2, k_chunk: 64 }
            }
            Self::GemmKernel(core) => Algorithm::Gemm(core),
            Self::Winograd(block) => Algorithm::Winograd { tile: block },
        }
    }
}

/// The plans of a network with this algorithm wherever it fits.
fn forced(arch: &Arch, precision: Precision, way: Way, keys: &[ConvProblem]) -> [Plan; 2] {
    let options = PlanOptions::new(KernelFamily::Subgroup, WIDE);
    let mut choices = AlgorithmCache::default();
    for key in keys {
        if options.record.supports(way.of(key), key) {
            choices.insert(*key, way.of(key));
        }
    }
    plans(arch, precision, &options.with_algorithms(choices))
}

/// A kernel as it is compiled: with the values of its constants and only its entry point.
struct Compiled {
    module: Module,
    info: ModuleInfo,
    half: bool,
    subgroups: bool,
}

fn compile(dispatch: &Dispatch) -> Compiled {
    let kernel = &dispatch.kernel;
    let text = kernel.source();
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
    // Only the Subgroup kernel may use subgroups, and only f16 kernels may use half precision, because not all
    // adapters have them.
    let mut allowed = Capabilities::empty();
    let (half, subgroups) = (kernel.is_half(), kernel.entry.starts_with("subgroup"));
    allowed.set(Capabilities::SUBGROUP, subgroups);
    allowed.set(Capabilities::SHADER_FLOAT16, half);
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
    Compiled { module, info, half, subgroups }
}

fn within_limits(Compiled { module, info, .. }: &Compiled, name: &str) {
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

/// Checks that the struct in WGSL and the one in Rust have the same members at the same offsets, and the same size.
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
                // The table of multi-tensor SGD.
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

/// Checks that no two types differ only by name, as an alias and its target do: naga's writers treat them as different
/// types.
fn types_are_distinct(module: &Module, name: &str) {
    let mut seen = HashMap::new();
    for (handle, ty) in module.types.iter() {
        // Structs differ by their names.
        if !matches!(ty.inner, TypeInner::Struct { .. })
            && let Some(other) = seen.insert(plain(module, handle), handle)
        {
            let [a, b] = [other, handle].map(|h| module.types[h].name.as_deref().unwrap_or("no name"));
            panic!("{name}: one type is there twice, called {a} and {b}: write it out instead of an alias");
        }
    }
}

/// A type without the names that aliases give to it and to its components.
fn plain(module: &Module, ty: naga::Handle<naga::Type>) -> String {
    let ty_ = &module.types[ty];
    match &ty_.inner {
        TypeInner::Array { base, size, stride } => {
            format!("array {} {size:?} {stride}", plain(module, *base))
        }
        TypeInner::Pointer { base, space } => format!("pointer {} {space:?}", plain(module, *base)),
        TypeInner::Struct { .. } => format!("struct {:?}", ty_.name),
        inner => format!("{inner:?}"),
    }
}

/// Translates a kernel to all languages. Writes them to the folder for the compilers if there is one, otherwise
/// validates the SPIR-V.
fn languages(compiled: &Compiled, kernel: &Kernel, name: &str) {
    static VALID: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);
    let written = languages::write(compiled, name);
    for written in &written {
        if let Some(folder) = folder_for_compilers() {
            let (sub, extension) = written.language.folder();
            let checks = if written.checked { "checked" } else { "plain" };
            let folder = folder.join(sub);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("{}.{checks}.{extension}", id(kernel))), &written.bytes)
                .unwrap();
        } else if let Language::SpirV(major, minor) = written.language
            && *spirv_val::INSTALLED
            && VALID.lock().unwrap().insert(hash(written))
            && let Some(fault) = spirv_val::fault((major, minor), &written.bytes)
        {
            panic!("{name}, checked: {}, is invalid for Vulkan {major}.{minor}:\n{fault}", written.checked);
        }
    }
}

fn folder_for_compilers() -> Option<PathBuf> {
    std::env::var_os("OCELLI_TEST_SHADERS").map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

fn all_kernels() -> bool {
    std::env::var("OCELLI_TEST_SHADERS_ALL").is_ok_and(|v| v == "1")
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The name of the files of a kernel, without extension.
fn id(kernel: &Kernel) -> String {
    format!("{}-{}-{:016x}", kernel.name, kernel.entry, hash(kernel))
}

/// Runs all checks on the kernel of a dispatch. Kernels that were already checked are skipped. Every plan that a test
/// of an operation runs is checked here.
pub fn check(dispatch: &Dispatch) {
    static SEEN: LazyLock<Mutex<HashSet<Kernel>>> = LazyLock::new(Mutex::default);
    if !SEEN.lock().unwrap().insert(dispatch.kernel.clone()) {
        return;
    }
    let Kernel { name, constants, types, .. } = &dispatch.kernel;
    let name = format!("{name} {constants:?} {types:?}");
    let compiled = compile(dispatch);
    assert_eq!(compiled.module.entry_points.len(), 1, "{name}");
    types_are_distinct(&compiled.module, &name);
    languages(&compiled, &dispatch.kernel, &name);
    within_limits(&compiled, &name);
    same_params(&compiled, dispatch);
}

/// Calls `work` with all items, on as many threads as the machine can run in parallel.
fn side_by_side<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item)
                }
            });
        }
    });
}

/// Dispatches with distinct kernels. Sources are compared by address, because hashing them for each dispatch is slow.
#[derive(Default)]
struct Distinct(HashMap<KernelKey, Dispatch>);

type Named<T> = Vec<(&'static str, T)>;
type KernelKey = (&'static str, &'static str, Vec<usize>, Named<i32>, Named<&'static str>);

impl Distinct {
    fn add(&mut self, plans: &[Plan]) -> bool {
        let before = self.0.len();
        for dispatch in plans.iter().flat_map(Plan::dispatches) {
            let Kernel { name, sources, entry, constants, types, .. } = &dispatch.kernel;
            let texts = sources.iter().map(|text| text.as_ptr() as usize).collect();
            let key = (*name, *entry, texts, constants.clone(), types.clone());
            self.0.entry(key).or_insert_with(|| dispatch.clone());
        }
        self.0.len() > before
    }
}

/// The kernels that the heuristics choose, and those that a measurement may choose instead: both Winograd tiles, and
/// with `OCELLI_TEST_SHADERS_ALL=1` every GEMM kernel. The tests of operations run every GEMM kernel too.
fn kernels_of_the_networks(folder: Option<&Path>) -> Vec<Dispatch> {
    let (deep, others): (Vec<&Arch>, Vec<&Arch>) = ARCHS.iter().partition(|arch| DEEP.contains(&arch.name));
    let variants: Vec<_> = others.iter().flat_map(|a| [(*a, Precision::F32), (*a, Precision::F16)]).collect();
    let all: Mutex<Distinct> = Mutex::default();
    let planned: Mutex<Vec<(&Arch, Precision, [Plan; 2])>> = Mutex::default();
    // The kernels of each network, mode and kernel family, for the counts of scripts/check_shaders.sh.
    let lists: Mutex<BTreeMap<String, Vec<String>>> = Mutex::default();
    side_by_side(&variants, |(arch, precision)| {
        for product in PRODUCTS {
            let plans = plans(arch, *precision, &PlanOptions::new(product, WIDE));
            all.lock().unwrap().add(&plans);
            for (plan, mode) in plans.iter().zip(["training", "inference"]).filter(|_| folder.is_some()) {
                let list = format!("{}\t{mode}\t{product:?}\t{precision:?}", arch.name);
                let mut distinct = Distinct::default();
                distinct.add(std::slice::from_ref(plan));
                let ids = distinct.0.values().map(|d| id(&d.kernel)).collect();
                lists.lock().unwrap().insert(list, ids);
            }
            if product == KernelFamily::Subgroup {
                planned.lock().unwrap().push((arch, *precision, plans));
            }
        }
    });
    let mut all = all.into_inner().unwrap();
    for arch in deep.into_iter().filter(|_| all_kernels()) {
        let plans = plans(arch, Precision::F32, &PlanOptions::new(KernelFamily::Subgroup, WIDE));
        assert!(!all.add(&plans), "{} has kernels of its own: take it out of DEEP", arch.name);
    }
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).unwrap();
        let lists = lists.into_inner().unwrap();
        let lines = lists.iter().flat_map(|(list, ids)| ids.iter().map(move |id| format!("{list}\t{id}\n")));
        std::fs::write(folder.join("networks.tsv"), lines.collect::<String>()).unwrap();
    }
    // A network that adds no kernel with the heuristic adds none with other algorithms.
    let mut of_tables = Distinct::default();
    let mut planned = planned.into_inner().unwrap();
    planned.retain(|(_, _, plans)| of_tables.add(plans));
    let more: Mutex<Distinct> = Mutex::default();
    side_by_side(&planned, |(arch, precision, plans)| {
        let keys: Vec<_> = plans.iter().flat_map(|plan| plan.products().keys().copied()).collect();
        for way in Way::all().filter(|way| all_kernels() || matches!(way, Way::Winograd(_))) {
            let plans = forced(arch, *precision, way, &keys);
            more.lock().unwrap().add(&plans);
        }
    });
    all.0.extend(more.into_inner().unwrap().0);
    all.0.into_values().collect()
}

#[test]
fn every_kernel_of_the_networks_compiles_for_every_backend_within_the_limits() {
    if !*spirv_val::INSTALLED {
        skipped("spirv-val of every kernel", spirv_val::MISSING);
    }
    let dispatches = kernels_of_the_networks(folder_for_compilers().as_deref());
    println!("{} kernels with their constants", dispatches.len());
    assert!(dispatches.len() > 300, "only {} kernels were looked at", dispatches.len());
    side_by_side(&dispatches, check);
}
