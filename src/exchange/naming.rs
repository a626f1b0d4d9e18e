//! The tensors of a file under the names of the networks of this crate.

use super::IdentifyOptions;
use super::identify::{Identified, identify, of_none};
use crate::error::{Note, Result};
use crate::models::{Found, Names};
use crate::weights::{Entry, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Names and shapes of the tensors of a file that hold weights.
pub fn names(source: &dyn Source) -> Names {
    let weights = source.entries().iter().filter(|(_, e)| e.is_weights());
    weights.map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
}

/// The tensors of a file under the names of the networks of this crate.
pub struct Renamed {
    source: Box<dyn Source>,
    entries: BTreeMap<String, Entry>,
    /// The names in the file, by the names here.
    originals: BTreeMap<String, String>,
    /// Tensors that are not part of the network, under their names in the file.
    left_out: BTreeMap<String, Entry>,
    found: Option<Result<Found>>,
    /// Whether the tensors are of no network of this crate.
    unknown: bool,
    notes: Vec<Note>,
}

impl Renamed {
    /// Finds out which network a file holds, even if its modules lie in other modules. If that fails, the tensors keep their
    /// names, and [`Renamed::found`] is the error.
    pub fn new(source: Box<dyn Source>, options: IdentifyOptions) -> Self {
        let identified = identify(source.as_ref(), options);
        let mut renamed = Self::without_renaming(source);
        match identified {
            Ok(Some(Identified { found, tensors, notes })) => {
                let all = std::mem::take(&mut renamed.entries);
                for (ours, theirs, shape) in tensors {
                    if let Some(entry) = all.get(&theirs) {
                        renamed.entries.insert(ours.clone(), Entry { shape, dtype: entry.dtype });
                        renamed.originals.insert(ours, theirs);
                    }
                }
                let used: BTreeSet<&String> = renamed.originals.values().collect();
                for (name, entry) in all.into_iter().filter(|(name, _)| !used.contains(name)) {
                    // Integers are not weights, and are kept.
                    if entry.is_weights() || renamed.entries.contains_key(&name) {
                        renamed.left_out.insert(name, entry);
                    } else {
                        renamed.entries.insert(name, entry);
                    }
                }
                renamed.found = Some(Ok(found));
                renamed.notes = notes;
            }
            Ok(None) => {
                renamed.found = Some(Err(of_none(renamed.file(), None)));
                renamed.unknown = true;
            }
            Err(error) => renamed.found = Some(Err(error)),
        }
        renamed
    }

    /// A file whose names are those of the networks of this crate already.
    pub fn without_renaming(source: Box<dyn Source>) -> Self {
        let entries = source.entries().clone();
        let (originals, left_out) = (BTreeMap::new(), BTreeMap::new());
        Self { source, entries, originals, left_out, found: None, unknown: false, notes: Vec::new() }
    }

    /// The network, or why it was not found; `None` for [`Renamed::without_renaming`].
    pub fn found(&self) -> Option<&Result<Found>> {
        self.found.as_ref()
    }

    /// Whether the tensors are of no network of this crate. A file that resembles a network and was refused is not unknown.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// The tensors under the names of the file.
    pub fn file(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Tensors of the file that are not part of its network.
    pub fn left_out(&self) -> &BTreeMap<String, Entry> {
        &self.left_out
    }

    /// Adds a note of another choice.
    #[cfg(feature = "pth")]
    pub(super) fn note(&mut self, note: Option<Note>) {
        self.notes.extend(note);
    }

    /// What was chosen and what was left out, a sentence each.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

impl Source for Renamed {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.source.rows(self.original(name), rows)
    }

    fn reads_by_rows(&self, name: &str) -> bool {
        self.source.reads_by_rows(self.original(name))
    }

    fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.originals.get(name).map_or(name, String::as_str)
    }
}
