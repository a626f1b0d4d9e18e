//! The first weights of a run: drawn at random, or those of a file.

use super::classifier_head::Heads;
use super::{Config, Trained, TrainingStep, transfer};
use crate::data::{Dataset, Preprocessing};
use crate::error::{Error, Note, Result, Untrusted};
use crate::exchange::{ModelFile, OpenOptions};
use crate::models::{Arch, Init, Parameter};
use crate::weights::{Entry, Source};
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

/// The notes on a file from which a network for these classes starts.
///
/// # Errors
/// [`Error::Data`] if it is for another number of classes, and its classifier is to be loaded.
pub(super) fn notes(file: &ModelFile, classes: &[String], config: &Config) -> Result<Vec<Note>> {
    let mut notes = file.notes.clone();
    if config.new_classifier {
        notes.push(Note::from(
            "the classifier starts with new weights, the rest of the network with those of the file",
        ));
        return Ok(notes);
    }
    let theirs = &file.metadata.classes;
    let (has, wanted) = (theirs.len(), classes.len());
    if has != wanted {
        return Err(other_classes(has, wanted, config));
    }
    if file.named && theirs != classes {
        let few = |names: &[String]| {
            let few: Vec<_> = names.iter().take(5).map(|name| Untrusted::short(name).to_string()).collect();
            few.join(", ") + if names.len() > 5 { ", ..." } else { "" }
        };
        notes.push(format!(
            "the weights know the classes {}, the data has {}: the last layer starts with what it has learned of the former, in this order",
            few(theirs),
            few(classes)
        )
        .into());
    }
    Ok(notes)
}

fn other_classes(has: usize, wanted: usize, config: &Config) -> Error {
    let hint = if has > wanted && config.classes.is_none() {
        format!(
            "add --classes {has} to keep its {has} outputs, of which the data uses the first {wanted}; or --new-classifier to train a new one; or leave --weights out"
        )
    } else {
        format!(
            "add --new-classifier to start everything else from them; or leave --weights out, or take weights for {wanted}"
        )
    };
    let place = config.weights.as_deref().map(|p| Untrusted::new(p).to_string()).unwrap_or_default();
    Error::data(format!("these weights are for {has} classes, and the network to train is for {wanted}"))
        .at(place)
        .hint(hint)
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
pub(super) struct LoadOptions {
    pub(super) heads: Heads,
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
    let is_new = |p: &Parameter| {
        let is_head = options.heads == Heads::New && step.heads().contains(&p.name);
        is_head || (p.is_auxiliary() && !has_auxiliary)
    };
    let loaded = step.parameters().iter().map(|t| &t.parameter).filter(|p| !is_new(p));
    match options.heads {
        Heads::Loaded => transfer::load_by(step.session(), loaded, source, read)?,
        Heads::New => {
            transfer::load_by(step.session(), loaded, &Without::new(source, step.heads()), read)?;
        }
    }
    initialize(step, options.seed, options.init, is_new)
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
