//! `ocelli bench --report`: the speed of an adapter as a page of Markdown that people can send.

use super::{BenchArgs, By, Case, Mode, Outcome, network, outcome, print_outcome, profile};
use crate::autotune::{Roofline, Tune};
use crate::cli::table::{Cell, Table};
use crate::cli::{Global, LimitsArg, PrecisionArg, advice, grouped, page, tell};
use crate::error::{Error, Result, Untrusted};
use crate::exchange::Model;
use crate::gpu::Gpu;
use crate::models::Arch;
use crate::train::{BenchMode, Measurement};
use crate::weights::write_atomically;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The networks of a report that names none.
const NETWORKS: [&str; 6] = ["alexnet", "zfnet", "vgg16", "googlenet", "resnet18", "resnet50"];
/// Seconds for all of them.
const TIME_LIMIT: f64 = 300.0;
/// The steps that a measurement takes at least, two to warm up included.
const STEPS: f64 = 7.0;
/// The share of the best product that a step is expected to reach, to tell beforehand how long it takes.
const EXPECTED: f64 = 0.5;

/// What became of a case.
enum State {
    /// Its turn has not come. A file that says so was left behind by a program that ended early.
    Waiting,
    Measured(Box<Outcome>),
    Failed(Error),
    LeftOut(String),
}

struct Row {
    case: Case,
    state: State,
}

struct Report<'a> {
    args: &'a BenchArgs,
    global: &'a Global,
    gpu: Arc<Gpu>,
    roofline: Roofline,
    rows: Vec<Row>,
}

/// Measures the cases, those with the least work first, and writes the file after each.
pub(super) fn run(args: &BenchArgs, global: &Global, file: &Path) -> Result<()> {
    page::check(file)?;
    let cases = cases(args, global)?;
    let limit =
        args.time_limit.or_else(|| (args.arch.is_none() && args.weights.is_none()).then_some(TIME_LIMIT));
    let gpu = global.open()?;
    let start = Instant::now();
    let roofline = Roofline::measure(&gpu)?;
    let mut order: Vec<(usize, f64)> =
        cases.iter().map(|case| seconds_of(case, roofline)).enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let rows = cases.into_iter().map(|case| Row { case, state: State::Waiting }).collect();
    let mut report = Report { args, global, gpu, roofline, rows };
    for (number, (i, seconds)) in (1..).zip(&order) {
        let Some(Row { case, .. }) = report.rows.get(*i) else { continue };
        let state = match limit.and_then(|limit| too_long(start.elapsed().as_secs_f64(), *seconds, limit)) {
            Some(reason) => State::LeftOut(reason),
            None => {
                global.say(format!(
                    "{} of {}: {} {}",
                    number,
                    order.len(),
                    case.model.name(),
                    pass(case.mode)
                ));
                report.measure(case)?
            }
        };
        if let Some(row) = report.rows.get_mut(*i) {
            row.state = state;
        }
        report.write(file)?;
    }
    // Processors change their clock rate. A device that was lost meanwhile has failed in one of the rows.
    if let Ok(after) = Roofline::measure(&report.gpu) {
        report.roofline = roofline.max(after);
        report.write(file)?;
    }
    report.end(file)
}

/// What the flags ask for, in the order of the table.
fn cases(args: &BenchArgs, global: &Global) -> Result<Vec<Case>> {
    let networks = if args.arch.is_none() && args.weights.is_none() {
        let arches = NETWORKS.into_iter().map(Arch::find).collect::<Result<Vec<_>>>()?;
        arches.into_iter().map(|arch| (Model::Arch(arch), arch.settings(args.batch_size))).collect()
    } else {
        vec![network(args, global)?]
    };
    let mut cases = Vec::new();
    for (model, settings) in networks {
        let modes = match args.mode {
            Some(mode) => vec![mode],
            None if model.trainable().is_ok() => vec![Mode::Train, Mode::Infer],
            None => vec![Mode::Infer],
        };
        cases.extend(modes.into_iter().map(|mode| args.case(model.clone(), settings, mode)));
    }
    Ok(cases)
}

/// About how long the least number of steps takes; 0 where that is not known. Compiling is not counted.
fn seconds_of(case: &Case, roofline: Roofline) -> f64 {
    let Model::Arch(arch) = &case.model else { return 0.0 };
    // A network that cannot be built says why when it is measured.
    let Ok(summary) = arch.summary(&case.settings) else { return 0.0 };
    let passes = if case.mode == BenchMode::Train { 3.0 } else { 1.0 };
    let flop = 2.0 * summary.macs as f64 * case.settings.batch_size as f64 * passes;
    STEPS * flop / (EXPECTED * roofline.gflops_per_s * 1e9).max(1.0)
}

/// The reason to leave out what takes so long, if there is one.
fn too_long(elapsed: f64, seconds: f64, limit: f64) -> Option<String> {
    (elapsed + seconds > limit).then(|| {
        let left = (limit - elapsed).max(0.0);
        format!("would take about {seconds:.0} s, and {left:.0} of {limit:.0} s are left (--time-limit)")
    })
}

fn pass(mode: BenchMode) -> &'static str {
    match mode {
        BenchMode::Train => "training",
        BenchMode::Infer => "inference",
    }
}

impl Report<'_> {
    /// Measures a case and prints the result. A network that fails does not keep the others from being measured.
    fn measure(&self, case: &Case) -> Result<State> {
        match outcome(self.args, self.global, &self.gpu, case) {
            Ok(outcome) => {
                print_outcome(self.args, &outcome)?;
                Ok(State::Measured(Box::new(outcome)))
            }
            Err(error) => {
                // The program ends with the error of the only case.
                if self.rows.len() > 1 {
                    let name = case.model.name();
                    tell(format!("ocelli: {name} {}: {}", pass(case.mode), advice::message(&error)));
                }
                Ok(State::Failed(error))
            }
        }
    }

    fn measured(&self) -> impl Iterator<Item = &Measurement> {
        self.rows.iter().filter_map(|row| match &row.state {
            State::Measured(outcome) => Some(&outcome.measurement),
            _ => None,
        })
    }

    /// Writes what is known by now, if that is anything.
    fn write(&self, file: &Path) -> Result<()> {
        if self.measured().next().is_none() {
            return Ok(());
        }
        let text = self.markdown();
        write_atomically(file, |out| out.write_all(text.as_bytes()))
    }

    /// Tells what the file is worth. The first error decides the exit code.
    fn end(self, file: &Path) -> Result<()> {
        let (measured, all) = (self.measured().count(), self.rows.len());
        if measured > 0 {
            self.global.say(format!("{}: {measured} of {all} measurements", Untrusted::new(file)));
        }
        let failed = self.rows.iter().filter(|row| matches!(row.state, State::Failed(_))).count();
        let first = self.rows.into_iter().find_map(|row| match row.state {
            State::Failed(error) => Some(error),
            State::LeftOut(reason) if measured == 0 => {
                let reason =
                    Error::usage(reason).at(format!("{} {}", row.case.model.name(), pass(row.case.mode)));
                Some(reason.hint("give more time, a smaller batch or a smaller size; there is no report"))
            }
            _ => None,
        });
        let Some(mut error) = first else { return Ok(()) };
        if all > 1 && failed > 0 {
            let rest = if measured > 0 { "the report names them" } else { "there is no report" };
            let report = error.report_mut();
            report.what = format!("{failed} of {all} measurements failed; {rest}");
            (report.place, report.hint) = (String::new(), "".into());
        }
        Err(error)
    }

    fn markdown(&self) -> String {
        let mut text = String::from("# Speed of Ocelli on one adapter\n\n");
        text += &format!("{}\n{}", self.about().markdown(), self.speeds().markdown());
        let missing = self.missing();
        if !missing.is_empty() {
            text += &format!("\nNot measured:\n\n{}", missing.markdown());
        }
        text += &format!("\n## How it is measured\n\n{}", self.protocol());
        for measurement in self.measured() {
            let Some(profile) = &measurement.profile else { continue };
            let (table, below) = profile::tables(profile, self.args.profile.unwrap_or(By::Kernels));
            text += &format!("\n## {} {}\n\n{}", measurement.arch, pass(measurement.mode), table.markdown());
            below.iter().for_each(|line| text += &format!("\n{line}\n"));
        }
        text
    }

    /// Where and how it was measured.
    fn about(&self) -> Table {
        let mut table = page::about(self.gpu.info(), self.command());
        let Roofline { gflops_per_s, gbytes_per_s } = self.roofline;
        table.push([Cell::plain("best product"), Cell::plain(format!("{gflops_per_s:.0} GFLOP/s"))]);
        table.push([
            Cell::plain("best copy"),
            Cell::plain(format!("{gbytes_per_s:.1} GB/s read and written")),
        ]);
        table
    }

    /// The command that does the same elsewhere: no names of files, which are of one machine, and all defaults written out.
    fn command(&self) -> String {
        let args = self.args;
        let mut command = "ocelli bench --report FILE".to_owned();
        let mut add = |flag: &str, value: String| command += &format!(" {flag} {value}");
        if let Some(arch) = &args.arch {
            add("--arch", arch.clone());
        }
        if args.weights.is_some() {
            add("--weights", "WEIGHTS".to_owned());
        }
        if let Some(mode) = args.mode {
            add("--mode", if matches!(mode, Mode::Train) { "train" } else { "infer" }.to_owned());
        }
        add("--batch-size", args.batch_size.to_string());
        if let Some(size) = args.size {
            add("--size", size.to_string());
        }
        add(
            "--precision",
            if matches!(args.precision, PrecisionArg::F16) { "f16" } else { "f32" }.to_owned(),
        );
        let level = match args.tune.level(&self.gpu) {
            Tune::Off => "off",
            Tune::Quick => "quick",
            Tune::Full => "full",
        };
        add("--tune", level.to_owned());
        add("--seconds", args.seconds.to_string());
        if let Some(limit) = args.time_limit {
            add("--time-limit", limit.to_string());
        }
        if matches!(self.global.limits, LimitsArg::Webgpu) {
            add("--limits", "webgpu".to_owned());
        }
        match args.profile {
            None => command,
            Some(By::Kernels) => command + " --profile",
            Some(By::Layers) => command + " --profile=layers",
        }
    }

    /// What a step is and how it is timed, so that others can repeat it.
    fn protocol(&self) -> String {
        let numbers = match self.args.precision {
            PrecisionArg::F16 => {
                "activations and their gradients are stored in f16; arithmetic and all else is f32"
            }
            PrecisionArg::F32 => "all numbers are f32",
        };
        format!(
            "- A step has a batch of {} pictures of noise, and first weights; {numbers}.\n\
             - Training: the pictures are uploaded as 8-bit RGBA and normalised on the adapter; forward pass with the \
             statistics of the batch in batch norm, and with dropout; cross-entropy, to which that of auxiliary classifiers \
             is added with a weight of 0.3; gradients of all parameters; SGD with momentum and weight decay; loss and rank of \
             each picture are read back.\n\
             - Inference: upload and normalisation as in training; forward pass with running statistics; loss and rank of each \
             picture are read back.\n\
             - *ms* is the median of the steps, each of which is waited for: at least 5, after two to warm up.\n\
             - *GFLOP/s* is twice the multiply-adds of all convolutions and fully connected layers, as the direct method \
             needs them, by the time of the whole step. *Of the best* divides it by the best product of square matrices \
             here; Winograd's algorithm may exceed that.\n\
             - *Memory* is what a step takes on the adapter: parameters, gradients, momentum, activations, workspace.\n\
             - *First step* is the time from an open device to the end of the first step: kernels are chosen and compiled, \
             memory is allocated, weights are written.\n",
            self.args.batch_size
        )
    }

    fn speeds(&self) -> Table {
        let mut table = Table::of_numbers([
            "network",
            "pass",
            "size",
            "ms",
            "best ms",
            "images/s",
            "GFLOP/s",
            "of the best",
            "memory, MiB",
            "first step, s",
            "of it choosing kernels",
        ]);
        for m in self.measured() {
            table.push([
                Cell::quoted(&m.arch),
                Cell::plain(pass(m.mode)),
                Cell::plain(format!("{0}x{0}", m.size)),
                Cell::plain(format!("{:.2}", m.ms_median)),
                Cell::plain(format!("{:.2}", m.ms_min)),
                Cell::plain(format!("{:.1}", m.images_per_s)),
                Cell::plain(format!("{:.1}", m.gflops_per_s)),
                Cell::plain(format!("{:.0}%", 100.0 * m.gflops_per_s / self.roofline.gflops_per_s.max(1e-9))),
                Cell::plain(grouped(m.gpu_bytes >> 20)),
                Cell::plain(format!("{:.1}", m.first_step_ms / 1e3)),
                Cell::plain(format!("{:.1}", m.tune_ms / 1e3)),
            ]);
        }
        table
    }

    fn missing(&self) -> Table {
        let mut table = Table::of_text(["network", "pass", "why"]);
        for Row { case, state } in &self.rows {
            let why = match state {
                State::Measured(_) => continue,
                State::Waiting => Cell::plain("the program ended before its turn"),
                State::Failed(error) => Cell::quoted(error.to_string()),
                State::LeftOut(reason) => Cell::plain(reason.as_str()),
            };
            table.push([Cell::quoted(case.model.name()), Cell::plain(pass(case.mode)), why]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_after_the_limit_is_left_out() {
        assert_eq!(too_long(10.0, 20.0, 30.0), None);
        let reason = too_long(10.0, 20.4, 30.0).unwrap();
        assert_eq!(reason, "would take about 20 s, and 20 of 30 s are left (--time-limit)");
        assert!(too_long(31.0, 0.0, 30.0).unwrap().contains("and 0 of 30 s are left"));
    }

    #[test]
    fn a_step_is_expected_to_take_what_its_multiply_adds_do() {
        let arch = Arch::find("vgg16").unwrap();
        let case =
            |mode, batch_size| Case { model: Model::Arch(arch), settings: arch.settings(batch_size), mode };
        let roofline = Roofline { gflops_per_s: 1000.0, gbytes_per_s: 100.0 };
        // 15.47 G multiply-adds a picture.
        let infer = seconds_of(&case(BenchMode::Infer, 1), roofline);
        assert!((infer - 7.0 * 2.0 * 15.47 / 500.0).abs() < 1e-3, "{infer}");
        assert_eq!(seconds_of(&case(BenchMode::Train, 8), roofline), 24.0 * infer);
    }
}
