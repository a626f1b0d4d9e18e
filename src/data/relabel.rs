//! A data set with the labels of a network.

use super::{Dataset, LeftOut, Normalization, Picture};
use crate::error::{Error, Result};
use std::sync::Arc;

struct Relabelled {
    set: Arc<dyn Dataset>,
    names: Vec<String>,
    labels: Vec<u32>,
}

/// Gives the pictures of a data set the labels of a network. `names` are the classes of the network; the label of a picture becomes the
/// position of the name of its class in `names`.
///
/// # Errors
/// [`Error::Data`] if `names` lacks a class of the data.
pub fn relabel(set: Arc<dyn Dataset>, names: &[String]) -> Result<Arc<dyn Dataset>> {
    let mut labels = Vec::with_capacity(set.classes().len());
    let mut unknown = Vec::new();
    for class in set.classes() {
        match names.iter().zip(0..).find(|(name, _)| *name == class) {
            Some((_, label)) => labels.push(label),
            None => unknown.push(class.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(Arc::new(Relabelled { set, names: names.to_vec(), labels }));
    }
    let few = |names: &[&str]| {
        let rest = if names.len() > 5 { ", ..." } else { "" };
        names.iter().take(5).copied().collect::<Vec<_>>().join(", ") + rest
    };
    let known: Vec<_> = names.iter().map(String::as_str).collect();
    Err(Error::data(format!(
        "the network does not know {} of the data's classes ({}); it knows {}",
        unknown.len(),
        few(&unknown),
        few(&known)
    )))
}

impl Dataset for Relabelled {
    fn classes(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.set.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.labels.get(self.set.label(i) as usize).copied().unwrap_or_default()
    }

    fn name(&self, i: usize) -> String {
        self.set.name(i)
    }

    fn left_out(&self) -> &[LeftOut] {
        self.set.left_out()
    }

    fn load(&self, i: usize) -> Result<Picture> {
        self.set.load(i)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        self.set.encoded(i)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        self.set.native_size()
    }

    fn normalization(&self) -> Normalization {
        self.set.normalization()
    }
}
