//! The kernels of a network's plans, each once, with the multiply-adds that it computes.

use ocelli::error::Result;
use ocelli::gpu::{Kernel, Limits};
use ocelli::kernels::{Algorithm, AlgorithmCache, Dispatch, GemmKernel, KernelFamily};
use ocelli::models::{Arch, Mode};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::tensor::Precision;
use ocelli::train::{TrainingGraph, TrainingOptions};
use std::collections::HashMap;

/// Limits that a large batch fits without batch chunks.
const WIDE: Limits = Limits { binding_bytes: 1 << 40, buffer_bytes: 1 << 40 };

/// The plan that a kernel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Step {
    Train,
    Infer,
}

/// A kernel of a plan.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) kernel: Kernel,
    /// The number of its dispatches.
    pub(crate) uses: u32,
    /// The multiply-adds of all of its dispatches; 0 for a kernel that is no matrix product.
    pub(crate) macs: u64,
}

/// The multiply-adds of a matrix product, from its parameters (`shaders/conv2d.wgsl`): the rows and columns of c, and its
/// depth, which for the gradient of weights is the number of pixels. 0 for other kernels.
fn macs(dispatch: &Dispatch) -> u64 {
    let of = |name: &str| {
        let (_, at, _) = dispatch.fields.iter().find(|(field, ..)| *field == name)?;
        let bytes = dispatch.params.get(*at..*at + 4)?;
        Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)))
    };
    let pixels = dispatch.kernel.name.ends_with(".dw");
    let count = || {
        let depth = if pixels { of("pixels")? } else { 4 * of("segments")? * of("run4")? };
        Some(of("rows")? * 4 * of("cols4")? * of("groups")? * depth)
    };
    if dispatch.product { count().unwrap_or(0) } else { 0 }
}

/// The step of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) batch: usize,
    pub(crate) step: Step,
    pub(crate) precision: Precision,
    /// The kernel of every product that it can compute, instead of the heuristic's.
    pub(crate) gemm: Option<GemmKernel>,
}

/// The kernel of a name, such as `tiled 128x64`.
pub(crate) fn gemm(name: &str) -> std::result::Result<GemmKernel, String> {
    GemmKernel::all().find(|kernel| kernel.to_string() == name).ok_or_else(|| {
        let known: Vec<String> = GemmKernel::all().map(|kernel| format!("\"{kernel}\"")).collect();
        format!("no kernel is named {name:?}; the kernels are {}", known.join(", "))
    })
}

impl Wanted {
    fn plan(&self, arch: &Arch, options: &PlanOptions) -> Result<Plan> {
        let mut settings = arch.settings(self.batch);
        settings.precision = self.precision;
        match self.step {
            Step::Train => TrainingGraph::new(arch, &settings, TrainingOptions::default())?.plan(options),
            Step::Infer => {
                let network = arch.network(&settings, Mode::Inference)?;
                Plan::new(&network.graph, &[network.logits], options)
            }
        }
    }
}

/// The kernels of the step of a network, those with the most multiply-adds first.
pub(crate) fn of(arch: &str, wanted: Wanted) -> Result<Vec<Used>> {
    let arch = Arch::find(arch)?;
    let mut options = PlanOptions::new(KernelFamily::Tiled, WIDE);
    options.record.cooperative = wanted.gemm.and_then(|kernel| match kernel {
        GemmKernel::Cooperative { lanes, .. } => Some(lanes),
        _ => None,
    });
    let mut plan = wanted.plan(arch, &options)?;
    if let Some(kernel) = wanted.gemm {
        let mut algorithms = AlgorithmCache::default();
        for (problem, chosen) in plan.products() {
            let algorithm = match *chosen {
                Algorithm::SplitK { splits, k_chunk, .. } => Algorithm::SplitK { kernel, splits, k_chunk },
                Algorithm::Gemm(_) | Algorithm::Winograd { .. } => Algorithm::Gemm(kernel),
            };
            if options.record.supports(algorithm, problem) {
                algorithms.insert(*problem, algorithm);
            }
        }
        plan = wanted.plan(arch, &options.with_algorithms(algorithms))?;
    }
    let mut place = HashMap::new();
    let mut list: Vec<Used> = Vec::new();
    for dispatch in plan.dispatches() {
        let i = *place.entry(&dispatch.kernel).or_insert(list.len());
        if i == list.len() {
            list.push(Used { kernel: dispatch.kernel.clone(), uses: 0, macs: 0 });
        }
        list[i].uses += 1;
        list[i].macs += macs(dispatch);
    }
    list.sort_by_key(|used| std::cmp::Reverse(used.macs));
    Ok(list)
}
