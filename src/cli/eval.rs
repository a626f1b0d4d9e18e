//! `ocelli eval`

use super::averages::{AveragesArgs, OutputArgs};
use super::preprocess::PreprocessArgs;
use super::progress::Progress;
use super::tuning::TuneArgs;
use super::{
    Global, PrecisionArg, name_classes, patiently, positive, print, print_json, reachable, say_assumed,
    say_census, slow,
};
use crate::data::{self, Augment, Census, Dataset, Last, Loader, LoaderOptions, Split, relabel};
use crate::error::{Error, Result, Untrusted};
use crate::exchange::OpenOptions;
use crate::gpu::Gpu;
use crate::infer::{ClassifierOptions, ModelCard};
use crate::train::{self, Control, Evaluator};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Trained weights (safetensors, PyTorch or ONNX)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A folder with train/CLASS/*, val/CLASS/* or test/CLASS/*, a folder of CIFAR's binary files, a packed
    /// file, or fashion-mnist
    #[arg(long, value_name = "DIR|FILE|fashion-mnist")]
    data: String,
    /// train, val or test
    #[arg(long, default_value = "val")]
    split: Split,
    /// The network, if the weights do not say it and several fit them (see `ocelli show`)
    #[arg(long, value_name = "A")]
    arch: Option<String>,
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
    preprocess: PreprocessArgs,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    averages: AveragesArgs,
    #[command(flatten)]
    output_of_graph: OutputArgs,
    #[command(flatten)]
    tune: TuneArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs, global: &Global) -> Result<()> {
    let (name, split) = (args.data.clone(), args.split);
    let set = patiently(&args.data, move || data::open(&name, split))?;
    reachable(&args.weights)?;
    let gpu = global.open()?;
    say_census(global, &Census::of(set.as_ref(), args.split));
    let evaluator = open(args, global, &gpu)?;
    let set = labelled(set, evaluator.card(), args, global)?;
    let result = measure(args, global, &evaluator, set)?;
    if args.json {
        return print_json(&result);
    }
    print(&format!(
        "{} images: top-1 {:.2}% ({}), top-5 {:.2}% ({}), loss {:.4}",
        result.images,
        100.0 * result.top1,
        result.correct_top1,
        100.0 * result.top5,
        result.correct_top5,
        result.loss
    ))
}

/// The network of the weights, with the class names of `--labels`.
fn open(args: &EvalArgs, global: &Global, gpu: &Arc<Gpu>) -> Result<Evaluator> {
    let mut notices = args.tune.notices(global);
    let mut tuner = args.tune.tuner(gpu, &mut notices);
    let file = OpenOptions {
        arch: args.arch.as_deref(),
        preprocessing: args.preprocess.change(),
        external_data: args.external_data,
        averaged: args.averages.wanted(),
        output: args.output_of_graph.name(),
    };
    let options = ClassifierOptions {
        batch_size: args.batch_size,
        precision: args.precision.into(),
        file,
        tuner: Some(&mut tuner),
        ..ClassifierOptions::default()
    };
    let mut evaluator = Evaluator::open(gpu, &args.weights, options)?;
    say_assumed(global, evaluator.card());
    if let Some(path) = &args.labels {
        name_classes(evaluator.card_mut(), path)?;
    }
    Ok(evaluator)
}

/// Runs all pictures through the network, with a progress bar.
fn measure(
    args: &EvalArgs,
    global: &Global,
    evaluator: &Evaluator,
    set: Arc<dyn Dataset>,
) -> Result<train::Evaluation> {
    let metadata = evaluator.card().metadata();
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
    let loader = Loader::new(set, options)?.allow_unreadable(args.allow_unreadable);
    let progress = Progress::pictures(global.quiet, loader.pictures() as u64);
    let mut skipped = 0;
    let result = evaluator.evaluate(&loader, &mut |heard| {
        match heard {
            train::Progress::Done { images, skipped: more } => {
                for picture in more {
                    skipped += 1;
                    progress.say(format!("skipped {}: {}", picture.name, picture.reason));
                }
                progress.set(images);
            }
            train::Progress::Waiting => {}
            train::Progress::Hung(hung) => progress.say(slow(hung)),
        }
        Control::Continue
    })?;
    progress.finish();
    if skipped > 0 {
        global.say(format!("{skipped} pictures could not be read and do not count"));
    }
    Ok(result)
}

/// The data with the class numbers of the network: matched by name, or by order if the weights have no names.
fn labelled(
    set: Arc<dyn Dataset>,
    card: &ModelCard,
    args: &EvalArgs,
    global: &Global,
) -> Result<Arc<dyn Dataset>> {
    let classes = &card.metadata().classes;
    let weights = || Untrusted::new(&args.weights);
    if let ([one], None, true) = (&classes[..], card.pair(), card.is_named()) {
        return second_of_two(set, one).map_err(|e| e.at(weights()));
    }
    if card.is_named() {
        let names = card.pair().map_or(classes.as_slice(), |pair| pair);
        return relabel(set, names).map_err(|e| {
            e.at(weights()).hint(
                "evaluate on the data it was trained on, or name its classes as the data does with --labels",
            )
        });
    }
    // A network with one output has two classes.
    let (has, knows) = (set.classes().len(), classes.len().max(2));
    if has != knows {
        if classes.len() == 1 {
            return Err(only_two(has).at(weights()));
        }
        let what = format!("the data has {has} classes, and the network has {knows}, without names");
        return Err(Error::data(what).at(weights()).hint(
            "evaluate on the data it was trained on, or name its classes as the data does with --labels",
        ));
    }
    let few: Vec<String> =
        set.classes().iter().take(3).enumerate().map(|(i, name)| format!("{i} is {name}")).collect();
    let more = if has > 3 { ", ..." } else { "" };
    global.say(format!(
        "the weights do not name their classes; those of the data are taken in their order: {}{more}",
        few.join(", ")
    ));
    Ok(set)
}

/// The data with class `one` as class 1, for a network whose only output is named `one`.
fn second_of_two(set: Arc<dyn Dataset>, one: &str) -> Result<Arc<dyn Dataset>> {
    let classes = set.classes().to_vec();
    let zero = match &classes[..] {
        [zero, other] | [other, zero] if other == one => zero.clone(),
        [first, second] => {
            let what = format!("the network has one output, {one}, and the data has {first} and {second}");
            return Err(Error::data(what).hint(
                "name both classes as the data does with --labels, first the one that a negative output stands for",
            ));
        }
        _ => return Err(only_two(classes.len())),
    };
    relabel(set, &[zero, one.to_owned()])
}

/// The error for data that does not have the two classes of a network with one output.
fn only_two(has: usize) -> Error {
    Error::data(format!("the data has {has} classes, and the network has one output, which tells two apart"))
        .hint("evaluate on data with two classes")
}
