//! `ocelli bench`

mod loader;
mod profile;
mod report;

use super::averages::OutputArgs;
use super::tuning::{TuneArgs, Tuned};
use super::{Global, PrecisionArg, positive, print, print_json};
use crate::error::{Error, Result};
use crate::exchange::{Model, ModelFile, OpenOptions};
use crate::gpu::Gpu;
use crate::models::{Arch, Settings};
use crate::tensor::Precision;
use crate::train::{BenchMode, BenchOptions, Measurement, measure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// The network (see `ocelli show`)
    #[arg(long, value_name = "A", required_unless_present_any = ["weights", "report", "loader"])]
    arch: Option<String>,
    /// The network of this file (safetensors, PyTorch or ONNX); its numbers do not matter
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long, requires = "weights")]
    external_data: bool,
    #[command(flatten)]
    output_of_graph: OutputArgs,
    /// What to measure; a report has both if this is left out
    #[arg(long, value_enum, required_unless_present_any = ["report", "loader"])]
    mode: Option<Mode>,
    /// Pictures in a step
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = positive)]
    batch_size: usize,
    /// Height and width of the input
    #[arg(long, value_name = "S", value_parser = positive)]
    size: Option<usize>,
    /// How activations lie in memory; f16 takes half as much and rounds them to 11 bits, for adapters that have it
    #[arg(long, value_enum, value_name = "P", default_value = "f32")]
    precision: PrecisionArg,
    /// Say what the time of a step goes to, by kernel or by layer, beside the best product and the best copy of this
    /// adapter, which are measured too
    #[arg(long, value_enum, value_name = "BY", num_args = 0..=1, require_equals = true, default_missing_value = "kernels")]
    profile: Option<By>,
    /// How long to repeat the step, but five times at least and a thousand times at most
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    #[command(flatten)]
    tune: TuneArgs,
    #[command(flatten)]
    loader: loader::LoaderArgs,
    /// Write a table in Markdown for others to read: the adapter, the protocol, and the speed of a network in training
    /// and inference; without --arch and --weights, of one network or two of each family for large pictures
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave out of the report what would take longer, the most work first; the report names it [default: 300 without
    /// --arch and --weights, otherwise no limit]
    #[arg(long, value_name = "S", requires = "report", value_parser = seconds, allow_negative_numbers = true)]
    time_limit: Option<f64>,
    /// One JSON object, or one for each measurement of a report
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Infer,
    Train,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Kernels,
    Layers,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let fits = |s: &f64| (0.0..=3600.0).contains(s);
    text.parse().ok().filter(fits).ok_or_else(|| "give a number of seconds from 0 to 3600".to_owned())
}

/// What is measured: a network, its settings and the pass.
struct Case {
    model: Model,
    settings: Settings,
    mode: BenchMode,
}

impl BenchArgs {
    /// The network that the flags name, in one pass.
    fn case(&self, model: Model, settings: Settings, mode: Mode) -> Case {
        let size = self.size.map_or(settings.size, |s| [s; 2]);
        Case {
            model,
            settings: Settings { size, precision: self.precision.into(), ..settings },
            mode: mode.into(),
        }
    }
}

impl From<Mode> for BenchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Infer => Self::Infer,
            Mode::Train => Self::Train,
        }
    }
}

/// A measurement, and what was measured to choose its kernels.
#[derive(Serialize)]
struct Outcome {
    #[serde(flatten)]
    measurement: Measurement,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tuned: Vec<Tuned>,
}

pub(super) fn run(args: &BenchArgs, global: &Global) -> Result<()> {
    if let Some(data) = &args.loader.loader {
        return loader::run(args, global, data);
    }
    if args.weights.is_none() && args.output_of_graph.name().is_some() {
        return Err(Error::usage("--output names an output of a file, and no file is given")
            .hint("add --weights, or leave out --output"));
    }
    if let Some(file) = &args.report {
        return report::run(args, global, file);
    }
    let (model, settings) = network(args, global)?;
    let mode = args
        .mode
        .ok_or_else(|| Error::usage("--mode is missing").hint("give --mode infer or --mode train"))?;
    let case = args.case(model, settings, mode);
    let gpu = global.open()?;
    print_outcome(args, &outcome(args, global, &gpu, &case)?)
}

/// Measures a case.
fn outcome(args: &BenchArgs, global: &Global, gpu: &Arc<Gpu>, case: &Case) -> Result<Outcome> {
    let mut tuned = Vec::new();
    let mut notices = args.tune.collecting(global, &mut tuned);
    let tuner = args.tune.tuner(gpu, &mut notices);
    let time = Duration::from_secs_f64(args.seconds);
    let options = BenchOptions::new(case.mode).with_time(time).with_profile(args.profile.is_some());
    let measurement = measure(gpu, &case.model, &case.settings, options, tuner)?;
    drop(notices);
    if measurement.buffers_made > 0 {
        let buffers = measurement.buffers_made;
        return Err(Error::internal(format!("{buffers} buffers were made after the first step")));
    }
    Ok(Outcome { measurement, tuned })
}

fn print_outcome(args: &BenchArgs, outcome: &Outcome) -> Result<()> {
    if args.json {
        return print_json(outcome);
    }
    let measurement = &outcome.measurement;
    print_summary(measurement)?;
    let Some(profile) = &measurement.profile else { return Ok(()) };
    let (table, below) = profile::tables(profile, args.profile.unwrap_or(By::Kernels));
    table.lines().iter().chain(&below).try_for_each(|line| print(line))
}

/// The network that the flags name, and its settings.
fn network(args: &BenchArgs, global: &Global) -> Result<(Model, Settings)> {
    let Some(path) = &args.weights else {
        let arch = Arch::find(args.arch.as_deref().unwrap_or_default())?;
        return Ok((Model::Arch(arch), arch.settings(args.batch_size)));
    };
    let options = OpenOptions {
        arch: args.arch.as_deref(),
        external_data: args.external_data,
        output: args.output_of_graph.name(),
        ..OpenOptions::default()
    };
    let file = ModelFile::open(path, options)?;
    file.notes.iter().for_each(|note| global.say(super::advice::named(note)));
    let settings = file.settings(args.batch_size);
    Ok((file.model, settings))
}

fn print_summary(m: &Measurement) -> Result<()> {
    print(&format!(
        "{} {} batch {} at {}x{}{}: {:.2} ms a step (best {:.2}, {} steps), {:.1} images/s, {:.1} GFLOP/s",
        m.arch,
        if m.mode == BenchMode::Train { "train" } else { "infer" },
        m.batch_size,
        m.size,
        m.size,
        if m.precision == Precision::F16 { " in f16" } else { "" },
        m.ms_median,
        m.ms_min,
        m.steps,
        m.images_per_s,
        m.gflops_per_s
    ))?;
    print(&format!(
        "{:.1} MiB of GPU memory, {} dispatches, first step after {:.0} ms, {:.0} of them to choose kernels",
        m.gpu_bytes as f64 / f64::from(1 << 20),
        m.dispatches,
        m.first_step_ms,
        m.tune_ms
    ))
}
