//! `ocelli bench`

use super::averages::OutputArgs;
use super::tuning::TuneArgs;
use super::{Global, PrecisionArg, positive, print, print_json};
use crate::error::{Error, Result};
use crate::exchange::{Model, ModelFile, OpenOptions};
use crate::models::{Arch, Settings};
use crate::plan::KernelTime;
use crate::tensor::Precision;
use crate::train::{BenchMode, BenchOptions, Measurement, Profile, measure};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// The network (see `ocelli show`)
    #[arg(long, value_name = "A", required_unless_present = "weights")]
    arch: Option<String>,
    /// The network of this file (safetensors, PyTorch or ONNX); its numbers do not matter
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long, requires = "weights")]
    external_data: bool,
    #[command(flatten)]
    output_of_graph: OutputArgs,
    /// What to measure
    #[arg(long, value_enum)]
    mode: Mode,
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
    /// One JSON object
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

pub(super) fn run(args: &BenchArgs, global: &Global) -> Result<()> {
    let (model, mut settings) = network(args, global)?;
    settings.size = args.size.map_or(settings.size, |s| [s; 2]);
    settings.precision = args.precision.into();
    let mode = match args.mode {
        Mode::Infer => BenchMode::Infer,
        Mode::Train => BenchMode::Train,
    };
    let gpu = global.open()?;
    let mut notices = args.tune.notices(global);
    let tuner = args.tune.tuner(&gpu, &mut notices);
    let time = Duration::from_secs_f64(args.seconds);
    let options = BenchOptions::new(mode).with_time(time).with_profile(args.profile.is_some());
    let measurement = measure(&gpu, &model, &settings, options, tuner)?;
    if measurement.buffers_made > 0 {
        let buffers = measurement.buffers_made;
        return Err(Error::internal(format!("{buffers} buffers were made after the first step")));
    }
    if args.json {
        return print_json(&measurement);
    }
    print_summary(&measurement)?;
    let Some(profile) = &measurement.profile else { return Ok(()) };
    match args.profile {
        Some(By::Layers) => layers(profile)?,
        _ => kernels(profile)?,
    }
    print_products(profile)
}

/// The network that the flags name, and its settings.
fn network(args: &BenchArgs, global: &Global) -> Result<(Model, Settings)> {
    let Some(path) = &args.weights else {
        if args.output_of_graph.name().is_some() {
            return Err(Error::usage("--output names an output of a file, and no file is given")
                .hint("add --weights, or leave out --output"));
        }
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

/// Prints the rate of all products beside that of the best one.
fn print_products(profile: &Profile) -> Result<()> {
    let (products, roofline) = (profile.products(), profile.roofline);
    print(&format!(
        "products: {:.1} GFLOP/s, {:.0}% of the best matrix product here ({:.1} GFLOP/s); the rest takes {:.0}% of the step",
        products.gflops_per_s().unwrap_or(0.0),
        100.0 * roofline.reached_by(&products),
        roofline.gflops_per_s,
        100.0 * (1.0 - products.ms / profile.ms().max(1e-9))
    ))
}

/// Prints the layers of a step in order: the rates of the three products of each, and the time of everything else.
fn layers(profile: &Profile) -> Result<()> {
    let total = profile.ms().max(1e-9);
    print(&format!(
        "{:<28} {:>10} {:>7} {:>9} {:>9} {:>9} {:>10}",
        "layer", "ms", "share", "y GFLOP/s", "dx", "dw", "rest ms"
    ))?;
    for l in &profile.layers {
        let rate = |suffix: &str| {
            let product = l.kernels.iter().find(|k| k.macs > 0 && k.name.ends_with(suffix));
            product.and_then(KernelTime::gflops_per_s).map_or("-".to_owned(), |rate| format!("{rate:.1}"))
        };
        let rest: f64 = l.kernels.iter().filter(|k| k.macs == 0).map(|k| k.ms).sum();
        print(&format!(
            "{:<28} {:>10.3} {:>6.1}% {:>9} {:>9} {:>9} {rest:>10.3}",
            if l.layer.is_empty() { "-" } else { &l.layer },
            l.ms(),
            100.0 * l.ms() / total,
            rate(".y"),
            rate(".dx"),
            rate(".dw")
        ))?;
    }
    Ok(())
}

/// Prints the kernels of a step, slowest first.
fn kernels(profile: &Profile) -> Result<()> {
    let total = profile.ms().max(1e-9);
    print(&format!(
        "{:<28} {:>6} {:>10} {:>7} {:>9} {:>8} {:>11}",
        "kernel", "calls", "ms", "share", "GFLOP/s", "GB/s", "of ceiling"
    ))?;
    for k in &profile.kernels {
        print(&format!(
            "{:<28} {:>6} {:>10.3} {:>6.1}% {:>9} {:>8.1} {:>10.0}%",
            k.name,
            k.calls,
            k.ms,
            100.0 * k.ms / total,
            k.gflops_per_s().map_or("-".to_owned(), |rate| format!("{rate:.1}")),
            k.gbytes_per_s(),
            100.0 * profile.roofline.reached_by(k)
        ))?;
    }
    print(&format!(
        "what is no product is held against the best copy here ({:.1} GB/s read and written)",
        profile.roofline.gbytes_per_s
    ))
}
