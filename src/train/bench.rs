//! Measures a network on an adapter.

use super::{
    EvaluationStep, Hyper, TrainingGraph, TrainingOptions, TrainingStep, tune_inference, tune_training,
};
use crate::autotune::{Roofline, Tuner};
use crate::error::{Error, Result};
use crate::exchange::Model;
use crate::gpu::Gpu;
use crate::models::Settings;
use crate::plan::{KernelTime, LayerTime, Session};
use crate::tensor::Precision;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The pass that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchMode {
    /// The forward pass.
    Infer,
    /// A training step: forward pass, gradients, updates.
    Train,
}

/// The result of a measurement. Field names are those of `ocelli bench --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The variant.
    pub arch: String,
    /// The pass that was measured.
    pub mode: BenchMode,
    /// Pictures in a step.
    pub batch_size: usize,
    /// Height and width of the input.
    pub size: usize,
    /// How activations are stored.
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
    /// Milliseconds from an open device to the end of the first step, with the selection of algorithms.
    pub first_step_ms: f64,
    /// Milliseconds of the selection of algorithms.
    pub tune_ms: f64,
    /// The adapter.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// The times of the kernels, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Buffers that were allocated while the measured steps ran.
    #[serde(skip)]
    pub buffers_made: u64,
}

/// The times of the kernels of a step, beside the roofline of the adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The roofline, measured in the same run.
    pub roofline: Roofline,
    /// GPU time of one step by kernel, slowest first.
    pub kernels: Vec<KernelTime>,
    /// GPU time of one step by layer.
    pub layers: Vec<LayerTime>,
}

impl Profile {
    /// GPU milliseconds of the step.
    pub fn ms(&self) -> f64 {
        self.kernels.iter().map(|k| k.ms).sum()
    }

    /// The sum over all products.
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

/// How [`measure`] measures.
///
/// ```
/// use ocelli::train::{BenchMode, BenchOptions};
/// use std::time::Duration;
///
/// let options = BenchOptions::new(BenchMode::Train).with_time(Duration::from_secs(1)).with_profile(true);
/// assert!(options.profile);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BenchOptions {
    /// The pass that is measured.
    pub mode: BenchMode,
    /// How long the step is repeated, but at least 5 and at most 1000 times.
    pub time: Duration,
    /// Whether each kernel is timed too.
    pub profile: bool,
}

impl BenchOptions {
    /// Five seconds without a profile.
    pub const fn new(mode: BenchMode) -> Self {
        Self { mode, time: Duration::from_secs(5), profile: false }
    }

    /// Sets [`BenchOptions::time`].
    #[must_use]
    pub const fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets [`BenchOptions::profile`].
    #[must_use]
    pub const fn with_profile(self, profile: bool) -> Self {
        Self { profile, ..self }
    }
}

/// Measures a network on meaningless pixels, with first weights.
///
/// # Errors
/// [`Error::Usage`] if the settings do not fit the network, [`Error::Gpu`] if it does not fit the adapter or a profile is
/// asked of one without timestamps.
pub fn measure(
    gpu: &Arc<Gpu>,
    model: &Model,
    settings: &Settings,
    options: BenchOptions,
    tuner: Tuner,
) -> Result<Measurement> {
    if options.profile && !gpu.info().timestamps {
        return Err(Error::gpu("the adapter cannot tell the time of a kernel: it has no timestamps")
            .hint("measure without --profile"));
    }
    let start = Instant::now();
    let (step, tune_ms) = Step::tuned(gpu, model, settings, options.mode, tuner)?;
    step.initialize()?;
    let batch = Batch::new(settings);
    step.run(&batch)?;
    let first_step_ms = ms_since(start);
    // A second step to warm up.
    step.run(&batch)?;
    let (buffers, _) = gpu.allocated();
    let times = sorted_times(&step, &batch, options.time)?;
    let buffers_made = gpu.allocated().0 - buffers;
    let profile = if options.profile { Some(profile(gpu, step.session())?) } else { None };
    let (Some(&ms_median), Some(&ms_min)) = (times.get(times.len() / 2), times.first()) else {
        return Err(Error::internal("nothing was measured"));
    };
    let plan = step.session().plan();
    Ok(Measurement {
        arch: model.name().to_owned(),
        mode: options.mode,
        batch_size: settings.batch_size,
        size: settings.size[0],
        precision: settings.precision,
        steps: times.len(),
        ms_median,
        ms_min,
        images_per_s: settings.batch_size as f64 * 1e3 / ms_median,
        gflops_per_s: 2.0 * plan.macs() as f64 / ms_median / 1e6,
        gpu_bytes: plan.memory().total(),
        dispatches: plan.dispatches().len(),
        first_step_ms,
        tune_ms,
        adapter: gpu.info().name.clone(),
        driver: gpu.info().driver.clone(),
        profile,
        buffers_made,
    })
}

/// The step that is measured.
enum Step {
    Train(Box<TrainingStep>),
    Infer(Box<EvaluationStep>),
}

impl Step {
    /// The step with selected algorithms, and the milliseconds that their selection took.
    fn tuned(
        gpu: &Arc<Gpu>,
        model: &Model,
        settings: &Settings,
        mode: BenchMode,
        mut tuner: Tuner,
    ) -> Result<(Self, f64)> {
        let start = Instant::now();
        match mode {
            BenchMode::Train => {
                let graph = TrainingGraph::new(model.trainable()?, settings, TrainingOptions::default())?;
                tune_training(&mut tuner, &graph)?;
                let tune_ms = ms_since(start);
                let step = TrainingStep::of_graph(gpu, graph, &tuner.options())?;
                Ok((Self::Train(Box::new(step)), tune_ms))
            }
            BenchMode::Infer => {
                let network = model.network(settings)?;
                tune_inference(&mut tuner, &network)?;
                let tune_ms = ms_since(start);
                let step = EvaluationStep::of(gpu, network, settings.batch_size, None, &tuner.options())?;
                Ok((Self::Infer(Box::new(step)), tune_ms))
            }
        }
    }

    fn session(&self) -> &Session {
        match self {
            Self::Train(step) => step.session(),
            Self::Infer(step) => step.session(),
        }
    }

    /// Writes the first weights.
    fn initialize(&self) -> Result<()> {
        match self {
            Self::Train(step) => step.initialize(SEED, None),
            Self::Infer(step) => step
                .parameters()
                .iter()
                .enumerate()
                .try_for_each(|(i, p)| step.session().write(p.value, &p.initial(SEED, i, None))),
        }
    }

    /// Runs the step and reads its outcome.
    fn run(&self, batch: &Batch) -> Result<()> {
        match self {
            Self::Train(step) => {
                step.run(&batch.pixels, &batch.labels, &HYPER)?;
                step.outcome()?;
            }
            Self::Infer(step) => {
                step.run(&batch.pixels, &batch.labels)?;
                // Reading logits would check them, and those of first weights may overflow in half precision.
                step.outcome()?;
            }
        }
        Ok(())
    }
}

/// The seed of the first weights.
const SEED: u64 = 0;

/// The learning rate is so small that the weights stay in range however long the step is repeated.
const HYPER: Hyper =
    Hyper { lr: 1e-4, momentum: 0.9, weight_decay: 1e-4, average_share: 1e-3, noise: [1, 2, 3, 4] };

/// Meaningless pixels and labels.
struct Batch {
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Batch {
    fn new(settings: &Settings) -> Self {
        let [h, w] = settings.size;
        let bytes = (settings.batch_size * h * w * 4) as u32;
        Self {
            pixels: (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
            labels: (0..settings.batch_size).map(|i| (i % settings.classes) as u32).collect(),
        }
    }
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The milliseconds of repeated steps, shortest first.
fn sorted_times(step: &Step, batch: &Batch, time: Duration) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || (start.elapsed() < time && times.len() < 1000) {
        let begun = Instant::now();
        step.run(batch)?;
        times.push(ms_since(begun));
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// The number of steps whose kernels are timed. The profile has the median time of each kernel.
const TIMED_STEPS: usize = 3;

fn profile(gpu: &Arc<Gpu>, session: &Session) -> Result<Profile> {
    // The roofline is measured before and after, because processors change their clock rate.
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
