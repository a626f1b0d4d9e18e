//! PyTorch's files, `.pth` and `.pt`: storages, and a pickle that describes the tensors in these storages.
//! The pickle is read without executing anything. See [`Pth`] and [`write()`].

mod archive;
mod cursor;
mod globals;
mod legacy;
mod objects;
mod pickle;
mod rebuild;
mod state_dict;
mod strided;
mod write;

pub use write::write;

use super::bytes::Bytes;
use super::{Dtype, Entry, Source, entry};
use crate::error::{Error, Result, Untrusted};
use archive::Archive;
use objects::{Objects, Storage, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use strided::Place;

const DAMAGED: &str = "it may be damaged; get it again";
const SAVE_STATE_DICT: &str = "save the numbers alone in PyTorch: torch.save(model.state_dict(), FILE)";

const ZIP: &[u8] = b"PK\x03\x04";

/// Whether a file with these first bytes may be one of PyTorch: a zip archive, a pickle, or a tar archive of its
/// first versions. 300 bytes are enough.
pub fn is_pth(start: &[u8]) -> bool {
    start.starts_with(ZIP) || is_tar(start) || is_pickle(start)
}

/// Whether it is a pickle of protocol 2 or later. A safetensors file whose header has 640 bytes starts with the same two
/// bytes, but continues with the zeros of a length and with `{`.
fn is_pickle(start: &[u8]) -> bool {
    let safetensors = matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{', ..]);
    matches!(start, [0x80, 2..=5, ..]) && !safetensors
}

fn is_tar(start: &[u8]) -> bool {
    start.get(257..262) == Some(b"ustar")
}

/// How a file of PyTorch is read.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct PthOptions {
    /// Whether averaged weights or plain ones are read from a checkpoint that has both; `None` takes the averaged ones.
    pub averaged: Option<bool>,
}

impl PthOptions {
    /// Sets whether averaged weights or plain ones are read from a checkpoint that has both.
    #[must_use]
    pub const fn averaged(self, averaged: Option<bool>) -> Self {
        Self { averaged }
    }
}

/// The named tensors of a file of PyTorch. The file is a state dict, or a checkpoint that holds one under a key such as
/// `state_dict`, `model_state_dict`, `model`, `state_dict_ema` or `model_ema`. Names are those of the file. The numbers stay in the
/// file until [`Source::rows`] reads them.
#[derive(Debug)]
pub struct Pth {
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
    places: BTreeMap<String, Place>,
    averages: Averages,
    /// The names in the order of the file.
    order: Vec<String>,
}

/// Whether a checkpoint has a running average of its weights.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Averages {
    /// No key is that of an average.
    None,
    /// The checkpoint has averaged weights only.
    Only,
    /// The checkpoint has plain weights, and an average in a form that cannot be read.
    Unread {
        /// The key of the average.
        average: String,
    },
    /// The checkpoint has averaged and plain weights.
    Both {
        /// Whether the averaged weights were taken.
        taken: bool,
        /// The key of the average.
        average: String,
        /// The key of the plain weights; empty if the file itself is their state dict.
        plain: String,
    },
}

impl Pth {
    /// Reads names and shapes of the tensors in a file. Numbers are read later.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Io`] if it cannot be read; [`Error::Data`] if `torch.save` has not made it, if it is
    /// damaged or holds no state dict, or if it needs objects of Python other than tensors. The message names the object.
    pub fn open(path: impl AsRef<Path>, options: PthOptions) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(Bytes::open(path)?, options.averaged).map_err(|e| e.at(path.display().to_string()))
    }

    /// Reads a file that is in memory, with the default options.
    ///
    /// # Errors
    /// [`Error::Data`] as [`Pth::open`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        Self::from_bytes(Bytes::memory(bytes), None)
    }

    /// Whether the file has a running average of the weights.
    pub const fn averages(&self) -> &Averages {
        &self.averages
    }

    /// Reads the pickle of a file in memory. `averaged` is the kind of weights that is wanted.
    ///
    /// # Errors
    /// As [`Pth::open`].
    pub(crate) fn in_memory(bytes: Vec<u8>, averaged: Option<bool>) -> Result<Self> {
        Self::from_bytes(Bytes::memory(bytes), averaged)
    }

    pub(super) fn from_bytes(bytes: Bytes, averaged: Option<bool>) -> Result<Self> {
        let start = bytes.read(0, bytes.len().min(300) as usize)?;
        let (entries, places, order, averages) = if start.starts_with(ZIP) {
            let archive = Archive::open(&bytes)?;
            let pickle = archive.pickle()?;
            let read = pickle::unpickle(&pickle, 0)?;
            tensors(&read.objects, read.top, averaged, |storage| archive.locate(storage))?
        } else if is_tar(&start) {
            return Err(Error::data("this is the tar form that PyTorch wrote before 0.1.10")
                .hint("load the file in PyTorch and save it again"));
        } else if is_pickle(&start) {
            let head = legacy::head(&bytes)?;
            let (read, storages) = legacy::open(&bytes, &head)?;
            tensors(&read.objects, read.top, averaged, |storage| legacy::locate(&storages, storage))?
        } else {
            let what = if start.is_empty() { "this file is empty" } else { "this is no file of PyTorch" };
            return Err(Error::data(what)
                .hint("get it again; what came may be a web page or a pointer of git-lfs in its place"));
        };
        Ok(Self { bytes, entries, places, averages, order })
    }
}

type Tensors = (BTreeMap<String, Entry>, BTreeMap<String, Place>, Vec<String>, Averages);

/// Finds each tensor of the weights in the file.
fn tensors(
    objects: &Objects,
    top: Value,
    averaged: Option<bool>,
    mut locate: impl FnMut(&Storage) -> Result<u64>,
) -> Result<Tensors> {
    let mut entries = BTreeMap::new();
    let mut places = BTreeMap::new();
    let mut order = Vec::new();
    // A storage that several tensors share is searched once.
    let mut starts = BTreeMap::new();
    let chosen = state_dict::choose(objects, top, averaged)?;
    for (name, view) in chosen.tensors {
        let at = |e: Error| e.at(Untrusted::short(name));
        let storage =
            objects.storage(view.storage).ok_or_else(|| Error::internal("a tensor without a storage"))?;
        let start = match starts.get(&view.storage) {
            Some(start) => *start,
            None => locate(storage).map_err(at)?,
        };
        starts.insert(view.storage, start);
        let place = Place {
            start: start.saturating_add(rebuild::offset(view) as u64),
            shape: view.shape.clone(),
            strides: view.strides.clone(),
        };
        let entry = Entry { shape: view.shape.clone(), dtype: view.scalar.dtype() };
        if entries.insert(name.to_owned(), entry).is_some() {
            return Err(at(Error::data("this name occurs twice").hint(DAMAGED)));
        }
        order.push(name.to_owned());
        places.insert(name.to_owned(), place);
    }
    Ok((entries, places, order, chosen.averages))
}

impl Source for Pth {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn order(&self) -> Option<&[String]> {
        Some(&self.order)
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let dtype: Dtype = entry(&self.entries, name, &rows)?.dtype;
        let place =
            self.places.get(name).ok_or_else(|| Error::internal("a tensor without a place").at(name))?;
        strided::read(&self.bytes, dtype, place, rows).map_err(|e| e.at(Untrusted::short(name)))
    }
}
