//! What a run starts from that others have trained.

use super::Config;
use crate::data::{Dataset, Preprocessing};
use crate::error::{Error, Note, Result, Untrusted};
use crate::exchange::{ModelFile, OpenOptions};
use crate::models::{Arch, Parameter};
use std::path::Path;

/// Opens weights as those of the network that is trained.
///
/// # Errors
/// As [`ModelFile::open`].
pub fn open(path: &Path, arch: &Arch, config: &Config) -> Result<ModelFile> {
    let options = OpenOptions { arch: Some(arch.name), averaged: config.averaged, ..OpenOptions::default() };
    ModelFile::open(path, options)
}

/// What is to be said of a file before a network for these classes starts from it.
///
/// # Errors
/// [`Error::Data`] if it is for another number of classes.
pub fn notes(file: &ModelFile, classes: &[String], config: &Config) -> Result<Vec<Note>> {
    let theirs = &file.metadata.classes;
    let (has, wanted) = (theirs.len(), classes.len());
    let place = || config.weights.as_deref().map(|p| Untrusted::new(p).to_string()).unwrap_or_default();
    if has != wanted {
        let hint = if has > wanted && config.classes.is_none() {
            format!(
                "add --classes {has} to keep its {has} outputs, of which the data uses the first {wanted}; or leave --weights out"
            )
        } else {
            format!(
                "training starts only from weights for as many classes; leave --weights out, or take weights for {wanted}"
            )
        };
        let what = format!("these weights are for {has} classes, and the network to train is for {wanted}");
        return Err(Error::data(what).at(place()).hint(hint));
    }
    let mut notes = file.notes.clone();
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

/// What becomes of the pictures: weights go on with the numbers and the order of colours that they were trained with, or
/// that are usual for their network; a new network gets the data's. Scaling is that of training whatever the weights had.
pub fn preprocessing(config: &Config, start: Option<&ModelFile>, data: &dyn Dataset) -> Preprocessing {
    let order = start.map(|file| file.metadata.preprocessing.order).unwrap_or_default();
    let recorded = start.map(|file| file.metadata.preprocessing.normalization);
    let normalization = config.normalization.or(recorded).unwrap_or_else(|| data.normalization());
    Preprocessing { order, ..Preprocessing::covering(normalization) }
}

/// Whether the file has the auxiliary classifiers of its network too.
pub fn has_auxiliary(file: &ModelFile) -> bool {
    file.tensors.entries().keys().any(|name| Parameter::names_auxiliary(name))
}
