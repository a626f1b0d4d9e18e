//! `ocelli predict`

use super::file_args::FileArgs;
use super::tuning::TuneArgs;
use super::views::ViewArgs;
use super::{Global, PrecisionArg, csv, introduce, patiently, positive, print, print_json, reachable, tell};
use crate::data::{Picture, Views, picture_files, read_picture};
use crate::error::{Error, Report, Result, Untrusted};
use crate::gpu::Gpu;
use crate::infer::{Classifier, ClassifierOptions, ModelCard, Prediction, mean, same_classes, top_of};
use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
pub(super) struct PredictArgs {
    /// Files (JPEG, PNG, WebP, BMP, GIF or TIFF), or folders: all pictures in them and in their folders
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Trained weights (safetensors, PyTorch or ONNX); given several times, the probabilities are averaged
    #[arg(long, value_name = "FILE", required = true)]
    weights: Vec<PathBuf>,
    /// Pictures or views in a step [default: as many as there are, at most 16]
    #[arg(long, value_name = "B", value_parser = positive)]
    batch_size: Option<usize>,
    /// How many classes to print
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    top: usize,
    /// Names of the classes instead of those in the weights: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How activations lie in memory; f16 takes half as much and rounds them to 11 bits, for adapters that have it
    #[arg(long, value_enum, value_name = "P", default_value = "f32")]
    precision: PrecisionArg,
    #[command(flatten)]
    views: ViewArgs,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    tune: TuneArgs,
    /// One JSON object a picture
    #[arg(long)]
    json: bool,
    /// Add the raw outputs of the network, in the order of the classes
    #[arg(long)]
    logits: bool,
    /// Write a row for each picture to this file too. Text that a spreadsheet would take for a formula gets an apostrophe in front
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Longest class name that is printed without --json, in characters.
const LABEL: usize = 200;

/// The pictures in a step if the user does not say how many.
const BATCH: usize = 16;

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<Vec<f32>>,
}

/// What the networks say of a picture. Only one network has logits, of one view.
struct Answer {
    predictions: Vec<Prediction>,
    logits: Option<Vec<f32>>,
}

/// One or several networks for the same classes.
struct Networks {
    all: Vec<Classifier>,
    /// For each network the position of each class of the first one.
    orders: Vec<Vec<usize>>,
    views: Views,
}

impl Networks {
    fn open(args: &PredictArgs, batch_size: usize, global: &Global, gpu: &Arc<Gpu>) -> Result<Self> {
        let mut all = Vec::with_capacity(args.weights.len());
        for path in &args.weights {
            all.push(network(args, path, batch_size, global, gpu)?);
        }
        let names = args.weights.iter().map(|path| path.to_string_lossy().into_owned());
        let cards: Vec<(String, &ModelCard)> = names.zip(all.iter().map(Classifier::card)).collect();
        let orders = same_classes(&cards)?;
        Ok(Self { all, orders, views: args.views.views() })
    }

    /// What the networks say of pictures.
    fn answers(&self, pictures: &[Picture], top: usize) -> Result<Vec<Answer>> {
        if let ([network], true) = (&self.all[..], self.views.is_plain()) {
            let logits = network.logits(pictures)?.into_iter();
            return logits
                .map(|logits| Ok(Answer { predictions: network.top(&logits, top)?, logits: Some(logits) }))
                .collect();
        }
        let of = |network: &Classifier| network.probabilities_of_views(pictures, &self.views);
        let each = self.all.iter().map(of).collect::<Result<Vec<_>>>()?;
        Ok((0..pictures.len()).map(|i| self.averaged(&each, i, top)).collect())
    }

    /// The mean of the probabilities of all networks for a picture.
    fn averaged(&self, probabilities: &[Vec<Vec<f64>>], picture: usize, top: usize) -> Answer {
        let each: Vec<Vec<f64>> = probabilities
            .iter()
            .zip(&self.orders)
            .filter_map(|(own, order)| Some((own.get(picture)?, order)))
            .map(|(own, order)| order.iter().map(|at| own.get(*at).copied().unwrap_or(0.0)).collect())
            .collect();
        let names = self.all.first().map_or_else(Vec::new, |network| network.card().class_names());
        Answer { predictions: top_of(&mean(&each), &names, top), logits: None }
    }
}

/// The network of a file of weights, with the class names of `--labels`.
fn network(
    args: &PredictArgs,
    path: &Path,
    batch_size: usize,
    global: &Global,
    gpu: &Arc<Gpu>,
) -> Result<Classifier> {
    let mut notices = args.tune.notices(global);
    let mut tuner = args.tune.tuner(gpu, &mut notices);
    let options = ClassifierOptions {
        precision: args.precision.into(),
        batch_size,
        file: args.file.options(),
        tuner: Some(&mut tuner),
        ..ClassifierOptions::default()
    };
    let mut classifier = Classifier::open(gpu, path, options)?;
    introduce(global, classifier.card_mut(), args.labels.as_deref())?;
    Ok(classifier)
}

/// The files to classify: those that were given, and the pictures of folders.
fn files(args: &PredictArgs, global: &Global) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in &args.images {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let folder = path.clone();
        let (found, left_out) = patiently(&path.to_string_lossy(), move || picture_files(&folder))?;
        left_out.iter().for_each(|left_out| global.say(left_out.to_string()));
        if found.is_empty() {
            return Err(Error::data("there are no pictures in this folder").at(path.to_string_lossy()));
        }
        files.extend(found);
    }
    Ok(files)
}

/// Whether an error is about one picture, so that others can still be classified.
fn is_of_picture(error: &Error) -> bool {
    matches!(error, Error::Data(_) | Error::NotFound(_) | Error::Io(_))
}

/// What the networks say of a batch of files, or why not.
fn batch(networks: &Networks, paths: &[PathBuf], top: usize) -> Result<Vec<Result<Answer>>> {
    let (owned, place) =
        (paths.to_vec(), paths.first().map_or_else(String::new, |p| p.to_string_lossy().into_owned()));
    let read = patiently(&place, move || Ok(owned.par_iter().map(read_picture).collect::<Vec<_>>()))?;
    let (mut pictures, mut results) = (Vec::new(), Vec::new());
    for picture in read {
        results.push(picture.map(|picture| pictures.push(picture)));
    }
    let mut answers = match networks.answers(&pictures, top) {
        Ok(answers) => answers.into_iter().map(Ok).collect::<Vec<_>>(),
        // One picture has failed. Alone each of the others has an answer.
        Err(error) if is_of_picture(&error) => pictures
            .iter()
            .map(|picture| networks.answers(std::slice::from_ref(picture), top))
            .map(|answer| answer.and_then(|mut one| one.pop().ok_or_else(|| Error::internal("no answer"))))
            .collect(),
        Err(error) => return Err(error),
    }
    .into_iter();
    let missing = || Err(Error::internal("a picture without an answer"));
    let of = |(read, path): (Result<()>, &PathBuf)| match read {
        Ok(()) => answers.next().unwrap_or_else(missing).map_err(|e| e.at(path.to_string_lossy())),
        Err(error) => Err(error),
    };
    Ok(results.into_iter().zip(paths).map(of).collect())
}

pub(super) fn run(args: &PredictArgs, global: &Global) -> Result<()> {
    if args.logits && args.weights.len() > 1 {
        return Err(Error::usage("several networks have no logits in common")
            .hint("leave --logits out, or give one file of weights"));
    }
    if args.logits && !args.views.views().is_plain() {
        return Err(Error::usage(
            "several views of a picture have no logits in common: their probabilities are averaged",
        )
        .hint("leave --logits out, or --crops and --scales"));
    }
    args.weights.iter().try_for_each(|path| reachable(path))?;
    let files = files(args, global)?;
    let gpu = global.open()?;
    let views = files.len().saturating_mul(args.views.views().count());
    let batch_size = args.batch_size.unwrap_or(views.clamp(1, BATCH));
    let networks = Networks::open(args, batch_size, global, &gpu)?;
    // A picture that cannot be read does not stop the others; the first error decides the exit code.
    let mut first_error: Option<Error> = None;
    let mut rows = Vec::new();
    for paths in files.chunks(batch_size) {
        for (path, answer) in paths.iter().zip(batch(&networks, paths, args.top)?) {
            match answer {
                Ok(answer) => {
                    rows.extend(args.csv.is_some().then(|| row(path, &answer.predictions)));
                    print_result(args, path, answer)?;
                }
                Err(error) if is_of_picture(&error) && files.len() > 1 => {
                    tell(format!("ocelli: {}", super::advice::message(&error)));
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    if let Some(path) = &args.csv {
        let count = rows.iter().map(Vec::len).max().unwrap_or(1) / 2;
        let head: Vec<String> = (1..=count).map(|i| format!("class{i},probability{i}")).collect();
        csv::write(path, &format!("file,{}", head.join(",")), rows.into_iter())?;
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

/// The row of a picture: the file, then class and probability of each prediction.
fn row(path: &Path, predictions: &[Prediction]) -> Vec<String> {
    let pairs = predictions.iter().flat_map(|p| [csv::text(&p.label), p.probability.to_string()]);
    std::iter::once(csv::text(&path.to_string_lossy())).chain(pairs).collect()
}

fn print_result(args: &PredictArgs, path: &Path, answer: Answer) -> Result<()> {
    let Answer { predictions, logits } = answer;
    let logits = logits.filter(|_| args.logits);
    if args.json {
        return print_json(&Line { image: &path.to_string_lossy(), predictions, logits });
    }
    print(&String::from(Untrusted::new(path)))?;
    for Prediction { index, label, probability } in predictions {
        let label = Untrusted::new(&label).at_most(LABEL);
        print(&format!("  {:6.2}%  {label} ({index})", 100.0 * probability))?;
    }
    if let Some(logits) = logits {
        let list: Vec<String> = logits.iter().map(f32::to_string).collect();
        print(&format!("  logits: {}", list.join(" ")))?;
    }
    Ok(())
}
