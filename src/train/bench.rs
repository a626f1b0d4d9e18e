//! Measures a network on an adapter.

use super::{EvaluationStep, Hyper, TrainingOptions, TrainingStep, tune_inference, tune_training};
use crate::autotune::{Roofline, Tuner};
use crate::error::{Error, Result};
use crate::exchange::Model;
use crate::gpu::Gpu;
use crate::models::{Parameter, Settings};
use crate::plan::{KernelTime, LayerTime, Session};
use crate::tensor::Precision;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchMode {
    /// Forward.
    Infer,
    /// Forward, gradients, update.
    Train,
}

/// The measured figures. Field names are those of `ocelli bench --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The variant.
    pub arch: String,
    /// What was measured.
    pub mode: BenchMode,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Height and width of the input.
    pub size: usize,
    /// How activations lie in memory.
    pub precision: Precision,
    /// Measured steps, after two to warm up.
    pub steps: usize,
    /// Median time of a step, read-back of the result included.
    pub ms_median: f64,
    /// Shortest time of a step.
    pub ms_min: f64,
    /// Pictures a second at the median.
    pub images_per_s: f64,
    /// 2 x multiply-adds of all products a second at the median, in 10^9.
    pub gflops_per_s: f64,
    /// GPU memory of the plan.
    pub gpu_bytes: u64,
    /// Kernel calls in a step.
    pub dispatches: usize,
    /// From an open device to the end of the first step, with the choosing of kernels.
    pub first_step_ms: f64,
    /// The choosing of kernels.
    pub tune_ms: f64,
    /// The adapter.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// What the time of a step goes to, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Buffers that were made while the measured steps ran.
    #[serde(skip)]
    pub buffers_made: u64,
}

/// What the time of a step goes to, beside what the adapter can do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Measured in the same run.
    pub roofline: Roofline,
    /// GPU time of one step by kernel, slowest first.
    pub kernels: Vec<KernelTime>,
    /// The same time by layer.
    pub layers: Vec<LayerTime>,
}

impl Profile {
    /// GPU milliseconds of the step.
    pub fn ms(&self) -> f64 {
        self.kernels.iter().map(|k| k.ms).sum()
    }

    /// All products as one.
    pub fn products(&self) -> KernelTime {
        let all = KernelTime { name: "products", calls: 0, ms: 0.0, macs: 0, bytes: 0 };
        self.kernels.iter().filter(|k| k.macs > 0).fold(all, |sum, k| KernelTime {
            calls: sum.calls + k.calls,
            ms: sum.ms + k.ms,
            macs: sum.macs + k.macs,
            bytes: sum.bytes + k.bytes,
            ..sum
        })
    }
}

enum Step {
    Train(Box<TrainingStep>),
    Infer(Box<EvaluationStep>),
}

impl Step {
    fn session(&self) -> &Session {
        match self {
            Self::Train(step) => step.session(),
            Self::Infer(step) => step.session(),
        }
    }

    fn run(&self, pixels: &[u8], labels: &[u32]) -> Result<()> {
        match self {
            Self::Train(step) => {
                step.run(pixels, labels, &RATES)?;
                step.outcome()?;
            }
            Self::Infer(step) => {
                step.run(pixels, labels)?;
                // Not its logits, which are checked: those of first weights may overflow in half precision.
                step.outcome()?;
            }
        }
        Ok(())
    }
}

/// A rate so small that the weights stay in range however long it runs.
const RATES: Hyper = Hyper { lr: 1e-4, momentum: 0.9, weight_decay: 1e-4, noise: [1, 2, 3, 4] };

/// Measures a network on pixels that mean nothing, from the seeded first weights, for at least `time`; its kernels too where
/// `profile` says so.
///
/// # Errors
/// [`Error::Usage`] if the settings do not fit the network, [`Error::Gpu`] if it does not fit the adapter or a profile is
/// asked of one without timestamps.
pub fn measure(
    gpu: &Arc<Gpu>,
    model: &Model,
    settings: &Settings,
    mode: BenchMode,
    time: Duration,
    profile: bool,
    mut tuner: Tuner,
) -> Result<Measurement> {
    if profile && !gpu.info().timestamps {
        return Err(Error::gpu("the adapter cannot tell the time of a kernel: it has no timestamps")
            .hint("measure without --profile"));
    }
    let start = Instant::now();
    let training = TrainingOptions::default();
    match mode {
        BenchMode::Train => tune_training(&mut tuner, model.trainable()?, settings, training)?,
        BenchMode::Infer => tune_inference(&mut tuner, &model.network(settings)?)?,
    }
    let tune_ms = start.elapsed().as_secs_f64() * 1e3;
    let options = tuner.options();
    let step = match mode {
        BenchMode::Train => {
            let arch = model.trainable()?;
            Step::Train(Box::new(TrainingStep::planned(gpu, arch, settings, training, &options)?))
        }
        BenchMode::Infer => {
            let network = model.network(settings)?;
            Step::Infer(Box::new(EvaluationStep::of(gpu, network, settings.batch_size, None, &options)?))
        }
    };
    let write = |parameters: &mut dyn Iterator<Item = &Parameter>| -> Result<()> {
        for (i, p) in parameters.enumerate() {
            step.session().write(p.value, &p.initial(0, i, None))?;
        }
        Ok(())
    };
    match &step {
        Step::Train(step) => write(&mut step.parameters().iter().map(|t| &t.parameter))?,
        Step::Infer(step) => write(&mut step.parameters().iter())?,
    }
    let [h, w] = settings.size;
    let count = settings.batch_size * h * w * 4;
    let pixels: Vec<u8> = (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let labels: Vec<u32> = (0..settings.batch_size).map(|i| (i % settings.classes) as u32).collect();
    step.run(&pixels, &labels)?;
    let first_step_ms = start.elapsed().as_secs_f64() * 1e3;

    step.run(&pixels, &labels)?;
    let (buffers, _) = gpu.allocated();
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || (start.elapsed() < time && times.len() < 1000) {
        let begun = Instant::now();
        step.run(&pixels, &labels)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let buffers_made = gpu.allocated().0 - buffers;
    let profile = if profile { Some(self::profile(gpu, step.session())?) } else { None };
    times.sort_by(f64::total_cmp);
    let (Some(&ms_median), Some(&ms_min)) = (times.get(times.len() / 2), times.first()) else {
        return Err(Error::internal("nothing was measured"));
    };
    let flops = 2.0 * step.session().plan().macs() as f64;
    Ok(Measurement {
        arch: model.name().to_owned(),
        mode,
        batch_size: settings.batch_size,
        size: h,
        precision: settings.precision,
        steps: times.len(),
        ms_median,
        ms_min,
        images_per_s: settings.batch_size as f64 * 1e3 / ms_median,
        gflops_per_s: flops / ms_median / 1e6,
        gpu_bytes: step.session().plan().memory().total(),
        dispatches: step.session().plan().dispatches().len(),
        first_step_ms,
        tune_ms,
        adapter: gpu.info().name.clone(),
        driver: gpu.info().driver.clone(),
        profile,
        buffers_made,
    })
}

/// Steps whose kernels are timed; of each kernel the median counts.
const TIMED_STEPS: usize = 3;

fn profile(gpu: &Arc<Gpu>, session: &Session) -> Result<Profile> {
    // The roofline before and after, for processors that change their pace.
    let before = Roofline::measure(gpu)?;
    let mut runs = Vec::new();
    for _ in 0..TIMED_STEPS {
        runs.push(session.run_timed()?.ok_or_else(|| Error::internal("kernels were not timed"))?);
    }
    let dispatches = runs.iter().map(Vec::len).min().unwrap_or(0);
    let median = |i: usize| {
        let mut times: Vec<f64> = runs.iter().filter_map(|run| run.get(i).copied()).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(0.0)
    };
    let times: Vec<f64> = (0..dispatches).map(median).collect();
    let plan = session.plan();
    Ok(Profile {
        roofline: before.max(Roofline::measure(gpu)?),
        kernels: plan.by_kernel(&times),
        layers: plan.by_layer(&times),
    })
}
