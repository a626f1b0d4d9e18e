//! `ocelli eval`

mod data;
mod report;

use super::file_args::FileArgs;
use super::progress::Progress;
use super::tuning::TuneArgs;
use super::views::ViewArgs;
use super::{Global, PrecisionArg, introduce, positive, reachable, say_census, slow};
use crate::data::{Augment, Census, Dataset, Last, Loader, LoaderOptions, Split, Views};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::infer::{ClassifierOptions, same_classes};
use crate::train::{self, Averaging, Control, Dense, Evaluator, Scores, score_averaged};
use clap::Args;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Trained weights (safetensors, PyTorch or ONNX); of several files the probabilities are averaged
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    weights: Vec<PathBuf>,
    /// A folder with train/CLASS/*, val/CLASS/* or test/CLASS/*, a folder of CIFAR's binary files, a packed file, or fashion-mnist. Of a
    /// folder with CLASS/* alone, the pictures that the run of the weights held out are evaluated, or all
    #[arg(long, value_name = "DIR|FILE|fashion-mnist")]
    data: String,
    /// The part of the data: train, val or test
    #[arg(long, default_value = "val")]
    split: Split,
    /// Names of the classes instead of those in the weights: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How activations lie in memory; f16 takes half as much and rounds them to 11 bits, for adapters that have it
    #[arg(long, value_enum, value_name = "P", default_value = "f32")]
    precision: PrecisionArg,
    /// Pictures in a step
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = positive)]
    batch_size: usize,
    /// Use only so many pictures, spread over the split evenly
    #[arg(long, value_name = "N", value_parser = positive)]
    limit: Option<usize>,
    /// Go on where more than 1% of the pictures cannot be read
    #[arg(long)]
    allow_unreadable: bool,
    #[command(flatten)]
    views: ViewArgs,
    /// Let the network see whole pictures, one at a time: its fully connected layers become convolutions, and its outputs are averaged over
    /// the picture (VGG, ResNet)
    #[arg(long, conflicts_with_all = ["crops", "batch_size"])]
    dense: bool,
    /// With --dense: average over the picture and its mirror image, as the paper of VGG does
    #[arg(long, requires = "dense")]
    mirror: bool,
    /// Add a table of the classes: pictures, accuracy, and the class that each is most often taken for
    #[arg(long)]
    per_class: bool,
    /// Write the confusion matrix to this file: a row a class, a column a prediction
    #[arg(long, value_name = "FILE.csv")]
    confusion: Option<PathBuf>,
    /// Add the pictures that are classified wrongly with the highest probability, at most N
    #[arg(long, value_name = "N", value_parser = positive)]
    worst: Option<usize>,
    /// Write a row for each picture to this file. Text that a spreadsheet would take for a formula gets an apostrophe in front
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    tune: TuneArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs, global: &Global) -> Result<()> {
    let Some(first) = args.weights.first() else {
        return Err(Error::internal("there are no weights"));
    };
    let (set, chosen) = data::open(&args.data, args.split, first)?;
    args.weights.iter().try_for_each(|path| reachable(path))?;
    let gpu = global.open()?;
    say_census(global, &Census::of(set.as_ref(), args.split));
    if let Some(sentence) = chosen {
        global.say(sentence);
    }
    let mut networks = Vec::with_capacity(args.weights.len());
    for path in &args.weights {
        networks.push(open(args, path, global, &gpu)?);
    }
    let names = args.weights.iter().map(|path| path.to_string_lossy().into_owned());
    let cards: Vec<_> = names.zip(networks.iter().map(Evaluator::card)).collect();
    same_classes(&cards)?;
    let set = match networks.first() {
        Some(network) => data::labelled(set, network.card(), first, global)?,
        None => set,
    };
    let views = args.views.views();
    let scores = measure(args, global, &networks, &set, views)?;
    report::report(args, set.as_ref(), &scores)
}

/// The network of a file of weights, with the class names of `--labels`.
fn open(args: &EvalArgs, path: &Path, global: &Global, gpu: &Arc<Gpu>) -> Result<Evaluator> {
    let mut notices = args.tune.notices(global);
    let mut tuner = args.tune.tuner(gpu, &mut notices);
    let options = ClassifierOptions {
        // Dense evaluation makes networks of its own, which share the parameters of this one.
        batch_size: if args.dense { 1 } else { args.batch_size },
        precision: args.precision.into(),
        file: args.file.options(),
        tuner: Some(&mut tuner),
        ..ClassifierOptions::default()
    };
    let mut evaluator = Evaluator::open(gpu, path, options)?;
    introduce(global, evaluator.card_mut(), args.labels.as_deref())?;
    Ok(evaluator)
}

/// Runs all pictures through the networks, with a progress bar.
fn measure(
    args: &EvalArgs,
    global: &Global,
    networks: &[Evaluator],
    set: &Arc<dyn Dataset>,
    views: Views,
) -> Result<Scores> {
    let pictures = args.limit.map_or(set.len(), |limit| limit.min(set.len()));
    let progress = Progress::pictures(global.quiet, pictures as u64);
    // Each network of several reads the pictures.
    let mut skipped = HashSet::new();
    let mut heard = |heard: train::Progress| {
        match heard {
            train::Progress::Done { images, skipped: more } => {
                for picture in more {
                    if skipped.insert(picture.name.clone()) {
                        progress.say(format!("skipped {}: {}", picture.name, picture.reason));
                    }
                }
                progress.set(images);
            }
            train::Progress::Waiting => {}
            train::Progress::Hung(hung) => progress.say(slow(hung)),
        }
        Control::Continue
    };
    let scores = match networks {
        [network] if views.is_plain() && !args.dense => {
            network.score(&loader(args, network, set)?, &mut heard)?
        }
        _ => {
            let options = Averaging {
                views,
                limit: args.limit,
                allow_unreadable: args.allow_unreadable,
                dense: args.dense.then_some(Dense { mirrored: args.mirror }),
            };
            score_averaged(networks, set, &options, &mut heard)?
        }
    };
    progress.finish();
    if !skipped.is_empty() {
        global.say(format!("{} pictures could not be read and do not count", skipped.len()));
    }
    Ok(scores)
}

/// The pictures as one network takes them.
fn loader(args: &EvalArgs, network: &Evaluator, set: &Arc<dyn Dataset>) -> Result<Loader> {
    let metadata = network.card().metadata();
    let options = LoaderOptions {
        batch_size: args.batch_size,
        size: [metadata.input[0], metadata.input[1]],
        preprocessing: metadata.preprocessing,
        augment: Augment::NONE,
        shuffle: false,
        balance: false,
        seed: 0,
        limit: args.limit,
        last: Last::Keep,
    };
    Ok(Loader::new(set.clone(), options)?.allow_unreadable(args.allow_unreadable))
}
