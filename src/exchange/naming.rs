//! A file under the names of the networks here.

use super::identify::{Identified, Wish, identify, of_none};
use crate::error::Result;
use crate::models::{Found, Names};
use crate::weights::{Entry, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Names and shapes of the tensors of a file that hold weights.
pub fn names(source: &dyn Source) -> Names {
    let weights = source.entries().iter().filter(|(_, e)| e.is_weights());
    weights.map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
}

/// A file under the names of the networks here.
pub struct Renamed {
    source: Box<dyn Source>,
    entries: BTreeMap<String, Entry>,
    /// The names in the file.
    originals: BTreeMap<String, String>,
    /// Tensors that are not of the network, under their names in the file.
    left_out: BTreeMap<String, Entry>,
    found: Option<Result<Found>>,
    stranger: bool,
    notes: Vec<String>,
}

impl Renamed {
    /// Finds out which network a file is of, whatever its modules are wrapped in. Where that fails, the tensors keep their
    /// names, and [`Renamed::found`] is the error.
    pub fn new(source: Box<dyn Source>, wish: Wish) -> Self {
        let identified = identify(source.as_ref(), wish);
        let mut renamed = Self::as_it_is(source);
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
                    // Integers are no weights, and may stay.
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
                renamed.stranger = true;
            }
            Err(error) => renamed.found = Some(Err(error)),
        }
        renamed
    }

    /// A file whose names are those of the networks here.
    pub fn as_it_is(source: Box<dyn Source>) -> Self {
        let entries = source.entries().clone();
        let (originals, left_out) = (BTreeMap::new(), BTreeMap::new());
        Self { source, entries, originals, left_out, found: None, stranger: false, notes: Vec::new() }
    }

    /// The network; `None` if nobody has looked for it.
    pub fn found(&self) -> Option<&Result<Found>> {
        self.found.as_ref()
    }

    /// Whether it is of no network here. Where it may be of one and was refused, it is not.
    pub fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// The file with its own names.
    pub fn file(&self) -> &dyn Source {
        self.source.as_ref()
    }

    /// Tensors of the file that are not of its network.
    pub fn left_out(&self) -> &BTreeMap<String, Entry> {
        &self.left_out
    }

    /// Something else that was chosen.
    #[cfg(feature = "pth")]
    pub(super) fn note(&mut self, note: Option<String>) {
        self.notes.extend(note);
    }

    /// What was chosen and left out, a sentence each.
    pub fn notes(&self) -> &[String] {
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
