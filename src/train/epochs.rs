//! The training loop: epochs of steps, each with a validation and a checkpoint behind it.

use super::checkpoint::{self, Position, State};
use super::disk::{self, Observe};
use super::divergence::{diverged, in_validation};
use super::folder::Files;
use super::outline::{Outline, first_filters};
use super::prepare::Loaders;
use super::shown::{Shown, StepDone};
use super::waiting::Waiting;
use super::warnings::Watch;
use super::{
    Config, Control, Evaluation, EvaluationStep, Event, Finished, Hyper, InFlightStep, Place, Progress, Row,
    Scores, TrainingStep, score, transfer,
};
use crate::data::{Batch, Skipped};
use crate::error::{Error, Result};
use crate::plan::Memory;
use crate::weights::{InMemory, Metadata, Weights};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The rest of a run, from the state that it is in.
pub(super) struct Epochs<'a> {
    pub(super) config: &'a Config,
    pub(super) files: Arc<Files>,
    pub(super) step: TrainingStep,
    pub(super) evaluation: EvaluationStep,
    pub(super) loaders: Loaders,
    pub(super) metadata: Metadata,
    /// The content of `config.json`.
    pub(super) settings: Vec<u8>,
    /// Steps of the whole run.
    pub(super) total: u64,
    /// The time between checkpoints within an epoch.
    pub(super) checkpoint_every: Duration,
}

/// A step in flight.
struct InFlight {
    step: InFlightStep,
    /// The pictures of its batch that could not be read.
    skipped: Vec<Skipped>,
    lr: f64,
}

impl Epochs<'_> {
    /// The event that precedes the first step.
    pub(super) fn planned(&self, memory: Memory, state: &State) -> Event<'static> {
        Event::Planned {
            memory,
            batch_size: state.facts.batch_size,
            steps_per_epoch: self.loaders.train.steps(),
            total: self.total,
            done: state.position.step,
        }
    }

    /// Trains until all steps are done and validated.
    pub(super) fn run(&self, mut state: State, observe: &mut Observe) -> Result<Finished> {
        let early = |state: &State| self.config.early_stop.filter(|epochs| has_stalled(&state.rows, *epochs));
        let done = |state: &State| {
            state.is_validated() && (state.position.step >= self.total || early(state).is_some())
        };
        let already = done(&state);
        let steps = self.loaders.train.steps();
        let watch = Watch::new(state.facts.classes.len(), self.config.lr, steps);
        let mut shown = Shown::new(&self.files, state.position.step, watch, steps)?;
        while !done(&state) {
            let stopped = state.position.step < self.total && self.epoch(&mut state, &mut shown, observe)?;
            if stopped {
                self.save(&state, &mut shown, observe)?;
            }
            if stopped
                || self.finish_epoch(&mut state, &mut shown, observe)? == Control::Stop && !done(&state)
            {
                return Err(self.stopped(&state));
            }
        }
        let skipped_steps = self.step.loss_scale()?.map_or(0, |scale| scale.skipped);
        let stopped_early = early(&state).filter(|_| state.position.step < self.total);
        let best = state.best.unwrap_or_default();
        Ok(Finished { best, rows: state.rows, already, stopped_early, skipped_steps })
    }

    /// The error of a run that was asked to stop and has saved everything.
    pub(super) fn stopped(&self, state: &State) -> Error {
        Error::stopped(format!("stopped after step {} of {}", state.position.step, self.total))
            .hint("everything is saved; the same command with --resume goes on")
    }

    /// Writes a checkpoint, and before it what it must not be ahead of.
    fn save(&self, state: &State, shown: &mut Shown, observe: &mut Observe) -> Result<()> {
        shown.flush(observe)?;
        let (state, tensors) = (state.clone(), checkpoint::tensors(&self.step)?);
        disk::write(&self.files, observe, move |files| files.save(&state, &tensors))
    }

    /// The learning rate of a step, after the epochs in `rows`.
    fn rate(&self, step: u64, rows: &[Row]) -> f64 {
        let Config { schedule, lr, warmup, .. } = self.config;
        let place = Place { step, total: self.total, epoch: self.loaders.train.steps() as u64, rows };
        schedule.rate(*lr, *warmup, place)
    }

    /// Runs the rest of an epoch, or of the run. Returns whether the caller asked to stop. The GPU gets the next step before the
    /// outcome of the last one is read, except where a checkpoint is due.
    fn epoch(&self, state: &mut State, shown: &mut Shown, observe: &mut Observe) -> Result<bool> {
        let mut clock = Instant::now();
        let mut saved = Instant::now();
        let mut before: Option<InFlight> = None;
        let mut batches = self.loaders.train.epoch(state.position.epoch, state.position.step_in_epoch);
        let mut stopped = false;
        loop {
            let step = state.position.step + u64::from(before.is_some());
            let steps_done = state.position.step_in_epoch + usize::from(before.is_some());
            // After the last step of an epoch comes a checkpoint anyway.
            let is_due = before.is_some()
                && !stopped
                && step < self.total
                && steps_done < self.loaders.train.steps()
                && saved.elapsed() >= self.checkpoint_every;
            let next = match stopped || step >= self.total || is_due {
                true => None,
                false => {
                    let mut waiting = Waiting {
                        is_done: &|| before.as_ref().is_none_or(|b| self.step.is_done(&b.step)),
                        idle: 0.0,
                    };
                    let next = waiting.next_batch(&mut batches, &mut stopped, observe)?;
                    state.position.waited += waiting.idle;
                    next
                }
            };
            // The training pictures of this epoch are all read, and the processor is idle until its last steps are done.
            if next.is_some() && (step + 1 == self.total || steps_done + 1 == self.loaders.train.steps()) {
                self.loaders.val.prefetch(0, 0);
            }
            let next = next.map(|batch| self.start_step(step, &state.rows, batch)).transpose()?;
            let ended = next.is_none();
            if let Some(step) = std::mem::replace(&mut before, next) {
                stopped |=
                    self.account(step, &mut state.position, &mut clock, shown, observe)? == Control::Stop;
            }
            if is_due && !stopped {
                self.save(state, shown, &mut |event| {
                    let control = observe(event);
                    stopped |= control == Control::Stop;
                    control
                })?;
                (saved, clock) = (Instant::now(), Instant::now());
            } else if ended {
                return Ok(stopped);
            }
        }
    }

    fn start_step(&self, step: u64, rows: &[Row], batch: Batch) -> Result<InFlight> {
        let lr = self.rate(step, rows);
        let hyper = Hyper {
            lr: lr as f32,
            momentum: self.config.momentum,
            weight_decay: self.config.weight_decay,
            average_share: average_share(self.config.ema_decay, step),
            ..Hyper::default()
        };
        let hyper = hyper.with_noise(self.config.seed, step);
        let step = self.step.start_with(&batch.pixels, &self.loaders.targets(&batch), &hyper)?;
        Ok(InFlight { step, skipped: batch.skipped, lr })
    }

    /// Waits for a step and adds its outcome to the epoch.
    fn account(
        &self,
        InFlight { step, skipped, lr }: InFlight,
        at: &mut Position,
        clock: &mut Instant,
        shown: &mut Shown,
        observe: &mut Observe,
    ) -> Result<Control> {
        let outcome = self.step.finish(step)?;
        let loss: f64 = outcome.loss.iter().map(|x| f64::from(*x)).sum();
        let place = || format!("step {}", at.step + 1);
        if !loss.is_finite() {
            return Err(diverged("the loss is not a number any more").at(place()));
        }
        if outcome.loss_scale.is_some_and(|scale| scale.is_lost()) {
            return Err(diverged("the gradients are not finite at any scale").at(place()));
        }
        at.loss += loss;
        let correct = outcome.rank.iter().filter(|r| **r < 1.0).count() as u64;
        let count = outcome.rank.len() as u64;
        (at.correct, at.images) = (at.correct + correct, at.images + count);
        at.step += 1;
        at.step_in_epoch += 1;
        at.seconds += clock.elapsed().as_secs_f64();
        *clock = Instant::now();
        let told = report_skipped(&skipped, observe);
        let images = at.images as f64;
        let control = observe(Event::Step {
            epoch: at.epoch,
            step_in_epoch: at.step_in_epoch,
            step: at.step,
            loss: at.loss / images,
            top1: at.correct as f64 / images,
            lr,
            images_per_s: at.images_per_s(),
            data_wait: at.data_wait(),
        });
        let (images_per_s, data_wait) = (at.images_per_s(), at.data_wait());
        let done = StepDone { step: at.step, loss, correct, images: count, lr, images_per_s, data_wait };
        let warned = shown.step(done, observe)?;
        Ok([told, control, warned].into_iter().find(|c| *c == Control::Stop).unwrap_or(Control::Continue))
    }

    /// Validates and saves. A validation that is stopped is repeated when the run is resumed. The checkpoint is written last: a run
    /// that is killed before it repeats the epoch, and writes the other files again with the same content.
    fn finish_epoch(&self, state: &mut State, shown: &mut Shown, observe: &mut Observe) -> Result<Control> {
        let Position { epoch, step, step_in_epoch, .. } = state.position;
        if step < self.total && step_in_epoch >= self.loaders.train.steps() {
            self.loaders.train.prefetch(epoch + 1, 0);
        }
        let Some(scores) = self.validate(&state.position, observe)? else {
            self.save(state, shown, observe)?;
            return Ok(Control::Stop);
        };
        let outline = Outline::of(&scores, &state.facts.classes);
        let evaluation = scores.evaluation();
        let row = self.row(state, &evaluation);
        state.rows.push(row);
        let weights =
            Weights { tensors: self.step.averaged_weights()?, metadata: Some(self.metadata.clone()) };
        let best = state.best.is_none_or(|best| evaluation.top1 > best);
        if best {
            state.best = Some(evaluation.top1);
        }
        shown.epoch(&state.rows);
        let names = self.step.parameters().iter().map(|trained| trained.parameter.name.as_str());
        let filters = first_filters(names, &weights.tensors);
        let never = outline.confusion.never_predicted();
        let (rows, classes) = (state.rows.clone(), state.facts.classes.clone());
        let (val, json) = (self.loaders.val.clone(), self.settings.clone());
        disk::write(&self.files, observe, move |files| {
            files.write_epoch(&weights, best, &rows)?;
            let page = outline.page(files.name(), &json, &rows, filters, &classes, &val)?;
            files.write_page(&page.html())
        })?;
        let at = &mut state.position;
        if at.step_in_epoch >= self.loaders.train.steps() {
            *at = Position { epoch: at.epoch + 1, step: at.step, ..Default::default() };
        }
        self.save(state, shown, observe)?;
        let control = observe(Event::Epoch(&row));
        let warned = shown.warn(&state.rows, never, observe);
        Ok(if warned == Control::Stop { warned } else { control })
    }

    /// Evaluates the weights on the validation pictures; `None` if the caller asked to stop meanwhile.
    fn validate(&self, at: &Position, observe: &mut Observe) -> Result<Option<Scores>> {
        let mut skipped = Vec::new();
        if self.config.ema_decay.is_some() {
            let tensors = self.step.averaged_weights()?;
            let parameters = self.evaluation.parameters().iter();
            transfer::load(self.evaluation.session(), parameters, &InMemory::new(&tensors))?;
        }
        let mut progress = |progress: Progress| match progress {
            Progress::Done { images, skipped: more } => {
                skipped.extend_from_slice(more);
                observe(Event::Validating(images))
            }
            Progress::Waiting => observe(Event::Waiting),
            Progress::Hung(hung) => observe(Event::Hung(hung)),
        };
        let result = score(&self.evaluation, &self.loaders.val, &mut progress);
        if let Err(Error::Stopped(_)) = result {
            return Ok(None);
        }
        let place = || format!("validation after step {}", at.step);
        let scores = result.map_err(|e| in_validation(e).at(place()))?;
        let told = report_skipped(&skipped, observe);
        Ok((told == Control::Continue).then_some(scores))
    }

    /// The row of the table for an epoch.
    fn row(&self, state: &State, evaluation: &Evaluation) -> Row {
        let at = &state.position;
        let images = at.images.max(1) as f64;
        Row {
            epoch: u64::from(at.epoch) + 1,
            step: at.step,
            lr: self.rate(at.step.saturating_sub(1), &state.rows),
            train_loss: at.loss / images,
            train_top1: at.correct as f64 / images,
            val_loss: evaluation.loss,
            val_top1: evaluation.top1,
            val_top5: evaluation.top5,
            images_per_s: at.images_per_s(),
            data_wait: Some(at.data_wait()),
        }
    }
}

/// 1 minus the decay of averaged weights in a step. The decay grows at the beginning, so that the first weights do not linger: the
/// `num_updates` of TensorFlow's `ExponentialMovingAverage`.
fn average_share(decay: Option<f64>, step: u64) -> f32 {
    let step = step as f64;
    (1.0 - decay.unwrap_or_default().min((1.0 + step) / (10.0 + step))) as f32
}

/// Whether the accuracy on the validation pictures has not improved for this number of epochs.
fn has_stalled(rows: &[Row], epochs: u32) -> bool {
    let best = rows.iter().map(|row| row.val_top1).fold(0.0, f64::max);
    let first = rows.iter().position(|row| row.val_top1 >= best);
    first.is_some_and(|first| rows.len() - 1 - first >= epochs as usize)
}

/// Names the pictures that could not be read; [`Control::Stop`] if the caller asked for it at one of them.
fn report_skipped(skipped: &[Skipped], observe: &mut Observe) -> Control {
    let mut control = Control::Continue;
    for picture in skipped {
        if observe(Event::Skipped(picture)) == Control::Stop {
            control = Control::Stop;
        }
    }
    control
}
