//! `ocelli train`

use super::averages::AveragesArgs;
use super::recipe_args::RecipeArgs;
use super::stop::stop_flag;
use super::train_report::Reporter;
use super::tuning::TuneArgs;
use super::{Global, PrecisionArg, grouped, positive, reachable};
use crate::data::use_threads;
use crate::error::{Error, Result, Untrusted};
use crate::models::Arch;
use crate::train::{BatchSize, Config, Control, Event, InitRule, Length, SettingsFile, train};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(super) struct TrainArgs {
    /// The network (see `ocelli show`)
    #[arg(long, value_name = "A", required_unless_present = "config")]
    arch: Option<String>,
    /// A folder with train/CLASS/* and val/CLASS/*, or without val/, or only CLASS/*; a folder of CIFAR's binary files; a file of
    /// `ocelli pack`; or fashion-mnist
    #[arg(long, value_name = "DIR|FILE|fashion-mnist", required_unless_present = "config")]
    data: Option<String>,
    /// Settings as in the config.json of a run, or only some of them; flags beside it count more
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that the run writes to
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// One line of JSON on standard output for each step, each epoch and the result
    #[arg(long)]
    json: bool,
    /// Save a checkpoint and stop after this time: seconds, or e.g. 90m or 2h; --resume goes on
    #[arg(long, value_name = "TIME", value_parser = time)]
    time_limit: Option<Duration>,
    /// End the run when the validation accuracy has not improved for so many epochs
    #[arg(long, value_name = "EPOCHS")]
    early_stop: Option<u32>,
    /// Passes over the data [default: the recipe's]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Steps, instead of whole passes
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Pictures in a batch; what does not fill a step is left out of an epoch. auto: the most that --memory-budget
    /// allows, or without it what the adapter has [default: the recipe's]
    #[arg(long, value_name = "B|auto", value_parser = batch_size)]
    batch_size: Option<BatchSize>,
    /// Add the gradients of so many batches in each step
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// How activations and their gradients lie in memory; f16 takes half as much, for adapters that have it. Weights, their
    /// gradients, sums and the loss are f32; a step whose gradients f16 cannot hold is skipped
    #[arg(long, value_enum, value_name = "P", default_value = "f32")]
    precision: PrecisionArg,
    /// Compute activations a second time instead of keeping them: less memory, a third more arithmetic, the same bits
    #[arg(long)]
    recompute: bool,
    /// Refuse to take more GPU memory than this, e.g. 512M or 4G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    memory_budget: Option<u64>,
    /// Learning rate [default: the recipe's, with --weights a tenth of it]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Momentum [default: the recipe's]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Weight decay [default: the recipe's]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    #[command(flatten)]
    recipe: RecipeArgs,
    /// How the learning rate changes: constant; step: a tenth after 1/2 and again after 3/4 of the run;
    /// milestones=30:60: a tenth at these epochs; every=8:0.96: times 0.96 every 8 epochs; exponential=0.97: each epoch;
    /// poly or poly=0.5: a power of the part that is left; cosine; one-cycle; plateau=5: a tenth when the validation loss has
    /// not improved for more than 5 epochs [default: the recipe's]
    #[arg(long, value_name = "S")]
    schedule: Option<String>,
    /// Epochs at the beginning in which the learning rate rises linearly from a hundredth; or with the factor to start from,
    /// and linear or constant, as in 1:0.1:constant [default: the recipe's]
    #[arg(long, value_name = "EPOCHS", allow_negative_numbers = true)]
    warmup: Option<String>,
    /// Vary the pictures: none, cifar, alexnet, vgg, resnet, inception, modern, or a list of pad=4,
    /// shorter=256/224-480/224, resized=0.08-1, mirror, trivial, jitter=0.4, hue=0.05, lighting=0.1, erase=0.25, mixup=0.2, cutmix=1; or
    /// both, as in resnet,erase=0.25 [default: the recipe's]
    #[arg(long, value_name = "PRESET|LIST")]
    augment: Option<String>,
    /// Decides first weights, order and variation
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How weights start; biases then start at 0 [default: as in the paper of the network]
    #[arg(long, value_enum, conflicts_with = "weights")]
    init: Option<InitArg>,
    /// Start from these weights (safetensors, PyTorch or ONNX). For other classes the classifier starts with new weights;
    /// classes of the same name keep theirs
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    averages: AveragesArgs,
    /// Start the classifier with new weights in any case
    #[arg(long, requires = "weights")]
    new_classifier: bool,
    /// Go on with the run in --out
    #[arg(long)]
    resume: bool,
    /// Write a checkpoint after so many minutes within an epoch, besides the one after each epoch
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, allow_negative_numbers = true)]
    checkpoint_every: f64,
    /// Take the pictures in the order of their names
    #[arg(long)]
    no_shuffle: bool,
    /// Where the data has no val/: hold out this share of the pictures of each class for validation, chosen by --seed
    /// [default: 0.2]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    val_split: Option<f64>,
    /// Use only so many pictures of train and of val, spread over each evenly
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Height and width that pictures are brought to [default: the weights', the data's or the paper's]
    #[arg(long, value_name = "S")]
    size: Option<usize>,
    /// Decode JPEGs for training at a reduced scale where the random crop of --augment stays at least twice as large as the
    /// input: several times faster for photographs of many megapixels; pixels differ by a few levels
    #[arg(long)]
    fast_jpeg: bool,
    /// The threads that read pictures; the result has the same bits with any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = positive)]
    workers: Option<usize>,
    /// Go on where more than 1% of the pictures cannot be read
    #[arg(long)]
    allow_unreadable: bool,
    /// Number of classes of the network, if not that of the data
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    #[command(flatten)]
    tune: TuneArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum InitArg {
    /// Normal with deviation 0.01
    Normal,
    /// Normal with variance 2/fan-in
    He,
    /// Uniform with variance 1/fan-in
    Xavier,
}

impl From<InitArg> for InitRule {
    fn from(init: InitArg) -> Self {
        match init {
            InitArg::Normal => Self::Normal,
            InitArg::He => Self::He,
            InitArg::Xavier => Self::Xavier,
        }
    }
}

fn batch_size(text: &str) -> std::result::Result<BatchSize, String> {
    match text {
        "auto" => Ok(BatchSize::Auto),
        _ => text.parse().map(BatchSize::Fixed).map_err(|_| "give a number or auto".to_owned()),
    }
}

/// A number of bytes with K, M or G for powers of 1024.
fn bytes(text: &str) -> std::result::Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G', 'k', 'm', 'g']) {
        Some(digits) => (digits, text.as_bytes().last().map_or(b'K', u8::to_ascii_uppercase)),
        None => (text, b'B'),
    };
    let shift = match unit {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => 0,
    };
    let number: u64 = digits.parse().map_err(|_| "give a number of bytes, as in 512M or 4G".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more bytes than there are".to_owned())
}

/// A time in seconds, or with s, m or h.
fn time(text: &str) -> std::result::Result<Duration, String> {
    let (digits, unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((digits, "s")) => (digits, 1.0),
        Some((digits, "m")) => (digits, 60.0),
        Some((digits, "h")) => (digits, 3600.0),
        _ => (text, 1.0),
    };
    let number: Option<f64> = digits.parse().ok();
    let seconds = number.map(|number| number * unit).filter(|seconds| *seconds > 0.0);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "give seconds, or a time with m or h, as in 90m or 2h".to_owned())
}

/// The default rate is divided by this where training starts from weights: a larger one destroys what they know.
const FINE_TUNING: f64 = 10.0;

/// The settings, from the recipe of the network, the file of settings and the flags, and that file.
fn config(args: &TrainArgs, given: &[String]) -> Result<(Config, Option<SettingsFile>)> {
    let file = args.config.as_deref().map(settings_file).transpose()?;
    let from_file = |field: &str| file.as_ref().and_then(|file| file.text(field)).map(str::to_owned);
    let missing = |field: &str| {
        Error::usage(format!("the file of settings has no \"{field}\""))
            .at(args.config.as_deref().map_or_else(String::new, |path| Untrusted::new(path).to_string()))
            .hint(format!("write it there, or give --{field}"))
    };
    let arch = args.arch.clone().or_else(|| from_file("arch")).ok_or_else(|| missing("arch"))?;
    let data = args.data.clone().or_else(|| from_file("data")).ok_or_else(|| missing("data"))?;
    let config = config_of_flags(args, &arch, &data, file.as_ref())?;
    let given: Vec<String> = given.iter().map(|flag| setting(flag).to_owned()).collect();
    let config = file.as_ref().map_or(Ok(config.clone()), |file| file.over(&config, &given))?;
    config.check()?;
    Ok((config, file))
}

fn settings_file(path: &Path) -> Result<SettingsFile> {
    reachable(path)?;
    SettingsFile::read(path)
}

/// The setting that a flag of another name sets.
fn setting(flag: &str) -> &str {
    match flag {
        "epochs" | "steps" => "length",
        "no_shuffle" => "shuffle",
        "checkpoint_every" => "checkpoint_minutes",
        "ema" => "averaged",
        same => same,
    }
}

/// The recipe of the network with the flags. A rate that neither they nor the file give is a tenth where training starts from weights.
fn config_of_flags(args: &TrainArgs, arch: &str, data: &str, file: Option<&SettingsFile>) -> Result<Config> {
    let has_weights = args.weights.is_some() || file.is_some_and(|file| file.has("weights"));
    if args.averages.wanted().is_some() && !has_weights {
        return Err(Error::usage(
            "--ema says which weights of a file training starts from, and no file is given",
        )
        .hint("add --weights, or leave out --ema"));
    }
    let recipe = args.recipe.config(Arch::find(arch)?, data);
    Ok(Config {
        length: match (args.steps, args.epochs) {
            (Some(steps), _) => Length::Steps(steps),
            (None, Some(epochs)) => Length::Epochs(epochs),
            (None, None) => recipe.length,
        },
        batch_size: args.batch_size.unwrap_or(recipe.batch_size),
        accumulate: args.accumulate,
        precision: args.precision.into(),
        recompute: args.recompute,
        memory_budget: args.memory_budget,
        lr: args.lr.unwrap_or(if has_weights { recipe.lr / FINE_TUNING } else { recipe.lr }),
        momentum: args.momentum.unwrap_or(recipe.momentum),
        weight_decay: args.weight_decay.unwrap_or(recipe.weight_decay),
        schedule: args.schedule.as_deref().map_or(Ok(recipe.schedule), str::parse)?,
        warmup: args.warmup.as_deref().map_or(Ok(recipe.warmup), str::parse)?,
        augment: args.augment.as_deref().map_or(Ok(recipe.augment), str::parse)?,
        shuffle: !args.no_shuffle,
        seed: args.seed,
        val_split: args.val_split,
        limit: args.limit,
        allow_unreadable: args.allow_unreadable,
        fast_jpeg: args.fast_jpeg,
        checkpoint_minutes: args.checkpoint_every,
        early_stop: args.early_stop,
        classes: args.classes,
        size: args.size.map(|s| [s; 2]),
        init: args.init.map(InitRule::from),
        weights: args.weights.clone(),
        averaged: args.averages.wanted(),
        new_classifier: args.new_classifier,
        ..recipe
    })
}

/// Trains; `given` names the flags that were given.
pub(super) fn run(args: &TrainArgs, global: &Global, given: &[String]) -> Result<()> {
    let (mut config, file) = config(args, given)?;
    let has = |setting: &str| file.as_ref().is_some_and(|file| file.has(setting));
    if config.weights.is_some() && args.lr.is_none() && !has("lr") && !args.resume {
        global.say(format!(
            "learning rate {}: a tenth of the recipe's, because training starts from weights (--lr sets another)",
            config.lr
        ));
    }
    args.workers.map_or(Ok(()), use_threads)?;
    let gpu = global.open()?;
    if !has("tune") || given.iter().any(|flag| flag == "tune") {
        config.tune = args.tune.level(&gpu);
    }
    let (stop, start) = (stop_flag()?, Instant::now());
    let is_over = || args.time_limit.is_some_and(|limit| start.elapsed() >= limit);
    let mut notices = args.tune.notices(global);
    let mut reporter = Reporter::new(global, &config.arch, args.json);
    let mut printed = Ok(());
    let result = train(&gpu, &config, &args.out, args.resume, &mut |event| {
        match event {
            Event::Tuning(notice) => notices(notice),
            event => {
                if let Err(error) = reporter.report(event) {
                    printed = Err(error);
                }
            }
        }
        let stops = stop.load(Ordering::SeqCst) || is_over() || printed.is_err();
        if stops { Control::Stop } else { Control::Continue }
    });
    reporter.finish();
    printed?;
    let finished = match result {
        // What was planned is no error.
        Err(error @ Error::Stopped(_)) if is_over() && !stop.load(Ordering::SeqCst) => {
            global.say(format!("the time limit: {error}"));
            return reporter.stopped();
        }
        result => result?,
    };
    if finished.already && finished.stopped_early.is_some() {
        global.say("this run is finished already; a larger --early-stop, or none, goes on");
    } else if finished.already {
        global.say("this run is finished already; give more --epochs or --steps to go on");
    }
    if finished.skipped_steps > 0 {
        let steps = grouped(u64::from(finished.skipped_steps));
        global
            .say(format!("{steps} steps were skipped: a gradient did not fit f16 at the scale of the loss"));
    }
    if let Some(epochs) = finished.stopped_early {
        global.say(format!("stopped early: the validation accuracy has not improved for {epochs} epochs"));
    }
    reporter.result(&finished)?;
    global.say(format!("weights and metrics are in {}", Untrusted::new(&args.out)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    /// Flags that are no settings of a run.
    const OTHERS: [&str; 10] =
        ["config", "recipe", "out", "json", "time_limit", "resume", "workers", "adapter", "limits", "quiet"];

    #[test]
    fn every_flag_is_a_setting_that_a_file_can_have_or_is_none() {
        let config = Config::new(Arch::find("resnet20").unwrap(), "");
        let settings = serde_json::to_value(config).unwrap();
        let command = Cli::command();
        let flags = command.find_subcommand("train").unwrap().get_arguments();
        let ids: Vec<&str> = flags.map(|flag| flag.get_id().as_str()).collect();
        assert!(ids.contains(&"lr") && ids.contains(&"ema") && ids.contains(&"tune"));
        for id in ids {
            let is_setting = settings.get(setting(id)).is_some();
            assert_ne!(is_setting, OTHERS.contains(&id), "--{id}: name its setting in `setting`");
        }
    }
}
