//! The first weights of a run: drawn at random, or those of a file.

use super::classifier_head::{self, Heads};
use super::{Config, Trained, TrainingStep, transfer};
use crate::data::{Dataset, Preprocessing};
use crate::error::{Error, Note, Result, Untrusted};
use crate::exchange::{ModelFile, OpenOptions};
use crate::models::{Arch, Init, Network, Parameter};
use crate::weights::{Entry, InMemory, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

/// Opens a file of weights for the network that is trained.
///
/// # Errors
/// Those of [`ModelFile::open`].
pub(super) fn open(path: &Path, arch: &Arch, config: &Config) -> Result<ModelFile> {
    let options = OpenOptions { arch: Some(arch.name), averaged: config.averaged, ..OpenOptions::default() };
    ModelFile::open(path, options)
}

/// The classifier heads of a network for these classes that starts from a file.
pub(super) fn heads(file: &ModelFile, classes: &[String], config: &Config) -> Heads {
    if config.new_classifier {
        return Heads::New;
    }
    Heads::between(&file.metadata.classes, file.named, classes)
}

/// The notes on a file from which a network for these classes starts: those of the file, and what becomes of the classifier.
///
/// # Errors
/// Those of [`classifier_head::tensors`].
pub(super) fn notes(
    file: &ModelFile,
    heads: &Heads,
    classes: &[String],
    network: &Network,
    config: &Config,
) -> Result<Vec<Note>> {
    let mut notes = file.notes.clone();
    let few = |names: &[&String]| {
        let few: Vec<_> = names.iter().take(5).map(|name| Untrusted::short(name).to_string()).collect();
        few.join(", ") + if names.len() > 5 { ", ..." } else { "" }
    };
    let list = |names: &[String]| match names.len() {
        n if n > 20 => format!("{n} classes"),
        _ => few(&names.iter().collect::<Vec<_>>()),
    };
    let tensors = classifier_head::tensors(network)?.into_iter().collect::<Vec<_>>().join(", ");
    let theirs = &file.metadata.classes;
    match heads {
        Heads::Loaded if !file.named => notes.push(Note::from(format!(
            "the file does not name its classes; its classifier is kept, because it is for {} classes as the data is",
            theirs.len()
        ))),
        Heads::Loaded => {}
        Heads::New if config.new_classifier => notes.push(Note::from(format!(
            "the classifier starts with new weights ({tensors}), all else with those of the file"
        ))),
        Heads::New => {
            let what = if file.named { list(theirs) } else { format!("{} classes", theirs.len()) };
            notes.push(Note::from(format!(
                "the classifier starts with new weights ({tensors}), all else with those of the file: it is for {what}, the network to train for {}",
                list(classes)
            )));
        }
        Heads::Rows(rows) => {
            let with = |known: bool| {
                let some = classes.iter().zip(rows).filter(|(_, row)| row.is_some() == known);
                few(&some.map(|(class, _)| class).collect::<Vec<_>>())
            };
            let (kept, new) = (with(true), with(false));
            let new = if new.is_empty() { String::new() } else { format!(", and new ones for {new}") };
            notes.push(Note::from(format!(
                "the classifier ({tensors}) starts with the weights of the file for {kept}{new}; all else with those of the file"
            )));
        }
    }
    Ok(notes)
}

/// The preprocessing of a run. Weights keep the normalisation and the channel order that they were trained with, or that are
/// usual for their network. A new network takes the normalisation of the data. Resizing is that of training in any case.
pub(super) fn preprocessing(config: &Config, file: Option<&ModelFile>, data: &dyn Dataset) -> Preprocessing {
    let order = file.map(|file| file.metadata.preprocessing.order).unwrap_or_default();
    let recorded = file.map(|file| file.metadata.preprocessing.normalization);
    let normalization = config.normalization.or(recorded).unwrap_or_else(|| data.normalization());
    Preprocessing { order, ..Preprocessing::covering(normalization) }
}

/// How weights are loaded, and drawn at random if they are not in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadOptions<'a> {
    pub(super) heads: &'a Heads,
    pub(super) seed: u64,
    pub(super) init: Option<Init>,
}

/// Writes the tensors of a source into the parameters of a step; `read` reads their rows. Auxiliary classifiers that the
/// source does not have are drawn at random, because files for inference have none.
///
/// # Errors
/// Those of [`transfer::load_by`].
pub(super) fn load(
    step: &TrainingStep,
    source: &dyn Source,
    options: LoadOptions,
    read: &mut transfer::Rows,
) -> Result<()> {
    let has_auxiliary = source.entries().keys().any(|name| Parameter::names_auxiliary(name));
    let is_drawn = |p: &Parameter| p.is_auxiliary() && !has_auxiliary;
    let is_head = |p: &Parameter| *options.heads != Heads::Loaded && step.heads().contains(&p.name);
    let is_new = |p: &Parameter| is_drawn(p) || is_head(p);
    let loaded = step.parameters().iter().map(|t| &t.parameter).filter(|p| !is_new(p));
    match options.heads {
        Heads::Loaded => transfer::load_by(step.session(), loaded, source, read)?,
        Heads::New | Heads::Rows(_) => {
            transfer::load_by(step.session(), loaded, &Without::new(source, step.heads()), read)?;
        }
    }
    initialize(step, options.seed, options.init, is_new)?;
    let Heads::Rows(rows) = options.heads else { return Ok(()) };
    let heads: Vec<&Parameter> =
        step.parameters().iter().map(|t| &t.parameter).filter(|p| is_head(p) && !is_drawn(p)).collect();
    keep_rows(step, &heads, rows, source, read)
}

/// Overwrites the rows of the classifier heads whose classes the source knows.
///
/// # Errors
/// [`Error::Data`] if the heads of the source have another shape; those of [`transfer::load`].
fn keep_rows(
    step: &TrainingStep,
    heads: &[&Parameter],
    rows: &[Option<usize>],
    source: &dyn Source,
    read: &mut transfer::Rows,
) -> Result<()> {
    let mut tensors = transfer::save(step.session(), heads.iter().copied())?;
    for (name, tensor) in &mut tensors {
        let theirs = source.entries().get(name).map_or(&[][..], |entry| &entry.shape);
        let count = theirs.first().copied().unwrap_or(0);
        if theirs.get(1..) != tensor.shape.get(1..) || rows.iter().flatten().any(|row| *row >= count) {
            let what = format!("a classifier of shape {theirs:?}, and the network has {:?}", tensor.shape);
            return Err(Error::data(what)
                .at(name.clone())
                .hint("add --new-classifier to start with a new one"));
        }
        let values = read(name, 0..count)?;
        let length = tensor.shape.iter().skip(1).product::<usize>().max(1);
        for (own, row) in tensor.data.chunks_exact_mut(length).zip(rows) {
            let known = row.and_then(|row| values.get(row * length..(row + 1) * length));
            known.iter().for_each(|known| own.copy_from_slice(known));
        }
    }
    transfer::load(step.session(), heads.iter().copied(), &InMemory::new(&tensors))
}

/// Writes the first weights of some parameters.
///
/// # Errors
/// Those of [`crate::plan::Session::write`].
pub(super) fn initialize(
    step: &TrainingStep,
    seed: u64,
    init: Option<Init>,
    of: impl Fn(&Parameter) -> bool,
) -> Result<()> {
    let all = step.parameters().iter().enumerate();
    for (i, Trained { parameter, .. }) in all.filter(|(_, t)| of(&t.parameter)) {
        step.session().write(parameter.value, &parameter.initial(seed, i, init))?;
    }
    Ok(())
}

/// A source without some of its tensors.
struct Without<'a> {
    source: &'a dyn Source,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Without<'a> {
    fn new(source: &'a dyn Source, names: &BTreeSet<String>) -> Self {
        let kept = source.entries().iter().filter(|(name, _)| !names.contains(*name));
        Self { source, entries: kept.map(|(name, entry)| (name.clone(), entry.clone())).collect() }
    }
}

impl Source for Without<'_> {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.source.rows(name, rows)
    }

    fn reads_by_rows(&self, name: &str) -> bool {
        self.source.reads_by_rows(name)
    }

    fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.source.original(name)
    }
}
