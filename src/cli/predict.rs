//! `ocelli predict`

use super::averages::{AveragesArgs, OutputArgs};
use super::preprocess::PreprocessArgs;
use super::tuning::TuneArgs;
use super::{
    Global, PrecisionArg, name_classes, patiently, positive, print, print_json, reachable, say_assumed, tell,
};
use crate::data::read_picture;
use crate::error::{Error, Report, Result, Untrusted};
use crate::exchange::OpenOptions;
use crate::infer::{Classifier, ClassifierOptions, Prediction};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct PredictArgs {
    /// Files: JPEG, PNG, WebP, BMP, GIF or TIFF
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Trained weights (safetensors, PyTorch or ONNX)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// How many classes to print
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// The network, if the weights do not say it and several fit them (see `ocelli show`)
    #[arg(long, value_name = "A")]
    arch: Option<String>,
    /// Names of the classes instead of those in the weights: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How activations lie in memory; f16 takes half as much and rounds them to 11 bits, for adapters that have it
    #[arg(long, value_enum, value_name = "P", default_value = "f32")]
    precision: PrecisionArg,
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
    /// One JSON object a picture
    #[arg(long)]
    json: bool,
    /// Add the raw outputs of the network, in the order of the classes (with --json)
    #[arg(long)]
    logits: bool,
}

/// Longest class name that is printed without --json, in characters.
const LABEL: usize = 200;

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<Vec<f32>>,
}

pub(super) fn run(args: &PredictArgs, global: &Global) -> Result<()> {
    reachable(&args.weights)?;
    let gpu = global.open()?;
    let mut notices = args.tune.notices(global);
    let mut tuner = args.tune.tuner(&gpu, &mut notices);
    let file = OpenOptions {
        arch: args.arch.as_deref(),
        preprocessing: args.preprocess.change(),
        external_data: args.external_data,
        averaged: args.averages.wanted(),
        output: args.output_of_graph.name(),
    };
    let options = ClassifierOptions {
        precision: args.precision.into(),
        file,
        tuner: Some(&mut tuner),
        ..ClassifierOptions::default()
    };
    let mut classifier = Classifier::open(&gpu, &args.weights, options)?;
    say_assumed(global, classifier.card());
    if let Some(path) = &args.labels {
        name_classes(classifier.card_mut(), path)?;
    }
    // A picture that cannot be read does not stop the others; the first error decides the exit code.
    let mut first_error: Option<Error> = None;
    for path in &args.images {
        let place = |e: Error| e.at(path.to_string_lossy());
        let file = path.clone();
        let picture = patiently(&path.to_string_lossy(), move || read_picture(&file));
        let result = picture.and_then(|picture| classifier.logits(&[picture]).map_err(place));
        let logits = match result {
            Ok(logits) => logits.into_iter().next().unwrap_or_default(),
            Err(error @ (Error::Data(_) | Error::NotFound(_) | Error::Io(_))) if args.images.len() > 1 => {
                tell(format!("ocelli: {}", super::advice::message(&error)));
                first_error.get_or_insert(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        print_result(args, path, classifier.top(&logits, args.top)?, logits)?;
    }
    match first_error {
        None => Ok(()),
        // Its text has been printed already.
        Some(mut error) => {
            *error.report_mut() =
                Report { what: "not all pictures could be classified".into(), ..Report::default() };
            Err(error)
        }
    }
}

fn print_result(
    args: &PredictArgs,
    path: &Path,
    predictions: Vec<Prediction>,
    logits: Vec<f32>,
) -> Result<()> {
    if args.json {
        let logits = args.logits.then_some(logits);
        return print_json(&Line { image: &path.to_string_lossy(), predictions, logits });
    }
    print(&String::from(Untrusted::new(path)))?;
    for Prediction { index, label, probability } in predictions {
        let label = Untrusted::new(&label).at_most(LABEL);
        print(&format!("  {:6.2}%  {label} ({index})", 100.0 * probability))?;
    }
    if args.logits {
        let list: Vec<String> = logits.iter().map(f32::to_string).collect();
        print(&format!("  logits: {}", list.join(" ")))?;
    }
    Ok(())
}
