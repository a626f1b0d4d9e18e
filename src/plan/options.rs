//! The inputs of a plan besides the graph.

use super::watchdog;
use crate::gpu::{Gpu, Limits};
use crate::kernels::{AlgorithmCache, KernelFamily, RecordOptions, WinogradMode};
use std::sync::Arc;

/// The inputs of a plan besides the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// The selection of kernels, and the adapter's limits.
    pub record: RecordOptions,
}

impl PlanOptions {
    /// The default options for a device. They leave out the kernels of [`Gpu::excluded`].
    pub fn for_gpu(gpu: &Gpu) -> Self {
        let mut options = Self::new(KernelFamily::for_adapter(gpu.info()), gpu.limits());
        options.record.call_macs = watchdog::call_macs(gpu.info().kind);
        options.record.cooperative = gpu.info().cooperative;
        options.record.excluded = gpu.excluded();
        options
    }

    /// The default options for a kernel family and given limits.
    pub fn new(family: KernelFamily, limits: Limits) -> Self {
        let busy_workgroups = match family {
            // One workgroup for each thread that llvmpipe uses at most. Twice as many gave weight gradients more sums
            // to add and no speed.
            KernelFamily::Direct | KernelFamily::Subgroup => 32,
            KernelFamily::Tiled => 1024,
        };
        Self {
            record: RecordOptions {
                family,
                limits,
                busy_workgroups,
                call_macs: u64::MAX,
                winograd: WinogradMode::Auto,
                cooperative: None,
                multi_tensor_sgd: true,
                largest_tile: u32::MAX,
                algorithms: Arc::default(),
                excluded: Arc::default(),
            },
        }
    }

    /// Limits the tile that the heuristic selects on processors, in `vec4`s of the result. Smaller tiles compile
    /// faster.
    #[must_use]
    pub fn with_largest_tile(mut self, tile: u32) -> Self {
        self.record.largest_tile = tile;
        self
    }

    /// Gives each tensor its own buffer and its own SGD dispatch. A second plan needs it to update the states of
    /// another plan's session.
    #[must_use]
    pub fn with_separate_sgd(mut self) -> Self {
        self.record.multi_tensor_sgd = false;
        self
    }

    /// Uses measured algorithms. The heuristic selects the algorithm of other problems.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: AlgorithmCache) -> Self {
        self.record.algorithms = Arc::new(algorithms);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Excluded;
    use crate::kernels::gemm::excluded::core_name;
    use crate::kernels::{Algorithm, ConvProblem, GemmKernel, Pass};
    use crate::tensor::Precision;

    const FAMILIES: [KernelFamily; 3] = [KernelFamily::Tiled, KernelFamily::Direct, KernelFamily::Subgroup];
    const SIZES: [([usize; 4], [usize; 4]); 3] = [
        ([8, 28, 28, 128], [3, 3, 128, 128]),
        ([3, 1, 1, 512], [1, 1, 512, 1000]),
        ([1, 5, 5, 4], [1, 1, 4, 8]),
    ];

    fn problems() -> Vec<ConvProblem> {
        let mut problems = Vec::new();
        for pass in [Pass::Forward, Pass::InputGrad, Pass::WeightGrad] {
            for precision in [Precision::F32, Precision::F16] {
                for (x, w) in SIZES {
                    let pad = [w[0] / 2; 2];
                    problems.push(ConvProblem { pass, x, w, stride: [1; 2], pad, groups: 1, precision });
                }
            }
        }
        problems
    }

    fn name_of(algorithm: Algorithm, problem: &ConvProblem) -> String {
        match algorithm.kernel() {
            Some(kernel) => core_name(&kernel, problem.pass, problem.precision),
            None => core_name(&algorithm, problem.pass, problem.precision),
        }
    }

    /// Excludes what is chosen until nothing is left.
    #[test]
    fn what_is_excluded_is_never_chosen_and_the_last_one_is_refused() {
        for (family, problem) in
            FAMILIES.into_iter().flat_map(|f| problems().into_iter().map(move |p| (f, p)))
        {
            let mut options = PlanOptions::new(family, Limits::WEBGPU).record;
            let mut excluded: Vec<String> = Vec::new();
            loop {
                let algorithm = options.heuristic(&problem);
                if options.check(algorithm, &problem).is_err() {
                    break;
                }
                let name = name_of(algorithm, &problem);
                assert!(!excluded.contains(&name), "{family:?} {problem}: {name} again");
                assert!(options.supports(algorithm, &problem), "{family:?} {problem}: {name}");
                let candidates = options.candidates(&problem);
                assert!(candidates.iter().all(|other| !excluded.contains(&name_of(*other, &problem))));
                excluded.push(name);
                options.excluded = Arc::new(excluded.iter().cloned().collect::<Excluded>());
                assert!(!options.supports(algorithm, &problem));
            }
            let is_own = |kernel: &GemmKernel| family == KernelFamily::Tiled || kernel.is_for_processors();
            let all =
                GemmKernel::all().filter(|kernel| kernel.cooperative_lanes().is_none() && is_own(kernel));
            let gemms = excluded.iter().filter(|name| !name.contains("winograd")).count();
            let fit = all.filter(|kernel| kernel.fits(family, &problem)).count();
            assert_eq!(gemms, fit, "{family:?} {problem}: {excluded:?}");
        }
    }

    #[test]
    fn winograd_needs_a_kernel_for_its_products() {
        for pass in [Pass::Forward, Pass::InputGrad, Pass::WeightGrad] {
            let problem = ConvProblem { pass, ..problems()[0] };
            let mut options = PlanOptions::new(KernelFamily::Direct, Limits::WEBGPU).record;
            options.winograd = WinogradMode::F2x2;
            let winograd = options.heuristic(&problem);
            assert!(matches!(winograd, Algorithm::Winograd { .. }));
            let all = GemmKernel::all().map(|kernel| core_name(&kernel, pass, Precision::F32));
            options.excluded = Arc::new(all.collect());
            assert!(!options.supports(winograd, &problem), "{pass:?}");
        }
    }
}
