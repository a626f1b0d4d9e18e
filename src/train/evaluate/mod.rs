//! Accuracy, loss and calibration over a data set, and what the network says of each picture.

mod averaged;
mod calibration;
mod confusion;
mod dense;
mod evaluator;
mod scores;

use super::{Control, EvaluationStep};
use crate::data::{Batch, Hung, Loader, Skipped, Waited};
use crate::error::{Error, Result};
use crate::infer::check_logits;
use crate::plan::Started;
pub use averaged::{Averaging, Dense, score_averaged};
pub use calibration::{Bin, Calibration};
pub use confusion::Confusion;
pub use evaluator::Evaluator;
pub use scores::{ClassScore, Evaluation, Score, Scores};

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
    Ok(score(step, loader, progress)?.evaluation())
}

/// As [`evaluate`], and keeps what the network says of each picture: 28 bytes a picture.
///
/// # Errors
/// As [`evaluate`].
pub fn score(
    step: &EvaluationStep,
    loader: &Loader,
    progress: &mut dyn FnMut(Progress) -> Control,
) -> Result<Scores> {
    let mut scores = Vec::with_capacity(loader.pictures());
    let positions = loader.positions();
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
            let rest = positions.get(first..).unwrap_or_default();
            let name = |place: usize| loader.name(first + place);
            add(&mut scores, step, &run, &batch, rest, &name)?;
            first += batch.valid.len();
            let done = Progress::Done { images: scores.len() as u64, skipped: &batch.skipped };
            if progress(done) == Control::Stop {
                return Err(stopped());
            }
        }
        if ended {
            return Scores::new(step.classes().max(2), scores);
        }
    }
}

/// Whether a network has one output: its logit is that of class 1.
fn has_one_output(step: &EvaluationStep) -> bool {
    step.classes() == 1
}

/// Adds what the network says of a batch, whose pictures have these positions in the data set. `name` names the picture at a place of
/// the batch.
fn add(
    scores: &mut Vec<Score>,
    step: &EvaluationStep,
    run: &Started,
    batch: &Batch,
    positions: &[usize],
    name: &dyn Fn(usize) -> String,
) -> Result<()> {
    let outcome = step.outcome_of(run)?;
    let logits = step.unchecked_logits_of(run)?;
    let rows = logits.chunks(step.classes().max(1));
    let results = outcome.rank.iter().zip(&outcome.loss).zip(rows);
    let places = batch.valid.iter().zip(&batch.labels).zip(positions);
    for (place, (((valid, label), position), ((rank, loss), logits))) in places.zip(results).enumerate() {
        if !*valid {
            continue;
        }
        // Shader compilers may assume that no number is NaN: a finite loss proves nothing about the logits.
        let (rank, loss) = match logits {
            [logit] => of_two(*logit, *label),
            _ => (*rank, *loss),
        };
        let checked = check_logits(logits, logits.len()).and_then(|()| finite(loss));
        checked.map_err(|e| e.at(name(place)))?;
        let score = match logits {
            [logit] => Score::of_two(*logit, *label),
            _ => Score::of_logits(logits, *label),
        };
        scores.push(Score { position: *position as u32, rank: rank as u32, loss, ..score });
    }
    Ok(())
}

/// Rank of the right class and cross-entropy of a network with two classes, from the logit of class 1.
fn of_two(logit: f32, label: u32) -> (f32, f32) {
    let right = if label == 1 { logit } else { -logit };
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
