//! What `ocelli train` prints.

use super::progress::Progress;
use super::train_line::Facts;
use super::{Global, grouped, print, say_census, slow, usual};
use crate::error::{Error, Result, Untrusted};
use crate::train::{Event, Finished, Row};
use serde_json::json;
use std::time::{Duration, Instant};

/// Without a progress bar the state of the run is printed once in this time.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Prints the events of a run.
pub(super) struct Reporter<'a> {
    global: &'a Global,
    arch: &'a str,
    json: bool,
    progress: Progress,
    /// Pictures that could not be read, counted each time.
    skipped: u64,
    total_steps: u64,
    /// When the first step of this start began, and the steps that were done before.
    started: (Instant, u64),
    last_line: Instant,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(global: &'a Global, arch: &'a str, json: bool) -> Self {
        let (progress, now) = (Progress::line(global.quiet), Instant::now());
        Self { global, arch, json, progress, skipped: 0, total_steps: 0, started: (now, 0), last_line: now }
    }

    /// Prints an event.
    ///
    /// # Errors
    /// Those of [`print`].
    pub(super) fn report(&mut self, event: Event) -> Result<()> {
        if self.json {
            print_json(&event)?;
        }
        self.say(event);
        Ok(())
    }

    /// Prints that the run was stopped by its time limit. On a terminal that has been said.
    ///
    /// # Errors
    /// Those of [`print`].
    pub(super) fn stopped(&self) -> Result<()> {
        if self.json { line_of_json(&json!({ "event": "stopped", "reason": "time limit" })) } else { Ok(()) }
    }

    /// Prints the result of the run.
    ///
    /// # Errors
    /// Those of [`print`].
    pub(super) fn result(&self, finished: &Finished) -> Result<()> {
        if !self.json {
            return print(&format!("best validation top-1: {:.2}%", 100.0 * finished.best));
        }
        line_of_json(&json!({
            "event": "finished", "best_val_top1": finished.best, "epochs": finished.rows.len(),
            "stopped_early": finished.stopped_early.is_some(), "skipped_steps": finished.skipped_steps,
        }))
    }

    /// The time to the end of the run, validation included; `None` until there is something to go by.
    fn left(&self, step: u64) -> Option<Duration> {
        let (start, before) = self.started;
        let done = step.checked_sub(before).filter(|done| *done > 1)?;
        let rest = self.total_steps.saturating_sub(step) as f64 / done as f64;
        Duration::try_from_secs_f64(start.elapsed().as_secs_f64() * rest).ok()
    }

    fn say(&mut self, event: Event) {
        let (global, progress) = (self.global, &self.progress);
        match event {
            Event::NothingToResume(folder) => {
                global.say(format!("there is no run in {} yet: it begins", Untrusted::new(folder)));
            }
            Event::OlderCheckpoint { why, path, step } => {
                global.say(super::advice::message(why));
                let (path, step) = (Untrusted::new(path), grouped(step));
                global.say(format!("going on from {path}, after step {step}, to the same bits"));
            }
            Event::DeviceLost { why, time, most } => {
                progress.say(format!(
                    "{}; it is opened again ({time} of at most {most} times in ten minutes)",
                    Untrusted::new(&why.report().what)
                ));
            }
            Event::Reopened { gpu, step } => {
                let (name, step) = (Untrusted::new(&gpu.info().name), grouped(step));
                progress.say(format!(
                    "{name} is open again; the run goes on from the last checkpoint, after step {step}, to the same bits"
                ));
            }
            Event::Start { notes, assumed } => {
                notes.iter().for_each(|note| global.say(super::advice::named(note)));
                assumed.iter().for_each(|metadata| global.say(usual(metadata)));
            }
            Event::Planned { memory, batch_size, steps_per_epoch, total, done } => {
                // Lines come before the progress bar: one that is printed while the bar is drawn leaves a copy of it behind.
                global.say(plan_line(self.arch, batch_size, steps_per_epoch, total, done));
                global.say(format!("GPU memory: {memory}"));
                self.total_steps = total;
                self.progress = Progress::line(global.quiet);
                self.started = (Instant::now(), done);
            }
            Event::Step { step, loss, top1, lr, images_per_s, data_wait, epoch, .. } => {
                let (epoch, total, left) = (epoch + 1, self.total_steps, self.left(step));
                let line = Facts { epoch, step, total, loss, top1, lr, images_per_s, data_wait, left }.line();
                if !progress.is_visible() && self.last_line.elapsed() > BETWEEN_LINES {
                    self.last_line = Instant::now();
                    global.say(&line);
                }
                progress.message(line);
            }
            Event::Warning(warning) => {
                progress.say(format!(
                    "warning: {}; {}",
                    Untrusted::new(&warning.to_string()),
                    warning.help()
                ));
            }
            Event::Skipped(picture) => {
                self.skipped += 1;
                progress.say(format!("skipped {}: {}", picture.name, picture.reason));
            }
            Event::HeldOut { share, list } => {
                let (share, list) = (100.0 * share, Untrusted::new(list));
                global.say(format!(
                    "the data has no val/: {share:.0}% of the pictures of each class are for validation; {list} lists them"
                ));
            }
            Event::Data(census) => say_census(global, census),
            Event::Tuning(_) | Event::Waiting => {}
            Event::Hung(hung) => progress.say(slow(hung)),
            Event::Validating(images) => progress.message(format!("validating, {images} pictures")),
            Event::Epoch(row) => progress.say(line(row)),
        }
    }

    /// Removes the progress bar and prints how often pictures could not be read.
    pub(super) fn finish(&self) {
        self.progress.finish();
        if self.skipped > 0 {
            self.global.say(format!("pictures could not be read {} times (named above)", self.skipped));
        }
    }
}

fn plan_line(arch: &str, batch_size: usize, steps_per_epoch: usize, total: u64, done: u64) -> String {
    let done = if done > 0 { format!(", going on after step {}", grouped(done)) } else { String::new() };
    let (per_epoch, total) = (grouped(steps_per_epoch as u64), grouped(total));
    format!("{arch}: batches of {batch_size}, {per_epoch} steps an epoch, {total} steps in all{done}")
}

fn line(row: &Row) -> String {
    format!(
        "epoch {}: step {}, train loss {:.4} top-1 {:.2}%, val loss {:.4} top-1 {:.2}% top-5 {:.2}%, {:.0} images/s{}",
        row.epoch,
        row.step,
        row.train_loss,
        100.0 * row.train_top1,
        row.val_loss,
        100.0 * row.val_top1,
        100.0 * row.val_top5,
        row.images_per_s,
        row.data_wait.map_or_else(String::new, |share| format!(", waited for data {:.0}%", 100.0 * share))
    )
}

/// Prints a step, a warning, a lost device or an epoch as a line of JSON. Other events are for people.
fn print_json(event: &Event) -> Result<()> {
    match event {
        Event::Step { epoch, step_in_epoch, step, loss, top1, lr, images_per_s, data_wait } => {
            line_of_json(&json!({
                "event": "step", "epoch": epoch + 1, "step_in_epoch": step_in_epoch, "step": step, "loss": loss, "top1": top1,
                "lr": lr, "images_per_s": images_per_s, "data_wait": data_wait,
            }))
        }
        Event::Warning(warning) => line_of_json(&json!({
            "event": "warning", "kind": warning.kind(), "what": warning.to_string(), "help": warning.help(),
        })),
        Event::DeviceLost { why, time, .. } => line_of_json(&json!({
            "event": "device_lost", "what": why.to_string(), "times_in_ten_minutes": time,
        })),
        Event::Reopened { step, .. } => line_of_json(&json!({ "event": "reopened", "step": step })),
        Event::Epoch(row) => {
            let mut line = serde_json::to_value(row)
                .map_err(|e| Error::internal(format!("the row of an epoch cannot be written: {e}")))?;
            line["event"] = "epoch".into();
            line_of_json(&line)
        }
        Event::Planned { batch_size, steps_per_epoch, total, done, memory } => line_of_json(&json!({
            "event": "start", "batch_size": batch_size, "steps_per_epoch": steps_per_epoch, "steps": total, "done": done,
            "gpu_bytes": memory.total(),
        })),
        _ => Ok(()),
    }
}

fn line_of_json(line: &serde_json::Value) -> Result<()> {
    print(&line.to_string())
}
