//! Accuracy and loss over a data set.

use super::{Control, EvaluationStep};
use crate::data::{Batch, Hung, Loader, Skipped, Waited};
use crate::error::{Error, Result};
use crate::exchange::ModelFile;
use crate::gpu::Gpu;
use crate::infer::{
    ClassifierOptions, ModelCard, Prepared, check_batch_size, check_logits, fault_of_file, prepare, transfer,
};
use crate::plan::Started;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// A network with trained weights whose accuracy is measured.
pub struct Evaluator {
    step: EvaluationStep,
    card: ModelCard,
}

impl Evaluator {
    /// Loads a file of weights, as [`crate::infer::Classifier::open`]. The batches of the loader must be of `options.batch_size`
    /// pictures.
    ///
    /// # Errors
    /// As [`crate::infer::Classifier::open`].
    pub fn open(gpu: &Arc<Gpu>, path: impl AsRef<Path>, options: ClassifierOptions) -> Result<Self> {
        fn open(gpu: &Arc<Gpu>, path: &Path, options: ClassifierOptions) -> Result<Evaluator> {
            check_batch_size(options.batch_size)?;
            let file = ModelFile::open(path, options.file)?;
            let fault = |e| fault_of_file(e, Some(path));
            let Prepared { card, network, batch_size, plan } = prepare(gpu, &file, options).map_err(fault)?;
            let step = EvaluationStep::of(gpu, network, batch_size, None, &plan).map_err(fault)?;
            transfer::load(step.session(), step.parameters().iter(), file.tensors.as_ref())
                .map_err(|e| e.at(path.display().to_string()))?;
            Ok(Evaluator { step, card })
        }
        open(gpu, path.as_ref(), options)
    }

    /// What is known of the network besides its weights.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What is known of the network, to name its classes.
    pub fn card_mut(&mut self) -> &mut ModelCard {
        &mut self.card
    }

    /// Measures accuracy and loss over the pictures of a loader, as [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(
        &self,
        loader: &Loader,
        progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Evaluation> {
        evaluate(&self.step, loader, progress)
    }
}

/// The result of an evaluation. Field names are those of `ocelli eval --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of pictures that could be read.
    pub images: u64,
    /// Pictures whose class had the largest logit.
    pub correct_top1: u64,
    /// Pictures whose class was among the five largest logits.
    pub correct_top5: u64,
    /// `correct_top1 / images`.
    pub top1: f64,
    /// `correct_top5 / images`.
    pub top5: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// How far an evaluation is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A batch is done.
    Done {
        /// Pictures evaluated so far.
        images: u64,
        /// Pictures of this batch that could not be read.
        skipped: &'a [Skipped],
    },
    /// The loader has no batch ready. Reported several times a second.
    Waiting,
    /// Reading a picture takes very long.
    Hung(&'a Hung),
}

/// A picture that was classified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Classified {
    /// Its position in the epoch of the loader.
    pub(super) place: usize,
    /// The right class.
    pub(super) label: u32,
    /// The class with the largest logit.
    pub(super) predicted: usize,
    /// Cross-entropy in nats.
    pub(super) loss: f32,
}

/// Measures accuracy and loss over the pictures of a loader. `progress` is told after each batch, and may stop the evaluation.
///
/// # Errors
/// [`Error::Data`] if no picture or too few could be read, or naming the picture of which a logit or the loss is not finite;
/// [`Error::Stopped`] if `progress` asked for it; otherwise as the loader and the step.
pub fn evaluate(
    step: &EvaluationStep,
    loader: &Loader,
    progress: &mut dyn FnMut(Progress) -> Control,
) -> Result<Evaluation> {
    evaluate_each(step, loader, progress, &mut |_| {})
}

/// Like [`evaluate`], and tells of each picture.
///
/// # Errors
/// As [`evaluate`].
pub(super) fn evaluate_each(
    step: &EvaluationStep,
    loader: &Loader,
    progress: &mut dyn FnMut(Progress) -> Control,
    each: &mut dyn FnMut(Classified),
) -> Result<Evaluation> {
    let mut sums = Sums::default();
    let mut batches = loader.epoch(0, 0);
    // Position in the epoch of the first picture of the batch.
    let mut first = 0;
    // The next batch is started before the outcome of the last one is read, so that the GPU does not idle.
    let mut before: Option<(Started, Batch)> = None;
    loop {
        let mut go_on = |hung: Option<&Hung>| {
            progress(hung.map_or(Progress::Waiting, Progress::Hung)) == Control::Continue
        };
        let next = match batches.wait(&mut go_on)? {
            Waited::Batch(batch) if has_one_output(step) => {
                Some((step.start(&batch.pixels, &vec![0; batch.labels.len()])?, batch))
            }
            Waited::Batch(batch) => Some((step.start(&batch.pixels, &batch.labels)?, batch)),
            Waited::End => None,
            Waited::Stopped => return Err(stopped()),
        };
        let ended = next.is_none();
        if let Some((run, batch)) = std::mem::replace(&mut before, next) {
            let mut each = |one: Classified| each(Classified { place: first + one.place, ..one });
            sums.add(step, &run, &batch, &|place| loader.name(first + place), &mut each)?;
            first += batch.valid.len();
            let done = Progress::Done { images: sums.images, skipped: &batch.skipped };
            if progress(done) == Control::Stop {
                return Err(stopped());
            }
        }
        if ended {
            return sums.result();
        }
    }
}

/// Whether a network has one output: its logit is that of class 1.
fn has_one_output(step: &EvaluationStep) -> bool {
    step.classes() == 1
}

/// The sums over the pictures so far.
#[derive(Default)]
struct Sums {
    images: u64,
    correct_top1: u64,
    correct_top5: u64,
    loss: f64,
}

impl Sums {
    /// Adds the outcome of a batch, and tells `each` of its pictures. `name` names the picture at a place of it.
    fn add(
        &mut self,
        step: &EvaluationStep,
        run: &Started,
        batch: &Batch,
        name: &dyn Fn(usize) -> String,
        each: &mut dyn FnMut(Classified),
    ) -> Result<()> {
        let outcome = step.outcome_of(run)?;
        let logits = step.unchecked_logits_of(run)?;
        let rows = logits.chunks(step.classes().max(1));
        let results = outcome.rank.iter().zip(&outcome.loss).zip(rows);
        for (place, (valid, ((rank, value), logits))) in batch.valid.iter().zip(results).enumerate() {
            if !*valid {
                continue;
            }
            // Shader compilers may assume that no number is NaN: a finite loss proves nothing about the logits.
            let (rank, value) = match logits {
                [logit] if has_one_output(step) => of_two(*logit, batch.labels.get(place).copied()),
                _ => (*rank, *value),
            };
            let checked = check_logits(logits, logits.len()).and_then(|()| finite(value));
            checked.map_err(|e| e.at(name(place)))?;
            self.images += 1;
            self.correct_top1 += u64::from(rank < 1.0);
            self.correct_top5 += u64::from(rank < 5.0);
            self.loss += f64::from(value);
            let label = batch.labels.get(place).copied().unwrap_or_default();
            each(Classified { place, label, predicted: largest(logits), loss: value });
        }
        Ok(())
    }

    fn result(self) -> Result<Evaluation> {
        let Self { images, correct_top1, correct_top5, loss } = self;
        if images == 0 {
            return Err(Error::data("none of the pictures could be read"));
        }
        let count = images as f64;
        let (top1, top5) = (correct_top1 as f64 / count, correct_top5 as f64 / count);
        Ok(Evaluation { images, correct_top1, correct_top5, top1, top5, loss: loss / count })
    }
}

/// The class with the largest logit. The logit of a network with one output is that of class 1.
fn largest(logits: &[f32]) -> usize {
    match logits {
        [logit] => usize::from(*logit > 0.0),
        _ => {
            logits
                .iter()
                .enumerate()
                .fold((0, f32::MIN), |best, (i, x)| if *x > best.1 { (i, *x) } else { best })
                .0
        }
    }
}

/// Rank of the right class and cross-entropy of a network with two classes, from the logit of class 1.
fn of_two(logit: f32, label: Option<u32>) -> (f32, f32) {
    let right = if label == Some(1) { logit } else { -logit };
    // log(1 + exp(-x)) without overflow. A logit of 0 counts as wrong.
    let loss = (-right).max(0.0) + (-right.abs()).exp().ln_1p();
    (if right > 0.0 { 0.0 } else { 1.0 }, loss)
}

fn finite(loss: f32) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    Err(Error::data(format!("the network's numbers overflow for this picture: its loss is {loss}"))
        .hint("use an earlier file of weights, or train again with a smaller learning rate"))
}

fn stopped() -> Error {
    Error::stopped("stopped in the middle of an evaluation")
}
