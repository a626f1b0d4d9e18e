//! The events of a run, and its result.

use super::{Row, Warning};
use crate::autotune::Notice;
use crate::data::{Census, Hung, Skipped};
use crate::error::{Error, Note};
use crate::gpu::Gpu;
use crate::plan::Memory;
use crate::weights::Metadata;
use std::path::Path;

/// An event of a run. The caller can stop the run at any of them.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The folder has no run to resume. A new one begins.
    NothingToResume(&'a Path),
    /// The newest checkpoint cannot be used. The run goes on from the one before it, and ends with the same bits.
    OlderCheckpoint {
        /// The error of the newest one.
        why: &'a Error,
        /// The one before it.
        path: &'a Path,
        /// The step after which that one was written.
        step: u64,
    },
    /// The device was lost, because its driver was reset. Another one is opened. The run goes on from its last checkpoint, and ends with
    /// the same bits.
    DeviceLost {
        /// The error.
        why: &'a Error,
        /// How often that has happened within ten minutes, this time included.
        time: usize,
        /// How often a run goes on after that within ten minutes.
        most: usize,
    },
    /// Another device is open, and the last checkpoint has been read.
    Reopened {
        /// The device.
        gpu: &'a Gpu,
        /// The step after which the checkpoint was written: steps after it are done again.
        step: u64,
    },
    /// The run starts from a file of weights.
    Start {
        /// Sentences on what is used of the file and what is not.
        notes: &'a [Note],
        /// Metadata that the file lacks and that is assumed, because it is usual for the network.
        assumed: Option<&'a Metadata>,
    },
    /// Algorithms are being selected.
    Tuning(Notice),
    /// Everything is allocated, and the first step is about to run.
    Planned {
        /// GPU memory of the run.
        memory: Memory,
        /// Pictures in a batch.
        batch_size: usize,
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// Steps of the whole run.
        total: u64,
        /// Steps that were done before the run was resumed.
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
        /// Accuracy over the epoch so far.
        top1: f64,
        /// Learning rate of the step.
        lr: f64,
        /// Pictures a second over the epoch so far.
        images_per_s: f64,
        /// The share of the time of the epoch so far in which the GPU had nothing to do because the next batch was not ready.
        data_wait: f64,
    },
    /// A picture could not be read.
    Skipped(&'a Skipped),
    /// The data has no validation part. This share of the pictures of each class is held out for validation, and this file in the
    /// folder of the run will list them.
    HeldOut {
        /// The share.
        share: f64,
        /// The file.
        list: &'a Path,
    },
    /// The content of a part of the data. There is one of these for each part, before the first step.
    Data(&'a Census),
    /// The run waits for pictures or other files, or prepares its first step. While it waits for files, this event comes several times
    /// a second, so that a run can be stopped meanwhile.
    Waiting,
    /// Reading a picture or another file takes very long.
    Hung(&'a Hung),
    /// The number of pictures that the validation after an epoch has done.
    Validating(u64),
    /// The run goes wrong or wastes time. Each kind of warning comes once.
    Warning(&'a Warning),
    /// An epoch is done and saved.
    Epoch(&'a Row),
}

/// The answer of the caller to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Finish the step in flight, save a checkpoint and stop. Before the first step there is nothing to save.
    Stop,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finished {
    /// The rows of `metrics.csv`.
    pub rows: Vec<Row>,
    /// The best accuracy on the validation pictures.
    pub best: f64,
    /// Whether the run was finished before it was resumed.
    pub already: bool,
    /// The epochs without a better accuracy on the validation pictures after which the run ended early, if it did.
    pub stopped_early: Option<u32>,
    /// Steps that were skipped because a scaled gradient was not finite; 0 in f32.
    pub skipped_steps: u32,
}
