//! How much memory a run takes, before any of it is taken.

use super::{BatchSize, Config, TrainingGraph, TrainingOptions};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::models::{Arch, Mode, Settings};
use crate::plan::{Memory, Plan, PlanOptions};

/// The largest batch that is looked at.
const MOST: usize = 4096;

/// The memory of a training run: the training step, and the evaluation step beside it on the same parameters.
fn memory(options: &PlanOptions, arch: &Arch, settings: &Settings, config: &Config) -> Result<Memory> {
    let training = TrainingOptions { accumulate: config.accumulate.max(1), recompute: config.recompute };
    let mut memory = TrainingGraph::new(arch, settings, training)?.memory(options)?;
    let network = arch.network(settings, Mode::Inference)?;
    let evaluation = Plan::new(&network.graph, &[network.logits], options)?.memory();
    memory.activations += evaluation.activations;
    memory.workspace += evaluation.workspace;
    memory.transfer += evaluation.transfer;
    Ok(memory)
}

/// The memory of a run, which must be within the budget.
///
/// # Errors
/// [`Error::Gpu`] with the numbers and what helps if it is not, or if something does not fit the adapter.
pub(super) fn check(
    options: &PlanOptions,
    arch: &Arch,
    settings: &Settings,
    config: &Config,
) -> Result<Memory> {
    let memory = memory(options, arch, settings, config)?;
    match config.memory_budget {
        Some(budget) if memory.total() > budget => {
            Err(over(arch, settings.batch_size, memory, budget, config))
        }
        _ => Ok(memory),
    }
}

fn over(arch: &Arch, batch_size: usize, memory: Memory, budget: u64, config: &Config) -> Error {
    let recompute = if config.recompute { "" } else { " or --recompute" };
    Error::out_of_memory(format!(
        "a batch of {batch_size} takes {memory}, and the budget is {:.1} MiB",
        mib(budget)
    ))
    .at(arch.name)
    .hint(format!(
        "use a smaller --batch-size{recompute}; --accumulate keeps the number of pictures in a step"
    ))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The number of pictures in a batch: the one that was asked for, or the largest one of at most `most` that fits the
/// budget. `settings` holds everything else.
///
/// # Errors
/// [`Error::Usage`] if there is no budget, [`Error::Gpu`] if not even one picture fits it.
pub(super) fn batch_size(
    gpu: &Gpu,
    arch: &Arch,
    settings: &Settings,
    config: &Config,
    most: usize,
) -> Result<usize> {
    let (BatchSize::Auto, budget) = (config.batch_size, config.memory_budget) else {
        let BatchSize::Fixed(n) = config.batch_size else { return Err(Error::internal("no batch size")) };
        return Ok(n);
    };
    let budget = budget.ok_or_else(|| {
        Error::usage("--batch-size auto needs to know how much memory it may take")
            .hint("say so with --memory-budget, as in --memory-budget 4G")
    })?;
    let options = PlanOptions::for_gpu(gpu);
    let of = |n: usize| memory(&options, arch, &Settings { batch_size: n, ..*settings }, config);
    let fits = |n: usize| of(n).is_ok_and(|m| m.total() <= budget);
    let most = (most / config.accumulate.max(1)).clamp(1, MOST);
    // A batch of one may make no sense for other reasons, which then are the error.
    if !fits(1) && !fits(2.min(most)) {
        return Err(over(arch, 1, of(1)?, budget, config));
    }
    let (mut low, mut high) = (if fits(2.min(most)) { 2.min(most) } else { 1 }, most + 1);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle) { low = middle } else { high = middle }
    }
    Ok(low)
}
