//! `ocelli predict`

use super::{Global, print, print_json};
use crate::classifier::{Classifier, Prediction};
use crate::data::read_picture;
use crate::error::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct PredictArgs {
    /// JPEG or PNG files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Trained weights (safetensors)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// How many classes to print
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
    /// Names of the classes, one a line, instead of those in the weights
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// One JSON object a picture
    #[arg(long)]
    json: bool,
    /// Add the raw outputs of the network, in the order of the classes (with --json)
    #[arg(long)]
    logits: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    predictions: Vec<Prediction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<Vec<f32>>,
}

pub(super) fn run(args: &PredictArgs, global: &Global) -> Result<()> {
    let gpu = global.open()?;
    let mut classifier = Classifier::open(&gpu, &args.weights, 1)?;
    if let Some(path) = &args.labels {
        let text = std::fs::read_to_string(path).map_err(|e| Error::from_io(&e, "read", path))?;
        let labels = text.lines().map(|line| line.trim_end().to_owned()).collect();
        classifier.set_labels(labels).map_err(|e| e.at(path.display().to_string()))?;
    }
    // One bad picture does not keep the others from their answer; the first error decides the exit code.
    let mut first_error = None;
    for path in &args.images {
        let result = read_picture(path).and_then(|picture| classifier.logits(&[picture]));
        let logits = match result {
            Ok(logits) => logits.into_iter().next().unwrap_or_default(),
            Err(error) => {
                if args.images.len() > 1 {
                    eprintln!("ocelli: {error}");
                }
                first_error.get_or_insert(error);
                continue;
            }
        };
        let image = path.display().to_string();
        let predictions = classifier.top(&logits, args.top);
        if args.json {
            let logits = args.logits.then_some(logits);
            print_json(&Line { image: &image, predictions, logits })?;
            continue;
        }
        print(&image)?;
        for Prediction { index, label, probability } in predictions {
            print(&format!("  {:6.2}%  {label} ({index})", 100.0 * probability))?;
        }
        if args.logits {
            let list: Vec<String> = logits.iter().map(f32::to_string).collect();
            print(&format!("  logits: {}", list.join(" ")))?;
        }
    }
    match first_error {
        None => Ok(()),
        Some(error) if args.images.len() == 1 => Err(error),
        Some(_) => Err(Error::data("not all pictures could be classified")),
    }
}
