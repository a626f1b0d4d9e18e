//! The names that others give to the tensors of our networks.

use crate::error::{Error, Result, Untrusted};
use crate::models::Names;
use crate::weights::{Entry, Source};
use std::collections::BTreeMap;
use std::ops::Range;

/// What wrappers put before all names: PyTorch's `DataParallel`, its compiler, Lightning.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "net."];

/// timm's names of VGG's fully connected layers, the first two of which it keeps as convolutions, and torchvision's.
const TIMM_VGG: [(&str, &str); 3] = [
    ("pre_logits.fc1.", "classifier.0."),
    ("pre_logits.fc2.", "classifier.3."),
    ("head.fc.", "classifier.6."),
];

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
}

impl Renamed {
    /// Takes wrappers' prefixes away and translates timm's names.
    ///
    /// # Errors
    /// [`Error::Data`] if two tensors get one name.
    pub fn new(source: Box<dyn Source>) -> Result<Self> {
        let mut cut = 0;
        let mut first = source.entries().keys();
        while let Some(prefix) = first.next().and_then(|name| prefix_at(name, cut)) {
            if !source.entries().keys().all(|name| prefix_at(name, cut) == Some(prefix)) {
                break;
            }
            cut += prefix.len();
            first = source.entries().keys();
        }
        let vgg = source
            .entries()
            .keys()
            .any(|name| name.get(cut..).unwrap_or_default().starts_with(TIMM_VGG[0].0));
        let (mut entries, mut originals) = (BTreeMap::new(), BTreeMap::new());
        for (original, entry) in source.entries() {
            let mut name = original.get(cut..).unwrap_or_default().to_owned();
            let mut entry = entry.clone();
            if vgg && let Some((theirs, ours)) = TIMM_VGG.iter().find(|(theirs, _)| name.starts_with(theirs))
            {
                name = name.replacen(theirs, ours, 1);
                if let [k, ref rest @ ..] = entry.shape[..]
                    && rest.len() == 3
                {
                    // The same numbers in the same order.
                    entry.shape = vec![k, rest.iter().product()];
                }
            }
            originals.insert(name.clone(), original.clone());
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::data(format!("two tensors are called {}", Untrusted::short(&name))));
            }
        }
        Ok(Self { source, entries, originals })
    }
}

fn prefix_at(name: &str, cut: usize) -> Option<&'static str> {
    let rest = name.get(cut..)?;
    PREFIXES.into_iter().find(|prefix| rest.starts_with(prefix))
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
