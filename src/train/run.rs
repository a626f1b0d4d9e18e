//! A training run from its settings to its end.

use super::checkpoint::{self, State};
use super::disk::{self, Observe, report};
use super::epochs::Epochs;
use super::folder::{Files, HELD_OUT, Resumed};
use super::job::Job;
use super::lost_device::Losses;
use super::prepare::{Datasets, Start, class_names, fresh, metadata, resumed};
use super::settings::{self, Resolved};
use super::{Config, Control, EvaluationStep, Event, Finished, TrainingStep, budget};
use crate::data::{self, Census, Dataset, Parts, Split};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::plan::PlanOptions;
use std::path::Path;
use std::sync::Arc;

/// Trains a network on the data that the settings name: [`TrainingRun`] with its usual options.
///
/// # Errors
/// Those of [`TrainingRun::run`].
pub fn train(
    gpu: &Arc<Gpu>,
    config: &Config,
    out: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event) -> Control,
) -> Result<Finished> {
    TrainingRun::new(gpu, config, out).with_resume(resume).run(observe)
}

/// A training run.
///
/// Its folder gets `config.json`, `metrics.csv`, `last.safetensors`, `best.safetensors` and the last two checkpoints. A
/// checkpoint is written before the first step, after each epoch, and in a long epoch every ten minutes ([`Config::checkpoint_minutes`]). Each file is replaced as a whole, so a run can be killed at any time.
///
/// ```no_run
/// use ocelli::data::Dataset;
/// use ocelli::gpu::{Gpu, GpuOptions};
/// use ocelli::models::Arch;
/// use ocelli::train::{Config, Control, Length, TrainingRun};
/// use std::path::Path;
/// use std::sync::Arc;
///
/// # fn example(train: Arc<dyn Dataset>, val: Arc<dyn Dataset>) -> ocelli::Result<()> {
/// let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
/// let config = Config { length: Length::Epochs(3), ..Config::new(Arch::find("resnet20")?, "my pictures") };
/// let run = TrainingRun::new(&gpu, &config, Path::new("runs/mine")).with_datasets([train, val]);
/// let finished = run.run(&mut |_| Control::Continue)?;
/// println!("{:.1}%", 100.0 * finished.best);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct TrainingRun<'a> {
    gpu: &'a Arc<Gpu>,
    config: &'a Config,
    out: &'a Path,
    resume: bool,
    datasets: Option<Datasets>,
}

impl<'a> TrainingRun<'a> {
    /// A new run that writes to the folder `out`, on the data set that `config.data` names.
    pub fn new(gpu: &'a Arc<Gpu>, config: &'a Config, out: &'a Path) -> Self {
        Self { gpu, config, out, resume: false, datasets: None }
    }

    /// Whether the run goes on from its newest checkpoint that is undamaged. It then ends with the same bits as a run that was
    /// never interrupted. If the folder holds no run, a new one begins.
    pub fn with_resume(self, resume: bool) -> Self {
        Self { resume, ..self }
    }

    /// Trains on data sets of one's own: the training part and the validation part. `config.data` then is only a name, for
    /// messages and to recognise the data when the run is resumed.
    pub fn with_datasets(self, datasets: [Arc<dyn Dataset>; 2]) -> Self {
        Self { datasets: Some(datasets), ..self }
    }

    /// Trains. `observe` hears each [`Event`], and can stop the run at any of them.
    ///
    /// If the device is lost, because its driver was reset, another one of the same adapter is opened, at most three times in ten
    /// minutes. The run goes on from its last checkpoint, and ends with the same bits as if nothing had happened.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the settings contradict each other or those of the checkpoint, or the folder has a run that is
    /// not to be resumed; [`crate::Error::NotFound`] if the run to resume has no checkpoint; [`crate::Error::Data`] if the data or
    /// the checkpoints cannot be used, or the loss is not finite; [`crate::Error::Stopped`] if `observe` asked for it;
    /// [`crate::Error::Gpu`]; [`crate::Error::Io`].
    pub fn run(self, observe: &mut dyn FnMut(Event) -> Control) -> Result<Finished> {
        let Self { gpu, config, out, resume, datasets } = self;
        // Settings that contradict each other are said before the data is read.
        Job::new(gpu, config)?;
        let (datasets, held_out) = match datasets {
            Some(datasets) => (datasets, None),
            None => {
                let Parts { train, val, held_out } = open_datasets(config, observe)?;
                ([train, val], held_out)
            }
        };
        if let Some(share) = held_out {
            report(observe, Event::HeldOut { share, list: &out.join(HELD_OUT) })?;
        }
        report_census(&datasets, observe)?;
        if datasets[0].classes() != datasets[1].classes() {
            return Err(Error::usage("the training and validation pictures have different classes")
                .hint("give both data sets the same names in the same order"));
        }
        let classes = class_names(config.classes, datasets[0].classes())?;
        let held_out = held_out.is_some();
        let mut attempt = Attempt { gpu: gpu.clone(), resume, again: false };
        let mut losses = Losses::default();
        loop {
            let run = attempt.run(config, out, (&datasets, &classes, held_out), observe);
            match run {
                Err(why) if !matches!(why, Error::Stopped(_)) && attempt.gpu.is_replaceable() => {
                    let gpu = losses.another(&attempt.gpu, why, observe)?;
                    attempt = Attempt { gpu, resume: true, again: true };
                }
                other => return other,
            }
        }
    }
}

/// A run until its end, or until its device is lost.
struct Attempt {
    gpu: Arc<Gpu>,
    resume: bool,
    /// Whether a device was lost before.
    again: bool,
}

impl Attempt {
    fn run(
        &self,
        config: &Config,
        out: &Path,
        (datasets, classes, held_out): (&Datasets, &[String], bool),
        observe: &mut Observe,
    ) -> Result<Finished> {
        let gpu = &self.gpu;
        let job = Job::new(gpu, config)?;
        let classes = classes.to_vec();
        let (files, earlier) = open_folder(out, self.resume, config, observe)?;
        if self.resume && earlier.is_none() && !self.again {
            report(observe, Event::NothingToResume(out))?;
        }
        let Start { loaders, state, tensors, save } = match earlier {
            Some(earlier) => resumed(&job, datasets, classes, earlier, observe)?,
            None => fresh(&job, datasets, classes, observe)?,
        };
        if self.again {
            report(observe, Event::Reopened { gpu, step: state.position.step })?;
        }
        let settings = job.settings(&state.facts);
        let options = PlanOptions::for_gpu(gpu).with_algorithms(state.algorithms.clone());
        let memory = budget::check(&job, &settings, &options)?;
        report(observe, Event::Waiting)?;
        let files = Arc::new(files.map_or_else(|| make_folder(out, observe), Ok)?);
        let step = TrainingStep::of_graph(gpu, job.graph(&settings)?, &options)?;
        // Averaged weights are other ones than those that are trained.
        let shared = config.ema_decay.is_none().then_some(&step);
        let evaluation = EvaluationStep::planned(gpu, job.arch, &settings, shared, &options)?;
        tensors.write(&step, config, observe)?;
        let resolved = Resolved::new(gpu.info(), &state.facts, config.length, loaders.train.steps());
        let json = settings::json(&state.config, &resolved)?;
        save_start(&files, &state, if save { Some(&step) } else { None }, json.clone(), observe)?;
        if held_out {
            save_held_out(&files, &datasets[1], observe)?;
        }
        let (metadata, total) = (metadata(&job, &state.facts), loaders.total_steps(config.length));
        let checkpoint_every = config.checkpoint_every();
        let settings = json;
        let epochs =
            Epochs { config, files, step, evaluation, loaders, metadata, settings, total, checkpoint_every };
        match observe(epochs.planned(memory, &state)) {
            Control::Continue => epochs.run(state, observe),
            Control::Stop => Err(epochs.stopped(&state)),
        }
    }
}

/// Opens both parts of the data set that the settings name.
fn open_datasets(config: &Config, observe: &mut Observe) -> Result<Parts> {
    let Config { data, val_split, seed, .. } = config.clone();
    disk::read(data.clone(), observe, move || data::open_both(&data, val_split, seed))
}

fn report_census([train, val]: &Datasets, observe: &mut Observe) -> Result<()> {
    report(observe, Event::Data(&Census::of(train.as_ref(), Split::Train)))?;
    report(observe, Event::Data(&Census::of(val.as_ref(), Split::Val)))
}

/// Opens the folder of a run if it exists, and finds the checkpoint to resume from. A folder that does not exist is made when
/// everything else has been checked.
fn open_folder(
    out: &Path,
    resume: bool,
    config: &Config,
    observe: &mut Observe,
) -> Result<(Option<Files>, Option<Resumed>)> {
    let (folder, config) = (out.to_owned(), config.clone());
    disk::read(out.display().to_string(), observe, move || {
        let files = if folder.is_dir() { Some(Files::open(&folder, resume)?) } else { None };
        let resumed = files.as_ref().filter(|_| resume).map(|files| files.resumed(&config)).transpose()?;
        Ok((files, resumed.flatten()))
    })
}

fn make_folder(out: &Path, observe: &mut Observe) -> Result<Files> {
    let folder = out.to_owned();
    disk::read(out.display().to_string(), observe, move || Files::open(&folder, false))
}

/// Writes the settings, and the checkpoint of `step` if there is one. A run has a checkpoint before its first step: it keeps the
/// selected algorithms, and it is the one to fall back to if the checkpoint of the first epoch is damaged.
fn save_start(
    files: &Arc<Files>,
    state: &State,
    step: Option<&TrainingStep>,
    config: Vec<u8>,
    observe: &mut Observe,
) -> Result<()> {
    let (state, tensors) = (state.clone(), step.map(checkpoint::tensors).transpose()?);
    disk::write(files, observe, move |files| {
        tensors.map_or(Ok(()), |tensors| files.save(&state, &tensors))?;
        files.write_config(&config)
    })
}

/// Lists the pictures of a validation part that was held out.
fn save_held_out(files: &Arc<Files>, val: &Arc<dyn Dataset>, observe: &mut Observe) -> Result<()> {
    let val = val.clone();
    disk::write(files, observe, move |files| files.write_held_out((0..val.len()).map(|i| val.name(i))))
}
