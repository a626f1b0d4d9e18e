//! Accuracy and loss over a data set.

use super::{Control, EvaluationStep};
use crate::data::{Batch, Hung, Loader, Skipped, Waited};
use crate::error::{Error, Result};
use crate::infer::check_logits;
use crate::plan::Started;
use serde::Serialize;

/// The result of an evaluation. Field names are those of `ocelli eval --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Pictures that could be read.
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

/// What the caller of an evaluation hears.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A batch is done.
    Done {
        /// Pictures so far.
        images: u64,
        /// Those of this batch that could not be read.
        skipped: &'a [Skipped],
    },
    /// Pictures are being waited for; said some times a second.
    Waiting,
    /// Reading a picture takes very long.
    Hung(&'a Hung),
}

/// Runs all pictures of a loader through the network. `progress` hears how far it is.
///
/// # Errors
/// [`Error::Data`] if no picture or too few could be read, or naming the picture of which a logit or the loss is not finite;
/// [`Error::Stopped`] if `progress` asked for it; otherwise as the loader and the step.
pub fn evaluate(
    step: &EvaluationStep,
    loader: &Loader,
    progress: &mut dyn FnMut(Progress) -> Control,
) -> Result<Evaluation> {
    let (mut images, mut correct_top1, mut correct_top5, mut loss) = (0, 0, 0, 0.0);
    // One output is that of the second of two classes.
    let two = step.classes() == 1;
    let mut batches = loader.epoch(0, 0);
    // The place in the epoch of the batch that is looked at.
    let mut first = 0;
    // The GPU is given the next batch before the outcome of the last one is looked at.
    let mut before: Option<(Started, Batch)> = None;
    loop {
        let mut go_on = |hung: Option<&Hung>| {
            progress(hung.map_or(Progress::Waiting, Progress::Hung)) == Control::Continue
        };
        let next = match batches.wait(&mut go_on)? {
            Waited::Batch(batch) if two => {
                Some((step.start(&batch.pixels, &vec![0; batch.labels.len()])?, batch))
            }
            Waited::Batch(batch) => Some((step.start(&batch.pixels, &batch.labels)?, batch)),
            Waited::End => None,
            Waited::Stopped => return Err(stopped()),
        };
        let ended = next.is_none();
        if let Some((run, batch)) = std::mem::replace(&mut before, next) {
            let outcome = step.outcome_of(&run)?;
            let logits = step.unchecked_logits_of(&run)?;
            let rows = logits.chunks(step.classes().max(1));
            let said = outcome.rank.iter().zip(&outcome.loss).zip(rows);
            for (place, (valid, ((rank, value), logits))) in batch.valid.iter().zip(said).enumerate() {
                if *valid {
                    // A kernel's compiler may take it that no number is NaN, so that the loss alone does not tell.
                    let (rank, value) = match logits {
                        [logit] if two => of_two(*logit, batch.labels.get(place).copied()),
                        _ => (*rank, *value),
                    };
                    let checked = check_logits(logits, logits.len()).and_then(|()| finite(value));
                    checked.map_err(|e| e.at(loader.name(first + place)))?;
                    images += 1;
                    correct_top1 += u64::from(rank < 1.0);
                    correct_top5 += u64::from(rank < 5.0);
                    loss += f64::from(value);
                }
            }
            first += batch.valid.len();
            if progress(Progress::Done { images, skipped: &batch.skipped }) == Control::Stop {
                return Err(stopped());
            }
        }
        if ended {
            break;
        }
    }
    if images == 0 {
        return Err(Error::data("none of the pictures could be read"));
    }
    let count = images as f64;
    let (top1, top5) = (correct_top1 as f64 / count, correct_top5 as f64 / count);
    Ok(Evaluation { images, correct_top1, correct_top5, top1, top5, loss: loss / count })
}

/// The rank of the right one of two classes and the cross-entropy, from the logit of class 1.
fn of_two(logit: f32, label: Option<u32>) -> (f32, f32) {
    let right = if label == Some(1) { logit } else { -logit };
    // log(1 + exp(-x)) without overflow; nobody has said what 0 is.
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
