//! A checkpoint: everything that a run needs to be resumed with the same bits, in one file.
//!
//! The file is a safetensors file. Its tensors are copies of GPU memory, padding included, so nothing is rounded:
//! `weights/NAME` for parameters and running statistics, `momentum/NAME` for the optimizer state, `average/NAME` for averages, `loss scale` in f16. The
//! metadata `ocelli.checkpoint` holds the [`State`] as JSON.

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

/// The newest checkpoint in the folder of a run. Other programs cannot use it as a file of weights.
pub const FILE: &str = "checkpoint.safetensors";

/// The checkpoint before the newest one, which is used if the newest one is damaged.
pub const PREVIOUS: &str = "checkpoint.previous.safetensors";

const KEY: &str = "ocelli.checkpoint";
/// The version of the format and of the random numbers of a run. Since version 4 random numbers come from upper bits, and the file
/// has checksums.
const VERSION: u32 = 4;

/// The position of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch in progress, counted from 0.
    pub epoch: u32,
    /// Steps of this epoch that are done.
    pub step_in_epoch: usize,
    /// Steps of the whole run that are done.
    pub step: u64,
    /// Sum of the losses of the epoch's pictures so far.
    pub loss: f64,
    /// Pictures of the epoch so far that were classified correctly.
    pub correct: u64,
    /// Pictures of the epoch so far.
    pub images: u64,
    /// Seconds of the epoch so far.
    pub seconds: f64,
    /// Seconds of the epoch so far in which the GPU had nothing to do because the next batch was not ready.
    #[serde(default)]
    pub waited: f64,
}

impl Position {
    /// Pictures a second over the epoch so far.
    pub fn images_per_s(&self) -> f64 {
        self.images as f64 / self.seconds.max(1e-9)
    }

    /// The share of the time of the epoch so far in which the GPU waited for data, from 0 to 1.
    pub fn data_wait(&self) -> f64 {
        (self.waited / self.seconds.max(1e-9)).clamp(0.0, 1.0)
    }
}

/// Properties of the data of a run. A run can only be resumed on data with the same properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Names of the network's classes.
    pub classes: Vec<String>,
    /// Pictures of the training part, before a limit is applied.
    pub train_pictures: usize,
    /// Pictures of the validation part, before a limit is applied.
    pub val_pictures: usize,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Pictures in a batch.
    pub batch_size: usize,
    /// The preprocessing of the pictures.
    pub preprocessing: Preprocessing,
}

impl Facts {
    /// Describes each difference that prevents a run from being resumed.
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

/// The part of a checkpoint that is not tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The settings of the run.
    pub config: Config,
    /// The properties of its data.
    pub facts: Facts,
    /// The algorithms of its products. Other algorithms give other bits.
    #[serde(default)]
    #[serde(rename = "choices")]
    pub algorithms: AlgorithmCache,
    /// Its position.
    pub position: Position,
    /// The rows of `metrics.csv` so far.
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

    /// Whether the weights at this position have been validated.
    pub fn is_validated(&self) -> bool {
        self.rows.last().is_some_and(|row| row.step == self.position.step)
    }
}

/// The states of a training step in GPU memory, by name.
pub(super) type Tensors = BTreeMap<String, Tensor>;

/// Reads the states of a training step from GPU memory.
///
/// # Errors
/// Those of [`Session::read_stored`].
pub(super) fn tensors(step: &TrainingStep) -> Result<Tensors> {
    let mut tensors = BTreeMap::new();
    let mut put = |name: String, session: &Session, value| -> Result<()> {
        let data = session.read_stored(value)?;
        tensors.insert(name, Tensor { shape: vec![data.len()], data });
        Ok(())
    };
    for Trained { parameter, velocity, average } in step.parameters() {
        put(format!("weights/{}", parameter.key()), step.session(), parameter.value)?;
        if let Some(velocity) = velocity {
            put(format!("momentum/{}", parameter.key()), step.optimizer(), *velocity)?;
        }
        if let Some(average) = average {
            put(format!("average/{}", parameter.key()), step.optimizer(), *average)?;
        }
    }
    if let Some(scale) = step.scale() {
        put(LOSS_SCALE.to_owned(), step.session(), scale)?;
    }
    Ok(tensors)
}

/// Writes a checkpoint. `ready` is called right before the new file replaces the old one.
///
/// # Errors
/// [`Error::Io`] if it cannot be written; the old file is then still there. Those of `ready`.
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
    /// Everything that is not tensors.
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

/// Reads a checkpoint with or without valid checksums. Only for fuzzing, which changes bytes without their checksums.
///
/// # Errors
/// Those of [`read`].
#[doc(hidden)]
pub fn read_unsummed(path: &Path) -> Result<Checkpoint> {
    read_any(path).map(|(checkpoint, _)| checkpoint)
}

/// Reads a checkpoint, and whether it has checksums.
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
        for Trained { parameter, velocity, average } in step.parameters() {
            put(format!("weights/{}", parameter.key()), step.session(), parameter.value)?;
            if let Some(velocity) = velocity {
                put(format!("momentum/{}", parameter.key()), step.optimizer(), *velocity)?;
            }
            if let Some(average) = average {
                put(format!("average/{}", parameter.key()), step.optimizer(), *average)?;
            }
        }
        step.scale().map_or(Ok(()), |scale| put(LOSS_SCALE.to_owned(), step.session(), scale))
    }
}
