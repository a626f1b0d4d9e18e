//! What a run shows besides its events: the scalars for TensorBoard, the warnings.

use super::disk::{self, Observe};
use super::folder::Files;
use super::tensorboard::Records;
use super::warnings::Watch;
use super::{Control, Event, Row};
use crate::error::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Points of an epoch.
const POINTS: usize = 50;

/// How long points stay in memory. They are also written before each checkpoint, so that a resumed run lacks none.
const KEPT: Duration = Duration::from_secs(30);

/// A step that is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepDone {
    /// Steps of the run that are done.
    pub(super) step: u64,
    /// Sum of the losses of its pictures.
    pub(super) loss: f64,
    pub(super) correct: u64,
    pub(super) images: u64,
    pub(super) lr: f64,
    /// Pictures a second over the epoch so far.
    pub(super) images_per_s: f64,
    /// The share of the epoch so far in which the GPU waited for data.
    pub(super) data_wait: f64,
}

/// What a run shows.
pub(super) struct Shown {
    files: Arc<Files>,
    /// The event file of this start.
    name: String,
    records: Records,
    written: Instant,
    /// Steps between points.
    every: u64,
    /// Loss, correct pictures and pictures since the last point.
    since: (f64, u64, u64),
    watch: Watch,
}

impl Shown {
    /// For a start after this many steps, in a folder that has the event files of earlier ones.
    ///
    /// # Errors
    /// [`crate::Error::Io`] if the folder cannot be read.
    pub(super) fn new(files: &Arc<Files>, done: u64, watch: Watch, steps_per_epoch: usize) -> Result<Self> {
        let mut records = Records::default();
        records.start(done);
        Ok(Self {
            files: files.clone(),
            name: files.next_events()?,
            records,
            written: Instant::now(),
            every: steps_per_epoch.div_ceil(POINTS).max(1) as u64,
            since: (0.0, 0, 0),
            watch,
        })
    }

    /// Takes in a step.
    pub(super) fn step(&mut self, done: StepDone, observe: &mut Observe) -> Result<Control> {
        let (loss, correct, images) = self.since;
        self.since = (loss + done.loss, correct + done.correct, images + done.images);
        if done.step.is_multiple_of(self.every) {
            let (loss, correct, images) = std::mem::take(&mut self.since);
            let count = images.max(1) as f64;
            self.records.add(
                done.step,
                &[
                    ("loss/train", loss / count),
                    ("accuracy/train", correct as f64 / count),
                    ("learning rate", done.lr),
                    ("images per second", done.images_per_s),
                    ("data wait", done.data_wait),
                ],
            );
        }
        let mean = done.loss / done.images.max(1) as f64;
        let warning = self.watch.step(mean, done.lr);
        let control = warning.map_or(Control::Continue, |warning| observe(Event::Warning(&warning)));
        if self.written.elapsed() >= KEPT {
            self.flush(observe)?;
        }
        Ok(control)
    }

    /// Takes in an epoch: the rows of the table up to it.
    pub(super) fn epoch(&mut self, rows: &[Row]) {
        let Some(row) = rows.last() else { return };
        self.records.add(
            row.step,
            &[
                ("loss/val", row.val_loss),
                ("accuracy/val_top1", row.val_top1),
                ("accuracy/val_top5", row.val_top5),
                ("epoch", row.epoch as f64),
            ],
        );
    }

    /// Warns of what the epochs so far show.
    pub(super) fn warn(&mut self, rows: &[Row], never: Vec<String>, observe: &mut Observe) -> Control {
        let mut control = Control::Continue;
        for warning in self.watch.epoch(rows, never) {
            if observe(Event::Warning(&warning)) == Control::Stop {
                control = Control::Stop;
            }
        }
        control
    }

    /// Writes the points so far.
    ///
    /// # Errors
    /// Those of [`disk::write`].
    pub(super) fn flush(&mut self, observe: &mut Observe) -> Result<()> {
        self.written = Instant::now();
        let (name, bytes) = (self.name.clone(), self.records.take());
        disk::write(&self.files, observe, move |files| files.append(&name, &bytes))
    }
}
