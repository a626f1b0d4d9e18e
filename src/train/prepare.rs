//! Preparing a run: a new run and a resumed one both give a [`Start`].

use super::checkpoint::{Checkpoint, Facts, State};
use super::classifier_head::Heads;
use super::disk::{self, Observe, report};
use super::folder::Resumed;
use super::initial_weights;
use super::job::Job;
use super::tune::choose;
use super::{Balance, Config, Event, InitRule, Length, Target, TrainingStep, budget};
use crate::data::{Augment, Batch, Dataset, Last, Loader, LoaderOptions, Mixed, aside};
use crate::error::{Error, Result};
use crate::exchange::ModelFile;
use crate::models::{MAX_CLASSES, Mode};
use crate::weights::Metadata;
use std::path::PathBuf;
use std::sync::Arc;

/// The training and the validation part of the data.
pub(super) type Datasets = [Arc<dyn Dataset>; 2];

/// Where a run starts.
pub(super) struct Start {
    pub(super) loaders: Loaders,
    pub(super) state: State,
    pub(super) tensors: FirstTensors,
    /// Whether the checkpoint of this start must be written.
    pub(super) save: bool,
}

/// A run that starts with its first step.
///
/// # Errors
/// Those of the file of weights, of [`Loader::new`] and [`choose`].
pub(super) fn fresh(
    job: &Job,
    datasets: &Datasets,
    classes: Vec<String>,
    observe: &mut Observe,
) -> Result<Start> {
    let weights = open_weights(job, &classes, observe)?;
    let facts = examine(job, datasets, classes, weights.as_ref().map(|(file, _)| file), observe)?;
    let loaders = Loaders::new(job.config, &facts, datasets)?;
    let algorithms = choose(job, &job.settings(&facts), observe)?;
    let state = State::new(job.config.clone(), facts, algorithms);
    let tensors =
        weights.map_or(FirstTensors::Random, |(file, heads)| FirstTensors::File(Box::new(file), heads));
    Ok(Start { loaders, state, tensors, save: true })
}

/// A run that goes on from a checkpoint.
///
/// # Errors
/// [`Error::Data`] if the data has changed since the run was started; those of [`Loader::new`].
pub(super) fn resumed(
    job: &Job,
    datasets: &Datasets,
    classes: Vec<String>,
    resumed: Resumed,
    observe: &mut Observe,
) -> Result<Start> {
    let Resumed { checkpoint, path, again, older } = resumed;
    let step = checkpoint.state.position.step;
    if let Some(why) = &older {
        report(observe, Event::OlderCheckpoint { why, path: &path, step })?;
    }
    let [train_pictures, val_pictures] = datasets.each_ref().map(|set| set.len());
    let started = &checkpoint.state.facts;
    let differences =
        started.differences(&Facts { classes, train_pictures, val_pictures, ..started.clone() });
    if !differences.is_empty() {
        let what = format!("the data has changed since this run was started: {}", differences.join("; "));
        return Err(Error::data(what)
            .at(job.config.data.clone())
            .hint("bring it back, or start again in another folder with --out"));
    }
    let loaders = Loaders::new(job.config, started, datasets)?;
    let mut state = checkpoint.state.clone();
    state.config = job.config.clone();
    Ok(Start { loaders, state, tensors: FirstTensors::Checkpoint(Box::new(checkpoint), path), save: again })
}

/// The content of the states of a step when a run starts.
pub(super) enum FirstTensors {
    /// Weights that are drawn at random.
    Random,
    /// The weights of a file, which are read later.
    File(Box<ModelFile>, Heads),
    /// Weights and optimizer state of a checkpoint, read from here.
    Checkpoint(Box<Checkpoint>, PathBuf),
}

impl FirstTensors {
    /// Writes them into a step.
    ///
    /// # Errors
    /// Those of [`Checkpoint::restore`] and [`initial_weights::load`].
    pub(super) fn write(self, step: &TrainingStep, config: &Config, observe: &mut Observe) -> Result<()> {
        let (seed, init) = (config.seed, config.init.map(InitRule::init));
        match self {
            Self::Random => step.initialize(seed, init),
            Self::Checkpoint(checkpoint, path) => {
                checkpoint.restore(step).map_err(|e| e.at(path.display().to_string()))
            }
            Self::File(file, heads) => {
                let place = config.weights.as_deref().map_or_else(String::new, |p| p.display().to_string());
                let mut read = |name: &str, rows| {
                    let (tensors, name) = (file.tensors.clone(), name.to_owned());
                    aside(&place, &mut disk::keep_waiting(observe), move || tensors.rows(&name, rows))
                };
                let options = initial_weights::LoadOptions { heads: &heads, seed, init };
                let loaded = initial_weights::load(step, file.tensors.as_ref(), options, &mut read);
                loaded.map_err(|e| e.at(place))?;
                step.reset_averages()
            }
        }
    }
}

/// Opens the file of weights that the settings name, and reports its notes.
fn open_weights(job: &Job, classes: &[String], observe: &mut Observe) -> Result<Option<(ModelFile, Heads)>> {
    let Some(path) = &job.config.weights else { return Ok(None) };
    let (path, arch, config) = (path.clone(), job.arch, job.config.clone());
    let file =
        disk::read(path.display().to_string(), observe, move || initial_weights::open(&path, arch, &config))?;
    let heads = initial_weights::heads(&file, classes, job.config);
    let network = job.arch.network(&job.arch.settings(1), Mode::Training)?;
    let notes = initial_weights::notes(&file, &heads, classes, &network, job.config)?;
    let assumed = file.assumed.then_some(&file.metadata);
    report(observe, Event::Start { notes: &notes, assumed })?;
    Ok(Some((file, heads)))
}

/// The facts of a new run: the size of the input, the batch size and the preprocessing.
fn examine(
    job: &Job,
    [train, val]: &Datasets,
    classes: Vec<String>,
    weights: Option<&ModelFile>,
    observe: &mut Observe,
) -> Result<Facts> {
    let Job { arch, config, .. } = *job;
    // A size that the file does not record is a guess; the size of the data is a better one.
    let recorded = weights.filter(|file| file.has_metadata);
    let recorded = recorded.map(|file| [file.metadata.input[0], file.metadata.input[1]]);
    let size = config.size.or(recorded).or(train.native_size()).unwrap_or([arch.size; 2]);
    let preprocessing = initial_weights::preprocessing(config, weights, train.as_ref());
    let (train_pictures, val_pictures) = (train.len(), val.len());
    let mut facts = Facts { classes, train_pictures, val_pictures, size, batch_size: 1, preprocessing };
    let most = train_pictures.min(config.limit.unwrap_or(usize::MAX));
    facts.batch_size = budget::batch_size(job, &job.settings(&facts), most, observe)?;
    Ok(facts)
}

/// The names of the network's classes: those of the data, and numbered ones if the network has more.
///
/// # Errors
/// [`Error::Usage`] if the network has fewer classes than the data, or too many.
pub(super) fn class_names(wanted: Option<usize>, data: &[String]) -> Result<Vec<String>> {
    let count = wanted.unwrap_or(data.len());
    if count < data.len() {
        return Err(Error::usage(format!(
            "a network for {count} classes cannot learn the {} of the data",
            data.len()
        ))
        .hint("leave --classes out, or give at least as many"));
    }
    if count > MAX_CLASSES {
        return Err(
            Error::usage(format!("a network for {count} classes")).hint(format!("the most is {MAX_CLASSES}"))
        );
    }
    Ok((0..count).map(|i| data.get(i).cloned().unwrap_or_else(|| format!("class {i}"))).collect())
}

/// The batches of a run.
pub(super) struct Loaders {
    pub(super) train: Loader,
    pub(super) val: Loader,
    /// The weight of each class in the loss, if the settings ask for it.
    pub(super) class_weights: Option<Vec<f32>>,
}

impl Loaders {
    fn new(config: &Config, facts: &Facts, [train, val]: &Datasets) -> Result<Self> {
        let Facts { size, batch_size, preprocessing, .. } = *facts;
        let options = LoaderOptions {
            batch_size: batch_size.saturating_mul(config.accumulate.max(1)),
            size,
            preprocessing,
            augment: config.augment,
            shuffle: config.shuffle,
            balance: config.balance == Balance::Sampling,
            seed: config.seed,
            limit: config.limit,
            last: Last::Drop,
        };
        let train = Loader::new(train.clone(), options.clone())?.fast_jpeg(config.fast_jpeg);
        let options = LoaderOptions {
            batch_size,
            augment: Augment::NONE,
            shuffle: false,
            balance: false,
            last: Last::Keep,
            ..options
        };
        let val = Loader::new(val.clone(), options)?;
        let [train, val] = [train, val].map(|loader| loader.allow_unreadable(config.allow_unreadable));
        let class_weights = (config.balance == Balance::Weights).then(|| train.class_weights());
        Ok(Self { train, val, class_weights })
    }

    /// What the network is to say of the pictures of a batch.
    pub(super) fn targets(&self, batch: &Batch) -> Vec<Target> {
        let weight = |label: u32| match &self.class_weights {
            None => 1.0,
            Some(weights) => weights.get(label as usize).copied().unwrap_or(1.0),
        };
        let of = |(place, label): (usize, &u32)| {
            let plain = Target { weight: weight(*label), ..Target::from(*label) };
            match batch.mixed.get(place) {
                None => plain,
                Some(Mixed { label: second, share }) => {
                    let weight = (1.0 - share) * plain.weight + share * weight(*second);
                    Target { second: *second, share: *share, weight, ..plain }
                }
            }
        };
        batch.labels.iter().enumerate().map(of).collect()
    }

    /// The steps of a whole run.
    pub(super) fn total_steps(&self, length: Length) -> u64 {
        length.steps(self.train.steps())
    }
}

/// The metadata of the weights that a run writes.
pub(super) fn metadata(job: &Job, facts: &Facts) -> Metadata {
    Metadata {
        arch: job.arch.name.to_owned(),
        classes: facts.classes.clone(),
        input: [facts.size[0], facts.size[1], 3],
        preprocessing: facts.preprocessing,
    }
}
