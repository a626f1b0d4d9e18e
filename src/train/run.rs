//! The training loop.

use super::checkpoint::{self, Facts, Position, State};
use super::divergence::{diverged, in_validation};
use super::folder::{Files, Resumed};
use super::tune::choose;
use super::{
    Config, Control, Evaluation, EvaluationStep, Event, Finished, Hyper, InitRule, Length, Progress, Row,
    StepUnderWay, Trained, TrainingOptions, TrainingStep, budget, evaluate, initial_weights, transfer,
};
use crate::data::{
    self, Augment, Census, Dataset, Hung, Last, Loader, LoaderOptions, Normalization, Skipped, Split, Waited,
    aside,
};
use crate::error::{Error, Result};
use crate::exchange::ModelFile;
use crate::gpu::Gpu;
use crate::models::{Arch, MAX_CLASSES, Parameter, Settings};
use crate::plan::PlanOptions;
use crate::random::{Draw, Stream};
use crate::tensor::Precision;
use crate::weights::{Metadata, Weights};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Trains a network. The folder `out` gets `config.json`, `metrics.csv`, `last.safetensors`, `best.safetensors` and the
/// last two checkpoints, the first of them before the first step; each is replaced as a whole, so that a run can be
/// killed at any time. With `resume` it goes on from the newest checkpoint that is whole, and ends with the same bits as
/// a run that was never stopped; where there is no file of a run it begins.
///
/// # Errors
/// [`Error::Usage`] if the settings contradict each other or the checkpoint's, or the folder has a run that is not to be resumed;
/// [`Error::NotFound`] if that has no checkpoint; [`Error::Data`] if the data or the checkpoints cannot be
/// used or the loss is no number any more; [`Error::Stopped`] if `observe` asked for it; [`Error::Gpu`]; [`Error::Io`].
pub fn train(
    gpu: &Arc<Gpu>,
    config: &Config,
    out: &Path,
    resume: bool,
    observe: &mut dyn FnMut(Event) -> Control,
) -> Result<Finished> {
    config.check()?;
    let arch = Arch::find(&config.arch)?;
    let precision = config.precision;
    if precision == Precision::F16 {
        gpu.check_half()?;
    }
    let [train_set, val_set] = data_sets(&config.data, observe)?;
    for (set, split) in [(&train_set, Split::Train), (&val_set, Split::Val)] {
        say(observe, Event::Data(&Census::of(set.as_ref(), split)))?;
    }
    let classes = class_names(config.classes, train_set.classes())?;
    let (files, resumed) = earlier(out, resume, config, observe)?;
    match &resumed {
        None if resume => say(observe, Event::NothingToResume(out))?,
        Some(Resumed { older: Some(why), path, checkpoint, .. }) => {
            let step = checkpoint.state.position.step;
            say(observe, Event::OlderCheckpoint { why, path, step })?;
        }
        _ => {}
    }
    let found = resumed.as_ref().map(|resumed| &resumed.checkpoint);
    let weights = match found {
        Some(_) => None,
        None => config.weights.as_deref().map(|path| weights_of(path, arch, config, observe)).transpose()?,
    };
    if let Some(file) = &weights {
        let notes = initial_weights::notes(file, &classes, config)?;
        let assumed = file.assumed.then_some(&file.metadata);
        say(observe, Event::Start { notes: &notes, assumed })?;
    }
    let facts = match found {
        Some(found) => Facts {
            classes,
            train_pictures: train_set.len(),
            val_pictures: val_set.len(),
            ..found.state.facts.clone()
        },
        None => {
            // A size that the file does not speak of is no better than the data's own.
            let recorded = weights.as_ref().filter(|file| file.has_metadata);
            let recorded = recorded.map(|file| [file.metadata.input[0], file.metadata.input[1]]);
            let size = config.size.or(recorded).or(train_set.native_size()).unwrap_or([arch.size; 2]);
            let preprocessing = initial_weights::preprocessing(config, weights.as_ref(), train_set.as_ref());
            let (train_pictures, val_pictures) = (train_set.len(), val_set.len());
            let Normalization { mean, std } = preprocessing.channels();
            let settings = Settings { batch_size: 1, size, classes: classes.len(), mean, std, precision };
            let most = train_pictures.min(config.limit.unwrap_or(usize::MAX));
            let batch_size = budget::batch_size(gpu, arch, &settings, config, most)?;
            Facts { classes, train_pictures, val_pictures, size, batch_size, preprocessing }
        }
    };
    if let Some(found) = found {
        let differences = found.state.facts.differences(&facts);
        if !differences.is_empty() {
            let what = format!("the data has changed since this run was started: {}", differences.join("; "));
            return Err(Error::data(what)
                .at(config.data.clone())
                .hint("bring it back, or start again in another folder with --out"));
        }
    }
    let Facts { size, batch_size, preprocessing, .. } = facts;
    let Normalization { mean, std } = preprocessing.channels();
    let settings = Settings { batch_size, size, classes: facts.classes.len(), mean, std, precision };
    let accumulate = config.accumulate.max(1);

    let options = LoaderOptions {
        batch_size: batch_size.saturating_mul(accumulate),
        size,
        preprocessing,
        augment: config.augment,
        shuffle: config.shuffle,
        seed: config.seed,
        limit: config.limit,
        last: Last::Drop,
    };
    let train_loader = Loader::new(train_set, options.clone())?.allow_unreadable(config.allow_unreadable);
    let options =
        LoaderOptions { batch_size, augment: Augment::None, shuffle: false, last: Last::Keep, ..options };
    let val_loader = Loader::new(val_set, options)?.allow_unreadable(config.allow_unreadable);
    let per_epoch = train_loader.steps();
    let total = match config.length {
        Length::Steps(steps) => steps,
        Length::Epochs(epochs) => epochs.saturating_mul(per_epoch as u64),
    };

    let training = TrainingOptions { accumulate, recompute: config.recompute };
    let algorithms = match found {
        Some(found) => found.state.algorithms.clone(),
        None => choose(gpu, arch, &settings, config, training, observe)?,
    };
    let plan_options = PlanOptions::for_gpu(gpu).with_algorithms(algorithms.clone());
    let memory = budget::check(&plan_options, arch, &settings, config)?;
    let files = match files {
        Some(files) => files,
        None => {
            let folder = out.to_owned();
            read_aside(out.display().to_string(), observe, move || Files::open(&folder, false))?
        }
    };
    let files = Arc::new(files);
    let step = TrainingStep::planned(gpu, arch, &settings, training, &plan_options)?;
    let evaluation = EvaluationStep::planned(gpu, arch, &settings, Some(&step), &plan_options)?;
    match (&resumed, &weights) {
        (Some(found), _) => {
            let place = found.path.display().to_string();
            found.checkpoint.restore(&step).map_err(|e| e.at(place))?;
        }
        (None, Some(weights)) => {
            let place = config.weights.as_deref().map_or_else(String::new, |p| p.display().to_string());
            // Files for inference have no auxiliary classifiers; those start as in a new run.
            let whole = initial_weights::has_auxiliary(weights);
            let known = parameters(&step).filter(|p| whole || !p.is_auxiliary());
            let mut read = |name: &str, rows| {
                let (tensors, name) = (weights.tensors.clone(), name.to_owned());
                aside(&place, &mut waiting(observe), move || tensors.rows(&name, rows))
            };
            let loaded = transfer::load_by(step.session(), known, weights.tensors.as_ref(), &mut read);
            loaded.map_err(|e| e.at(place))?;
            initialise(&step, config, |p| !whole && p.is_auxiliary())?;
        }
        (None, None) => initialise(&step, config, |_| true)?,
    }
    let metadata = Metadata {
        arch: arch.name.to_owned(),
        classes: facts.classes.clone(),
        input: [size[0], size[1], 3],
        preprocessing,
    };
    let new = || State::new(config.clone(), facts, algorithms);
    let save = resumed.as_ref().is_none_or(|resumed| resumed.again);
    let mut state = resumed.map_or_else(new, |resumed| resumed.checkpoint.state);
    state.config = config.clone();
    // Before the first step too: what the choice of kernels has brought is part of a run, and a damaged checkpoint of its first
    // epoch has one before it.
    let (first, tensors) = (state.clone(), if save { Some(checkpoint::tensors(&step)?) } else { None });
    write_aside(&files, observe, move |files| {
        tensors.map_or(Ok(()), |tensors| files.save(&first, &tensors))?;
        files.write_config(&first.config)
    })?;
    let done = state.position.step;
    let run = Run { config, files, step, evaluation, train_loader, val_loader, metadata, total };
    match observe(Event::Planned { memory, batch_size, steps_per_epoch: per_epoch, total, done }) {
        Control::Continue => run.go(state, observe),
        Control::Stop => Err(run.stopped(&state)),
    }
}

/// Tells something before anything is done that would have to be saved.
///
/// # Errors
/// [`Error::Stopped`] if that was the answer.
fn say(observe: &mut dyn FnMut(Event) -> Control, event: Event) -> Result<()> {
    match observe(event) {
        Control::Continue => Ok(()),
        Control::Stop => Err(Error::stopped("stopped before a step was done").hint(AGAIN)),
    }
}

const AGAIN: &str = "nothing was changed; the same command begins again";

/// Does what waits for a disk, at a place, before anything is done that would have to be saved.
fn read_aside<T: Send + 'static>(
    place: impl Into<String>,
    observe: &mut dyn FnMut(Event) -> Control,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let read = aside(&place.into(), &mut waiting(observe), work);
    read.map_err(|e| if matches!(e, Error::Stopped(_)) { e.hint(AGAIN) } else { e })
}

/// Writes to the folder of a run. A disk that answers is waited for whatever is asked meanwhile; who is told that one does
/// not may stop.
fn write_aside(
    files: &Arc<Files>,
    observe: &mut dyn FnMut(Event) -> Control,
    work: impl FnOnce(&Files) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (place, files, mut told) = (files.place(), files.clone(), false);
    let mut go_on = |hung: Option<&Hung>| {
        told |= hung.is_some();
        observe(hung.map_or(Event::Waiting, Event::Hung)) == Control::Continue || !told
    };
    aside(&place, &mut go_on, move || work(&files)).map_err(|e| match e {
        Error::Stopped(_) => e.hint("what was saved before is whole; the same command with --resume goes on"),
        other => other,
    })
}

/// Both parts of the data.
fn data_sets(data: &str, observe: &mut dyn FnMut(Event) -> Control) -> Result<[Arc<dyn Dataset>; 2]> {
    let name = data.to_owned();
    read_aside(data, observe, move || Ok([data::open(&name, Split::Train)?, data::open(&name, Split::Val)?]))
}

/// What there is of the run in its folder: one that is not there yet is made when everything else is known to be right.
fn earlier(
    out: &Path,
    resume: bool,
    config: &Config,
    observe: &mut dyn FnMut(Event) -> Control,
) -> Result<(Option<Files>, Option<Resumed>)> {
    let (folder, config) = (out.to_owned(), config.clone());
    read_aside(out.display().to_string(), observe, move || {
        let files = if folder.is_dir() { Some(Files::open(&folder, resume)?) } else { None };
        let resumed = files.as_ref().filter(|_| resume).map(|files| files.resumed(&config)).transpose()?;
        Ok((files, resumed.flatten()))
    })
}

/// The weights that a run starts from, whose tensors are read later.
fn weights_of(
    path: &Path,
    arch: &'static Arch,
    config: &Config,
    observe: &mut dyn FnMut(Event) -> Control,
) -> Result<ModelFile> {
    let (file, config) = (path.to_owned(), config.clone());
    read_aside(path.display().to_string(), observe, move || initial_weights::open(&file, arch, &config))
}

/// The names of the network's classes: the data's, and numbered ones where the network has more.
fn class_names(wanted: Option<usize>, data: &[String]) -> Result<Vec<String>> {
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

fn parameters(step: &TrainingStep) -> impl Iterator<Item = &Parameter> + Clone {
    step.parameters().iter().map(|t| &t.parameter)
}

/// Writes the first content of some parameters.
fn initialise(step: &TrainingStep, config: &Config, of: impl Fn(&Parameter) -> bool) -> Result<()> {
    let init = config.init.map(InitRule::init);
    for (i, Trained { parameter, .. }) in
        step.parameters().iter().enumerate().filter(|(_, t)| of(&t.parameter))
    {
        step.session().write(parameter.value, &parameter.initial(config.seed, i, init))?;
    }
    Ok(())
}

/// Asks whether to go on while there is no batch.
fn waiting(observe: &mut dyn FnMut(Event) -> Control) -> impl FnMut(Option<&Hung>) -> bool {
    move |hung| observe(hung.map_or(Event::Waiting, Event::Hung)) == Control::Continue
}

struct Run<'a> {
    config: &'a Config,
    files: Arc<Files>,
    step: TrainingStep,
    evaluation: EvaluationStep,
    train_loader: Loader,
    val_loader: Loader,
    metadata: Metadata,
    total: u64,
}

impl Run<'_> {
    fn go(&self, mut state: State, observe: &mut dyn FnMut(Event) -> Control) -> Result<Finished> {
        let done = |state: &State| state.position.step >= self.total && state.is_validated();
        let already = done(&state);
        while !done(&state) {
            let stopped = state.position.step < self.total && self.epoch(&mut state, observe)?;
            if stopped {
                self.save(&state, observe)?;
            }
            if stopped || self.finish_epoch(&mut state, observe)? == Control::Stop && !done(&state) {
                return Err(self.stopped(&state));
            }
        }
        let skipped_steps = self.step.loss_scale()?.map_or(0, |scale| scale.skipped);
        Ok(Finished { best: state.best.unwrap_or_default(), rows: state.rows, already, skipped_steps })
    }

    fn save(&self, state: &State, observe: &mut dyn FnMut(Event) -> Control) -> Result<()> {
        let (state, tensors) = (state.clone(), checkpoint::tensors(&self.step)?);
        write_aside(&self.files, observe, move |files| files.save(&state, &tensors))
    }

    fn stopped(&self, state: &State) -> Error {
        Error::stopped(format!("stopped after step {} of {}", state.position.step, self.total))
            .hint("everything is saved; the same command with --resume goes on")
    }

    fn rate(&self, step: u64) -> f64 {
        self.config.schedule.rate(self.config.lr, step, self.total)
    }

    /// The rest of an epoch, or of the run. Returns whether the caller asked to stop. The GPU is given the next step before the
    /// outcome of the last one is looked at.
    fn epoch(&self, state: &mut State, observe: &mut dyn FnMut(Event) -> Control) -> Result<bool> {
        let at = &mut state.position;
        let mut clock = Instant::now();
        let mut before: Option<(StepUnderWay, Vec<Skipped>)> = None;
        let mut batches = self.train_loader.epoch(at.epoch, at.step_in_epoch);
        let mut stopped = false;
        loop {
            let step = at.step + u64::from(before.is_some());
            let wanted = !stopped && step < self.total;
            let next = match wanted.then(|| batches.wait(&mut waiting(observe))).transpose()? {
                Some(Waited::Batch(batch)) => Some(batch),
                Some(Waited::Stopped) => {
                    stopped = true;
                    None
                }
                Some(Waited::End) | None => None,
            };
            let next = match next {
                Some(batch) => {
                    let hyper = Hyper {
                        lr: self.rate(step) as f32,
                        momentum: self.config.momentum,
                        weight_decay: self.config.weight_decay,
                        noise: Draw::new(self.config.seed, Stream::Dropout, step as u32, 0).shader_key(),
                    };
                    Some((self.step.start(&batch.pixels, &batch.labels, &hyper)?, batch.skipped))
                }
                None => None,
            };
            let ended = next.is_none();
            if let Some((step, skipped)) = std::mem::replace(&mut before, next) {
                stopped |= self.account(step, &skipped, at, &mut clock, observe)? == Control::Stop;
            }
            if ended {
                break;
            }
        }
        Ok(stopped)
    }

    /// Waits for a step and adds what it said.
    fn account(
        &self,
        step: StepUnderWay,
        skipped: &[Skipped],
        at: &mut Position,
        clock: &mut Instant,
        observe: &mut dyn FnMut(Event) -> Control,
    ) -> Result<Control> {
        let outcome = self.step.finish(step)?;
        let loss: f64 = outcome.loss.iter().map(|x| f64::from(*x)).sum();
        if !loss.is_finite() {
            return Err(diverged("the loss is not a number any more").at(format!("step {}", at.step + 1)));
        }
        if outcome.loss_scale.is_some_and(|scale| scale.is_lost()) {
            return Err(
                diverged("the gradients are not finite at any scale").at(format!("step {}", at.step + 1))
            );
        }
        at.loss += loss;
        at.correct += outcome.rank.iter().filter(|r| **r < 1.0).count() as u64;
        at.images += outcome.rank.len() as u64;
        at.step += 1;
        at.step_in_epoch += 1;
        at.seconds += clock.elapsed().as_secs_f64();
        *clock = Instant::now();
        for picture in skipped {
            observe(Event::Skipped(picture));
        }
        let images = at.images as f64;
        Ok(observe(Event::Step {
            epoch: at.epoch,
            step_in_epoch: at.step_in_epoch,
            step: at.step,
            loss: at.loss / images,
            top1: at.correct as f64 / images,
            images_per_s: images / at.seconds.max(1e-9),
        }))
    }

    /// Validates and saves; if it is stopped in the middle, the whole validation is left to the next time. The
    /// checkpoint comes last: a run that is killed before repeats the epoch and writes the other files again with the
    /// same content.
    fn finish_epoch(&self, state: &mut State, observe: &mut dyn FnMut(Event) -> Control) -> Result<Control> {
        let mut skipped = Vec::new();
        let result = evaluate(&self.evaluation, &self.val_loader, &mut |progress| match progress {
            Progress::Done { images, skipped: more } => {
                skipped.extend_from_slice(more);
                observe(Event::Validating(images))
            }
            Progress::Waiting => observe(Event::Waiting),
            Progress::Hung(hung) => observe(Event::Hung(hung)),
        });
        if let Err(Error::Stopped(_)) = result {
            self.save(state, observe)?;
            return Ok(Control::Stop);
        }
        let place = || format!("validation after step {}", state.position.step);
        let Evaluation { top1, top5, loss, .. } = result.map_err(|e| in_validation(e).at(place()))?;
        for picture in &skipped {
            observe(Event::Skipped(picture));
        }
        let at = &state.position;
        let images = at.images.max(1) as f64;
        let row = Row {
            epoch: u64::from(at.epoch) + 1,
            step: at.step,
            lr: self.rate(at.step.saturating_sub(1)),
            train_loss: at.loss / images,
            train_top1: at.correct as f64 / images,
            val_loss: loss,
            val_top1: top1,
            val_top5: top5,
            images_per_s: images / at.seconds.max(1e-9),
        };
        state.rows.push(row);
        // Where gradients are summed it is another session that has changed the parameters.
        self.step.optimiser().finish()?;
        let tensors = transfer::save(self.step.session(), parameters(&self.step))?;
        let weights = Weights { tensors, metadata: Some(self.metadata.clone()) };
        let best = state.best.is_none_or(|best| top1 > best);
        if best {
            state.best = Some(top1);
        }
        let rows = state.rows.clone();
        write_aside(&self.files, observe, move |files| files.write_epoch(&weights, best, &rows))?;
        let at = &mut state.position;
        if at.step_in_epoch >= self.train_loader.steps() {
            *at = Position { epoch: at.epoch + 1, step: at.step, ..Default::default() };
        }
        self.save(state, observe)?;
        Ok(observe(Event::Epoch(&row)))
    }
}
