//! The self-test of an adapter: every operation and every core of the matrix products that the adapter can run, on small integers
//! and odd shapes, against a reference on the processor. Most results must have the same bits.
//!
//! Drivers are known whose compilers make something wrong of a kernel. The self-test names such a kernel with the first wrong
//! number. [`Verdict::apply`] excludes it from all plans for a device:
//!
//! ```no_run
//! use ocelli::autotune::cache_folder;
//! use ocelli::gpu::{Gpu, GpuOptions};
//! use ocelli::selftest::{Extent, Verdict, run};
//! use std::sync::Arc;
//!
//! # fn main() -> ocelli::Result<()> {
//! let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
//! // What `ocelli selftest` has found on this adapter, or else what is found now.
//! let known = cache_folder().and_then(|folder| Verdict::read(gpu.info(), &folder));
//! let verdict = match known {
//!     Some(verdict) => verdict,
//!     None => run(&gpu, Extent::Quick, &mut |_| ())?.verdict(),
//! };
//! verdict.apply(&gpu);
//! # Ok(())
//! # }
//! ```

mod case;
mod normalisation;
mod operations;
mod optimiser;
mod products;
mod reference;
mod verdict;

pub use verdict::{Failure, Verdict};

use crate::error::{Error, Result};
use crate::gpu::{Gpu, Kernel, Stamp};
use crate::kernels::{GemmKernel, KernelFamily};
use crate::plan::{Plan, PlanOptions};
use crate::tensor::Precision;
use case::{Case, Setup, Wrong};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// How much is tested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// Each kernel that the adapter may get, on a few shapes. On a processor those for GPUs are left out.
    #[default]
    Quick,
    /// Each core on more shapes, and on a processor also those for GPUs, which takes minutes there.
    Full,
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The core or the operation.
    pub name: String,
    /// What was computed.
    pub case: String,
    /// The precision of the activations.
    pub precision: Precision,
    /// What is wrong: the first wrong number, or why the kernel does not run. `None` if all is right.
    pub fault: Option<String>,
    /// The kernels that are the reason.
    excluded: BTreeSet<String>,
}

/// What was not tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untested {
    /// The core or the operation.
    pub name: String,
    /// The precision of the activations.
    pub precision: Precision,
    /// Why the adapter does not run it.
    pub reason: &'static str,
}

/// The results of all cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// The extent that was tested.
    pub extent: Extent,
    /// One outcome for each case, those of a core or an operation one after the other.
    pub outcomes: Vec<Outcome>,
    /// What the adapter does not run.
    pub untested: Vec<Untested>,
    /// The number of different kernels, with their constants.
    pub kernels: usize,
}

/// A case with its plan.
struct Planned {
    case: Case,
    plan: Plan,
}

/// Tests an adapter. The outcomes do not depend on what is excluded from plans for the device. `observe` gets each outcome when it is
/// known.
///
/// # Errors
/// [`Error::Gpu`] if the device failed or its memory does not suffice. A wrong result, or a kernel that the driver refuses, is no
/// error but an outcome.
pub fn run(gpu: &Arc<Gpu>, extent: Extent, observe: &mut dyn FnMut(&Outcome)) -> Result<SelfTest> {
    let setups = setups(gpu);
    let planned = planned(&setups, extent)?;
    // Here nobody asks for the first kernel that does not compile: its case compiles it again and reports it.
    let kernels: HashSet<&Kernel> =
        planned.iter().flat_map(|p| p.plan.dispatches()).map(|d| &d.kernel).collect();
    let kernels = kernels.len();
    let stamp = Stamp::kernel();
    let all = planned.iter().flat_map(|p| p.plan.planned_kernels(&stamp));
    match pollster::block_on(gpu.compile_planned(all)) {
        Ok(()) | Err(Error::Internal(_)) => {}
        Err(error) => return Err(error),
    }
    let mut outcomes = Vec::with_capacity(planned.len());
    for Planned { case, plan } in planned {
        let outcome = outcome(gpu, case, plan)?;
        observe(&outcome);
        outcomes.push(outcome);
    }
    let untested = untested(gpu, &outcomes);
    Ok(SelfTest { extent, outcomes, untested, kernels })
}

/// The precisions that the device has.
fn setups(gpu: &Gpu) -> Vec<Setup> {
    let mut options = PlanOptions::for_gpu(gpu);
    options.record.excluded = Arc::default();
    let precisions = [Precision::F32, Precision::F16].into_iter();
    let possible = precisions.filter(|p| *p == Precision::F32 || gpu.check_half().is_ok());
    possible.map(|precision| Setup { options: options.clone(), precision }).collect()
}

fn planned(setups: &[Setup], extent: Extent) -> Result<Vec<Planned>> {
    let mut cases = products::cases(setups, extent == Extent::Full)?;
    cases.extend(operations::cases(setups)?);
    cases.into_iter().map(|case| case.plan().map(|plan| Planned { case, plan })).collect()
}

fn outcome(gpu: &Arc<Gpu>, case: Case, plan: Plan) -> Result<Outcome> {
    let wrong = match case.run(gpu, plan.clone()) {
        Ok(wrong) => wrong,
        Err(Error::Internal(report)) => {
            // An error that the device keeps would be that of every later case.
            gpu.flush()?;
            let what = format!("{}: {}", report.place, report.what);
            let kernels = case.blamed_for(&plan, &report.place);
            vec![Wrong { what, kernels }]
        }
        Err(error) => return Err(error),
    };
    let fault = wrong.first().map(|wrong| wrong.what.clone());
    let excluded = wrong.into_iter().flat_map(|wrong| wrong.kernels).collect();
    Ok(Outcome { name: case.row, case: case.what, precision: case.precision, fault, excluded })
}

/// The rows without a case in a precision, with the reason.
fn untested(gpu: &Gpu, outcomes: &[Outcome]) -> Vec<Untested> {
    let cores = GemmKernel::all().map(|kernel| (kernel.to_string(), Some(kernel)));
    let tested: HashSet<(&str, Precision)> =
        outcomes.iter().map(|outcome| (outcome.name.as_str(), outcome.precision)).collect();
    let mut names: Vec<(String, Option<GemmKernel>)> = cores.collect();
    for outcome in outcomes {
        if !names.iter().any(|(name, _)| *name == outcome.name) {
            names.push((outcome.name.clone(), None));
        }
    }
    let mut untested = Vec::new();
    for (name, kernel) in names {
        for precision in [Precision::F32, Precision::F16] {
            if !tested.contains(&(name.as_str(), precision)) {
                untested.push(Untested {
                    name: name.clone(),
                    precision,
                    reason: reason(gpu, kernel, precision),
                });
            }
        }
    }
    untested
}

fn reason(gpu: &Gpu, kernel: Option<GemmKernel>, precision: Precision) -> &'static str {
    let half = gpu.check_half().is_ok();
    match kernel {
        Some(GemmKernel::Cooperative { .. }) if precision == Precision::F32 => "it is for f16",
        Some(GemmKernel::Subgroup { .. })
            if KernelFamily::for_adapter(gpu.info()) != KernelFamily::Subgroup =>
        {
            "it is for processors with subgroups of eight lanes"
        }
        _ if precision == Precision::F16 && !half => "the device has no half precision",
        Some(kernel) if kernel.cooperative_lanes().is_none() && !kernel.is_for_processors() => {
            "it is for GPUs, and only the full test runs it on a processor"
        }
        Some(GemmKernel::Cooperative { .. }) => "the device has no cooperative matrices of this kind",
        _ => "all its numbers are f32",
    }
}

impl SelfTest {
    /// The outcomes that are faults.
    pub fn faults(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.fault.is_some())
    }

    /// The names of the cores and operations, each once, in the order of the cases; those without a case last.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let tested = self.outcomes.iter().map(|outcome| outcome.name.as_str());
        for name in tested.chain(self.untested.iter().map(|untested| untested.name.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn everything() -> (Gpu, Vec<Planned>) {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let planned = planned(&setups(&gpu), Extent::Full).unwrap();
        (gpu, planned)
    }

    /// The entries of all shaders below a folder, each with its file.
    fn entries(folder: &Path, into: &mut BTreeMap<String, String>) {
        for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.is_dir() {
                entries(&file, into);
            } else if file.extension().is_some_and(|e| e == "wgsl") {
                let text = fs::read_to_string(&file).unwrap();
                for (at, _) in text.match_indices("@compute") {
                    let name = text[at..].split_once("fn ").unwrap().1.split('(').next().unwrap();
                    into.insert(name.to_owned(), file.display().to_string());
                }
            }
        }
    }

    #[test]
    fn every_operation_has_a_case() {
        let (_, planned) = everything();
        for file in fs::read_dir(Path::new(ROOT).join("src/ops")).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            if name != "mod" {
                let found = planned.iter().any(|p| p.case.row == name);
                assert!(found, "src/ops/{name}.rs has no case in src/selftest/operations.rs");
            }
        }
    }

    #[test]
    fn every_kernel_has_a_case() {
        let (gpu, planned) = everything();
        let mut wanted = BTreeMap::new();
        entries(&Path::new(ROOT).join("shaders"), &mut wanted);
        assert!(wanted.len() > 50, "{wanted:?}");
        // It proves that a run was done, and is part of every run.
        wanted.remove("stamp");
        if KernelFamily::for_adapter(gpu.info()) != KernelFamily::Subgroup {
            wanted.retain(|entry, _| !entry.starts_with("subgroup"));
        }
        for dispatch in planned.iter().flat_map(|p| p.plan.dispatches()) {
            wanted.remove(dispatch.kernel.entry);
        }
        assert!(wanted.is_empty(), "no case of src/selftest runs these kernels: {wanted:?}");
    }

    #[test]
    fn every_core_that_fits_has_a_case_in_each_pass() {
        let (gpu, planned) = everything();
        let options = PlanOptions::for_gpu(&gpu).record;
        for kernel in GemmKernel::all().filter(|kernel| kernel.cooperative_lanes().is_none()) {
            for setup in setups(&gpu) {
                for pass in products::PASSES {
                    let here = |p: &&Planned| {
                        p.case.tested.is_some_and(|(problem, algorithm)| {
                            algorithm.kernel() == Some(kernel)
                                && problem.pass == pass
                                && problem.precision == setup.precision
                        })
                    };
                    let count = planned.iter().filter(here).count();
                    let fits = planned
                        .iter()
                        .filter_map(|p| p.case.tested)
                        .any(|(problem, _)| problem.pass == pass && options.has(kernel, &problem));
                    assert_eq!(count > 0, fits, "{kernel} {pass:?}");
                }
            }
        }
    }
}
