//! A checkpoint: everything that a run needs to go on as if it had never stopped, in one file.
//!
//! The file is a safetensors file. Tensors are the bytes of the GPU's memory, so nothing is rounded or moved:
//! `weights/NAME` for parameters and running statistics, `momentum/NAME` for velocities, `loss scale` in f16. The metadata
//! `ocelli.checkpoint` holds the [`State`] as JSON.

use super::optimizer::LOSS_SCALE;
use super::{Config, Row, Trained, TrainingStep};
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::kernels::AlgorithmCache;
use crate::plan::Session;
use crate::weights::{Tensor, read_summed, write_tensors_if};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file of a run's folder that an interrupted run goes on from. It is no file of weights for others.
pub const FILE: &str = "checkpoint.safetensors";

/// The checkpoint before that, which is used where the newest one is damaged.
pub const PREVIOUS: &str = "checkpoint.previous.safetensors";

const KEY: &str = "ocelli.checkpoint";
/// What else a run draws at random is part of it: from version 4 on it is drawn from upper bits, and there are checksums.
const VERSION: u32 = 4;

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch in progress, counted from 0.
    pub epoch: u32,
    /// Steps of it that are done.
    pub step_in_epoch: usize,
    /// Steps of the whole run that are done.
    pub step: u64,
    /// Sum of the losses of the epoch's pictures so far.
    pub loss: f64,
    /// Pictures of the epoch so far that were classified right.
    pub correct: u64,
    /// Pictures of the epoch so far.
    pub images: u64,
    /// Seconds of the epoch so far.
    pub seconds: f64,
}

/// What a run found its data to be. It may not change under a run that is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Names of the network's classes.
    pub classes: Vec<String>,
    /// Pictures of the training part, without regard to a limit.
    pub train_pictures: usize,
    /// The same of the validation part.
    pub val_pictures: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Pictures in a batch.
    pub batch_size: usize,
    /// How pixels become numbers.
    pub preprocessing: Preprocessing,
}

impl Facts {
    /// Says in what two differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.classes != other.classes {
            parts.push(format!(
                "its {} classes are not the {} of now",
                self.classes.len(),
                other.classes.len()
            ));
        }
        for (what, was, is) in [
            ("training", self.train_pictures, other.train_pictures),
            ("validation", self.val_pictures, other.val_pictures),
        ] {
            if was != is {
                parts.push(format!("it had {was} {what} pictures and now has {is}"));
            }
        }
        parts
    }
}

/// What a checkpoint knows besides the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// What the run was started with.
    pub config: Config,
    /// What it was started on.
    pub facts: Facts,
    /// How its products are computed: another way gives other bits.
    #[serde(default)]
    #[serde(rename = "choices")]
    pub algorithms: AlgorithmCache,
    /// Where it stands.
    pub position: Position,
    /// The table so far.
    pub rows: Vec<Row>,
    /// The accuracy of `best.safetensors`.
    pub best: Option<f64>,
}

impl State {
    /// The state of a run that is about to start.
    pub fn new(config: Config, facts: Facts, algorithms: AlgorithmCache) -> Self {
        let position = Position::default();
        Self { version: VERSION, config, facts, algorithms, position, rows: Vec::new(), best: None }
    }

    /// Whether there is a row of the table for where the run stands.
    pub fn is_validated(&self) -> bool {
        self.rows.last().is_some_and(|row| row.step == self.position.step)
    }
}

/// What a step has in the memory of the GPU, by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// Reads what a step has in the memory of the GPU.
///
/// # Errors
/// As [`Session::read_stored`].
pub(super) fn tensors(step: &TrainingStep) -> Result<Tensors> {
    let mut tensors = BTreeMap::new();
    let mut put = |name: String, session: &Session, value| -> Result<()> {
        let data = session.read_stored(value)?;
        tensors.insert(name, Tensor { shape: vec![data.len()], data });
        Ok(())
    };
    for Trained { parameter, velocity } in step.parameters() {
        put(format!("weights/{}", parameter.key()), step.session(), parameter.value)?;
        if let Some(velocity) = velocity {
            put(format!("momentum/{}", parameter.key()), step.optimiser(), *velocity)?;
        }
    }
    if let Some(scale) = step.scale() {
        put(LOSS_SCALE.to_owned(), step.session(), scale)?;
    }
    Ok(tensors)
}

/// Writes a checkpoint; `ready` is asked right before it takes its place.
///
/// # Errors
/// [`Error::Io`] if it cannot be written; then the previous one is still there. Those of `ready`.
pub(super) fn write(
    path: &Path,
    ready: &mut dyn FnMut() -> Result<()>,
    state: &State,
    tensors: &Tensors,
) -> Result<()> {
    let json = serde_json::to_string(state)
        .map_err(|e| Error::internal(format!("the state cannot be written: {e}")))?;
    write_tensors_if(path, ready, tensors, &BTreeMap::from([(KEY.to_owned(), json)]))
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A checkpoint in memory.
pub struct Checkpoint {
    /// Where the run stood.
    pub state: State,
    tensors: BTreeMap<String, Tensor>,
}

/// Reads a checkpoint.
///
/// # Errors
/// [`Error::NotFound`] if it is not there, [`Error::Data`] if it is damaged or has no checksums, [`Error::Usage`] if it is of another
/// version.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let (checkpoint, is_summed) = read_any(path)?;
    if is_summed {
        return Ok(checkpoint);
    }
    Err(Error::data("this checkpoint has lost its checksums, without which damage is not noticed")
        .at(path.display().to_string())
        .hint("take another copy of it, or start again in another folder"))
}

/// For fuzzing, whose changes checksums would stop: a checkpoint, with or without them. Nothing goes on from it.
///
/// # Errors
/// As [`read`].
#[doc(hidden)]
pub fn read_unsummed(path: &Path) -> Result<Checkpoint> {
    read_any(path).map(|(checkpoint, _)| checkpoint)
}

/// A checkpoint, and whether it has checksums.
fn read_any(path: &Path) -> Result<(Checkpoint, bool)> {
    let place = || path.display().to_string();
    let ((tensors, metadata), is_summed) = read_summed(path)?;
    let json = metadata
        .get(KEY)
        .ok_or_else(|| Error::data("this is no checkpoint of a training run").at(place()))?;
    let unreadable = |e| {
        Error::data(format!("the state in this checkpoint cannot be read: {e}"))
            .at(place())
            .hint("start again in another folder")
    };
    let Version { version } = serde_json::from_str(json).map_err(unreadable)?;
    if version != VERSION {
        return Err(Error::usage(format!("this checkpoint has version {version}, not {VERSION}"))
            .at(place())
            .hint("go on with the version of Ocelli that wrote it, or start again in another folder"));
    }
    let state: State = serde_json::from_str(json).map_err(unreadable)?;
    Ok((Checkpoint { state, tensors }, is_summed))
}

impl Checkpoint {
    /// Writes its tensors into a step.
    ///
    /// # Errors
    /// [`Error::Data`] if they are not those of the network.
    pub fn restore(&self, step: &TrainingStep) -> Result<()> {
        let put = |name: String, session: &Session, value| -> Result<()> {
            let tensor =
                self.tensors.get(&name).ok_or_else(|| Error::data(format!("the checkpoint lacks {name}")))?;
            session.write_stored(value, bytemuck::cast_slice(&tensor.data)).map_err(|e| e.at(name))
        };
        for Trained { parameter, velocity } in step.parameters() {
            put(format!("weights/{}", parameter.key()), step.session(), parameter.value)?;
            if let Some(velocity) = velocity {
                put(format!("momentum/{}", parameter.key()), step.optimiser(), *velocity)?;
            }
        }
        step.scale().map_or(Ok(()), |scale| put(LOSS_SCALE.to_owned(), step.session(), scale))
    }
}
