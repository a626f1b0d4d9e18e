//! What a run starts from that others have trained.

use super::Config;
use crate::data::{Dataset, Preprocessing};
use crate::error::Result;
use crate::exchange::{OpenOptions, Opened};
use crate::models::{Arch, Parameter};
use std::path::Path;

/// Opens weights as those of the network that is trained.
///
/// # Errors
/// As [`Opened::open`].
pub fn open(path: &Path, arch: &Arch, config: &Config) -> Result<Opened> {
    let options = OpenOptions { arch: Some(arch.name), averaged: config.averaged, ..OpenOptions::default() };
    Opened::open(path, options)
}

/// What becomes of the pictures: weights go on with the numbers and the order of colours that they were trained with, or
/// that are usual for their network; a new network gets the data's. Scaling is that of training whatever the weights had.
pub fn preprocessing(config: &Config, start: Option<&Opened>, data: &dyn Dataset) -> Preprocessing {
    let order = start.map(|file| file.metadata.preprocessing.order).unwrap_or_default();
    let recorded = start.map(|file| file.metadata.preprocessing.normalization);
    let normalization = config.normalization.or(recorded).unwrap_or_else(|| data.normalization());
    Preprocessing { order, ..Preprocessing::covering(normalization) }
}

/// Whether the file has the auxiliary classifiers of its network too.
pub fn has_auxiliary(file: &Opened) -> bool {
    file.tensors.entries().keys().any(|name| Parameter::names_auxiliary(name))
}
