//! The command line: one file per command. Results go to standard output, messages to standard error.

mod advice;
mod averages;
mod bench;
mod convert;
mod csv;
mod devices;
mod eval;
mod explain;
mod file_args;
mod inspect;
mod labels;
mod pack;
mod page;
mod predict;
mod preprocess;
mod progress;
mod recipe_args;
mod report;
mod selftest;
mod serve;
mod show;
mod stop;
mod table;
mod terminal;
mod train;
mod train_line;
mod train_report;
mod tuning;
mod views;

use crate::autotune::cache_folder;
use crate::data::{Census, Hung, aside};
use crate::error::{Error, Result, Untrusted};
use crate::gpu::{AdapterKind, Gpu, GpuOptions, LimitChoice, PipelineCacheOptions};
use crate::infer::ModelCard;
use crate::tensor::Precision;
use crate::weights::Metadata;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use terminal::{print, print_json, tell};

/// Trains and runs the classic ImageNet networks on any GPU.
#[derive(Parser)]
#[command(name = "ocelli", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Flags that every command takes.
#[derive(Args, Clone)]
struct Global {
    /// The GPU to use: a part of its name, or its number in `ocelli devices`
    #[arg(long, global = true, value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// Ask for all that the adapter can, or only for what WebGPU grants everywhere
    #[arg(long, global = true, value_enum, default_value = "adapter")]
    limits: LimitsArg,
    /// Say nothing but results and errors
    #[arg(long, global = true)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum LimitsArg {
    Adapter,
    Webgpu,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionArg {
    F32,
    F16,
}

impl From<PrecisionArg> for Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16 => Self::F16,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Train a network on pictures
    Train(Box<train::TrainArgs>),
    /// Lay training runs side by side on a page: results, settings that differ, curves
    Report(report::ReportArgs),
    /// Measure the accuracy of trained weights
    Eval(eval::EvalArgs),
    /// Classify pictures with trained weights
    Predict(predict::PredictArgs),
    /// Show what a network sees: Grad-CAM, DeconvNet, occlusion, saliency, filters, units
    Explain(Box<explain::ExplainArgs>),
    /// Write weights in another format: safetensors, PyTorch, ONNX
    Convert(convert::ConvertArgs),
    /// Write a data set into one file, which is read faster than a folder of files
    Pack(pack::PackArgs),
    /// Say what a file of weights holds
    Inspect(inspect::InspectArgs),
    /// Print a network as a table, or the list of networks
    Show(show::ShowArgs),
    /// Serve the page for browsers, and a folder of networks, to this machine alone
    Serve(serve::ServeArgs),
    /// List the GPU adapters of this machine
    Devices(devices::DevicesArgs),
    /// Measure the speed of a network
    Bench(bench::BenchArgs),
    /// Test every kernel on an adapter against the processor
    Selftest(selftest::SelftestArgs),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Report(_) => "report",
            Self::Eval(_) => "eval",
            Self::Predict(_) => "predict",
            Self::Explain(_) => "explain",
            Self::Convert(_) => "convert",
            Self::Pack(_) => "pack",
            Self::Inspect(_) => "inspect",
            Self::Show(_) => "show",
            Self::Serve(_) => "serve",
            Self::Devices(_) => "devices",
            Self::Bench(_) => "bench",
            Self::Selftest(_) => "selftest",
        }
    }
}

/// Parses the arguments, runs the command and reports an error. The exit codes are those of
/// [`crate::error::Error::exit_code`].
pub fn main() -> ExitCode {
    let (cli, given) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return ExitCode::from(terminal::usage::<Cli>(error)),
    };
    advice::of_command(cli.command.name());
    let global = &cli.global;
    let result = match &cli.command {
        Command::Train(args) => train::run(args, global, &given),
        Command::Report(args) => report::run(args, global),
        Command::Eval(args) => eval::run(args, global),
        Command::Predict(args) => predict::run(args, global),
        Command::Explain(args) => explain::run(args, global, &given),
        Command::Convert(args) => convert::run(args, global),
        Command::Pack(args) => pack::run(args, global),
        Command::Inspect(args) => inspect::run(args),
        Command::Show(args) => show::run(args),
        Command::Serve(args) => serve::run(args, global),
        Command::Devices(args) => devices::run(args),
        Command::Bench(args) => bench::run(args, global),
        Command::Selftest(args) => selftest::run(args, global),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(format!("ocelli: {}", advice::message(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Parses the arguments, and names the flags of the command that were given.
fn parse() -> std::result::Result<(Cli, Vec<String>), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let cli = Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut Cli::command()))?;
    let given = matches.subcommand().map_or_else(Vec::new, |(_, flags)| {
        let is_given = |id: &&clap::Id| flags.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        flags.ids().filter(is_given).map(ToString::to_string).collect()
    });
    Ok((cli, given))
}

impl Global {
    /// Opens the adapter, reports which one it is, and leaves out the kernels that its self-test has found wrong.
    fn open(&self) -> Result<Arc<Gpu>> {
        let gpu = self.open_untested()?;
        if let Some(verdict) = selftest::known(gpu.info()) {
            verdict.apply(&gpu);
            if let Some(names) = selftest::list(&verdict.excluded()) {
                self.say(format!(
                    "warning: not used on this adapter, for its self-test found wrong results: {names} (`ocelli devices`)"
                ));
            }
        }
        Ok(gpu)
    }

    /// Opens the adapter and reports which one it is.
    fn open_untested(&self) -> Result<Arc<Gpu>> {
        let limits = match self.limits {
            LimitsArg::Adapter => LimitChoice::Adapter,
            LimitsArg::Webgpu => LimitChoice::WebGpu,
        };
        // Messages are not written with --quiet. A cache that fails makes the next start slower, nothing else.
        let failed: fn(&Error) = if self.quiet { |_| {} } else { not_kept };
        let pipeline_cache = cache_folder().map(|folder| PipelineCacheOptions { folder, failed });
        let adapter = self.adapter.clone();
        let gpu = Gpu::open(&GpuOptions { adapter, checked: false, limits, pipeline_cache })?;
        let info = gpu.info();
        let software = match info.kind {
            AdapterKind::Cpu => "; software rendering, a GPU would be many times faster",
            _ => "",
        };
        self.say(format!("adapter: {} ({}, {}{software})", info.name, info.backend, info.driver));
        if info.dxc_refused {
            self.say(
                "the first step takes long, for FXC compiles the kernels: the dxcompiler.dll that was found cannot be used. Put \
                 version 1.8.2502 or newer beside this program (see the README, \"On Windows\"); if it is, this adapter lacks \
                 Shader Model 6.0, and FXC is all there is",
            );
        } else if info.slow_compiler {
            self.say(
                "the first step takes long, for FXC compiles the kernels; with Microsoft's dxcompiler.dll beside this program \
                 it is a matter of seconds (see the README, \"On Windows\")",
            );
        }
        Ok(Arc::new(gpu))
    }

    /// Prints a message, unless `--quiet` is given.
    fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            tell(line);
        }
    }
}

/// Reports that compiled kernels could not be written.
fn not_kept(error: &Error) {
    tell(format!("warning: the compiled kernels are not kept: {}", advice::message(error)));
}

/// Reports what was chosen from a file, and the preprocessing if it is assumed.
fn say_assumed(global: &Global, card: &ModelCard) {
    card.notes().iter().for_each(|note| global.say(advice::named(note)));
    if card.is_preprocessing_assumed() {
        global.say(usual(card.metadata()));
    }
    if card.metadata().classes.len() == 1 {
        global.say("the network has one output: its sigmoid is taken for the probability of class 1");
    }
}

/// Reports what is not obvious of a network, and names its classes as a file of labels says.
fn introduce(global: &Global, card: &mut ModelCard, labels: Option<&Path>) -> Result<()> {
    say_assumed(global, card);
    labels.map_or(Ok(()), |labels| name_classes(card, labels))
}

/// Prints what the data contains.
fn say_census(global: &Global, census: &Census) {
    census.to_string().lines().for_each(|line| global.say(line));
}

/// Runs `work`, which reads from `place`, and reports if it takes very long.
fn patiently<T: Send + 'static>(place: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let mut go_on = |hung: Option<&Hung>| {
        hung.iter().for_each(|hung| tell(slow(hung)));
        true
    };
    aside(place, &mut go_on, work)
}

/// Waits until a file can be read, and reports if that takes very long. Errors are left to the code that opens the
/// file.
fn reachable(path: &Path) -> Result<()> {
    let file = path.to_owned();
    patiently(&path.to_string_lossy(), move || {
        // Opening a named pipe would wait for a writer forever.
        if std::fs::metadata(&file).is_ok_and(|meta| meta.is_file()) {
            let _ = std::fs::File::open(&file).map(|mut file| file.read(&mut [0]));
        }
        Ok(())
    })
}

/// The message for a file that has not answered for a long time.
fn slow(hung: &Hung) -> String {
    let (name, seconds) = (Untrusted::new(&hung.name), hung.since.as_secs());
    format!("{name} has not answered for {seconds} s: the disk, or the connection to it, hangs")
}

/// The message that the usual preprocessing of the network is assumed.
fn usual(Metadata { arch, preprocessing, .. }: &Metadata) -> String {
    format!("the weights do not say how pictures are prepared; as is usual for {arch}: {preprocessing}")
}

/// Sets the class names of a network to those of a file.
fn name_classes(card: &mut ModelCard, path: &Path) -> Result<()> {
    card.set_labels(labels::read(path)?).map_err(|e| e.at(Untrusted::new(path)))
}

/// Parses a number of at least 1.
fn positive(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "give a number of at least 1".to_owned())
}

/// A number with thousands separated, for tables.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
