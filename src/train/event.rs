//! What is heard of a run, and what it comes to.

use super::Row;
use crate::autotune::Notice;
use crate::data::{Census, Hung, Skipped};
use crate::error::{Error, Note};
use crate::plan::Memory;
use crate::weights::Metadata;
use std::path::Path;

/// What the caller hears of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// There is no run to resume in this folder: one begins.
    NothingToResume(&'a Path),
    /// The newest checkpoint cannot be used. The run goes on from the one before it, to the same end.
    OlderCheckpoint {
        /// What is wrong with the newest one.
        why: &'a Error,
        /// The one before it.
        path: &'a Path,
        /// The step that it was made after.
        step: u64,
    },
    /// The weights that the run starts from.
    Start {
        /// What was chosen of the file and what was left out, a sentence each.
        notes: &'a [Note],
        /// What the file does not say, but is usual for its network.
        assumed: Option<&'a Metadata>,
    },
    /// Kernels are being chosen.
    Tuning(Notice),
    /// The plan is made and nothing has run yet.
    Planned {
        /// GPU memory of the run.
        memory: Memory,
        /// Pictures in a batch.
        batch_size: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Steps of the whole run.
        total: u64,
        /// Steps that an earlier part of the run has done.
        done: u64,
    },
    /// A step is done.
    Step {
        /// The epoch that it belongs to, counted from 0.
        epoch: u32,
        /// Steps of that epoch that are done.
        step_in_epoch: usize,
        /// Steps of the run that are done.
        step: u64,
        /// Mean cross-entropy over the epoch so far, in nats.
        loss: f64,
        /// Part of the pictures of the epoch so far that were classified right.
        top1: f64,
        /// Pictures a second over the epoch so far.
        images_per_s: f64,
    },
    /// A picture could not be read.
    Skipped(&'a Skipped),
    /// What a part of the data holds; the first thing that is said.
    Data(&'a Census),
    /// Pictures, or other files, are being waited for; said some times a second, so that a run can be stopped then, too.
    Waiting,
    /// Reading a picture or another file takes very long.
    Hung(&'a Hung),
    /// The validation after an epoch has done so many pictures.
    Validating(u64),
    /// An epoch is done and saved.
    Epoch(&'a Row),
}

/// What the caller answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Finish the step that is under way, save a checkpoint and stop.
    Stop,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The table of the run.
    pub rows: Vec<Row>,
    /// The best accuracy on the validation pictures.
    pub best: f64,
    /// Whether there was nothing left to do.
    pub already: bool,
    /// Steps that were skipped because a gradient was not finite at the scale of the loss; 0 in f32.
    pub skipped_steps: u32,
}
