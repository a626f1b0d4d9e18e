//! `ocelli bench`

use super::{Global, print, print_json};
use crate::error::{Error, Result};
use crate::models::Arch;
use crate::train::{BenchMode, measure};
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Args)]
pub(super) struct BenchArgs {
    /// The network
    #[arg(long, value_name = "A")]
    arch: String,
    /// What to measure
    #[arg(long, value_enum)]
    mode: Mode,
    /// Pictures in a step
    #[arg(long, value_name = "B", default_value_t = 32)]
    batch_size: usize,
    /// Height and width of the input
    #[arg(long, value_name = "S")]
    size: Option<usize>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Infer,
    Train,
}

pub(super) fn run(args: &BenchArgs, global: &Global) -> Result<()> {
    let arch = Arch::find(&args.arch)?;
    let mut settings = arch.settings(args.batch_size);
    settings.size = args.size.map_or(settings.size, |s| [s; 2]);
    let mode = match args.mode {
        Mode::Infer => BenchMode::Infer,
        Mode::Train => BenchMode::Train,
    };
    let gpu = global.open()?;
    let m = measure(&gpu, arch, &settings, mode, Duration::from_secs(5))?;
    if m.buffers_made > 0 {
        return Err(Error::internal(format!("{} buffers were made after the first step", m.buffers_made)));
    }
    if let Some(kernels) = &m.kernels {
        let total: f64 = kernels.iter().map(|k| k.ms).sum();
        global.say(format!("{:<28} {:>6} {:>10} {:>7}", "kernel", "calls", "ms", "share"));
        for k in kernels {
            let share = 100.0 * k.ms / total.max(1e-9);
            global.say(format!("{:<28} {:>6} {:>10.3} {share:>6.1}%", k.name, k.calls, k.ms));
        }
    }
    if args.json {
        return print_json(&m);
    }
    print(&format!(
        "{} {} batch {} at {}x{}: {:.2} ms a step (best {:.2}, {} steps), {:.1} images/s, {:.1} GFLOP/s",
        m.arch,
        if m.mode == BenchMode::Train { "train" } else { "infer" },
        m.batch_size,
        m.size,
        m.size,
        m.ms_median,
        m.ms_min,
        m.steps,
        m.images_per_s,
        m.gflops_per_s
    ))?;
    print(&format!(
        "{:.1} MiB of GPU memory, {} dispatches, first step after {:.0} ms",
        m.gpu_bytes as f64 / f64::from(1 << 20),
        m.dispatches,
        m.first_step_ms
    ))
}
