//! The memory of a run, estimated before any of it is allocated.

use super::disk::{Observe, report};
use super::job::Job;
use super::{BatchSize, Event};
use crate::error::{Error, Result};
use crate::gpu::{AdapterKind, Gpu};
use crate::models::{Mode, Settings};
use crate::plan::{Memory, Plan, PlanOptions};

/// The largest batch size that is tried.
const MAX_BATCH_SIZE: usize = 4096;

/// The memory of a training run: that of the training step, and of the evaluation step that shares its parameters.
fn memory(job: &Job, settings: &Settings, options: &PlanOptions) -> Result<Memory> {
    let mut memory = job.graph(settings)?.memory(options)?;
    let network = job.arch.network(settings, Mode::Inference)?;
    let evaluation = Plan::new(&network.graph, &[network.logits], options)?.memory();
    memory.activations += evaluation.activations;
    memory.workspace += evaluation.workspace;
    memory.transfer += evaluation.transfer;
    if job.config.ema_decay.is_some() {
        memory.parameters += evaluation.parameters;
    }
    Ok(memory)
}

/// The memory of a run, which must be within the budget.
///
/// # Errors
/// [`Error::Gpu`] with the numbers and what helps if it is not, or if something does not fit the adapter.
pub(super) fn check(job: &Job, settings: &Settings, options: &PlanOptions) -> Result<Memory> {
    let memory = memory(job, settings, options)?;
    match job.config.memory_budget {
        Some(budget) if memory.total() > budget => Err(over(job, settings.batch_size, memory, budget)),
        _ => Ok(memory),
    }
}

fn over(job: &Job, batch_size: usize, memory: Memory, budget: u64) -> Error {
    let recompute = if job.config.recompute { "" } else { " or --recompute" };
    Error::out_of_memory(format!(
        "a batch of {batch_size} takes {memory}, and the budget is {:.1} MiB",
        mib(budget)
    ))
    .at(job.arch.name)
    .hint(format!(
        "use a smaller --batch-size{recompute}; --accumulate keeps the number of pictures in a step"
    ))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The part of an adapter's memory that a run may take without being told. Displays and other programs have the rest: much of it where the
/// memory is that of the system.
fn free(gpu: &Gpu) -> Option<u64> {
    let share = |memory: u64| match gpu.info().kind {
        AdapterKind::Discrete => memory / 5 * 4,
        _ => memory / 2,
    };
    gpu.memory().map(share)
}

/// The batch size: the requested one, or the largest one of at most `most` that fits the budget. Without a budget that is a part of what
/// the adapter has. `settings` holds everything else.
///
/// # Errors
/// [`Error::Usage`] if there is no budget and the adapter does not tell its memory, [`Error::Gpu`] if not even one picture fits it, [`Error::Stopped`] if `observe` asked
/// for it.
pub(super) fn batch_size(
    job: &Job,
    settings: &Settings,
    most: usize,
    observe: &mut Observe,
) -> Result<usize> {
    if let BatchSize::Fixed(n) = job.config.batch_size {
        return Ok(n);
    }
    let budget = job.config.memory_budget.or_else(|| free(job.gpu)).ok_or_else(|| {
        Error::usage("--batch-size auto needs to know how much memory it may take, and the adapter does not tell what it has")
            .hint("say so with --memory-budget, as in --memory-budget 4G")
    })?;
    let options = PlanOptions::for_gpu(job.gpu);
    let of = |n: usize| memory(job, &Settings { batch_size: n, ..*settings }, &options);
    let mut fits = |n: usize| -> Result<bool> {
        report(observe, Event::Waiting)?;
        Ok(of(n).is_ok_and(|m| m.total() <= budget))
    };
    let most = (most / job.config.accumulate.max(1)).clamp(1, MAX_BATCH_SIZE);
    let two = 2.min(most);
    let two_fit = fits(two)?;
    // A batch of one may fail for a reason other than memory. That reason is the error then.
    if !two_fit && !fits(1)? {
        return Err(over(job, 1, of(1)?, budget));
    }
    let (mut low, mut high) = (if two_fit { two } else { 1 }, most + 1);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if fits(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}
