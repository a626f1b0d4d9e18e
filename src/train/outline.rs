//! What the page of a run shows of a validation: the confusion of classes, and the pictures with the smallest and the largest loss.

use super::Row;
use super::evaluate::Classified;
use super::metrics;
use crate::data::Loader;
use crate::error::Result;
use crate::report::{Confusion, Example, Metrics, RunPage, Sheet};
use crate::weights::Tensor;
use std::collections::BTreeMap;

/// The pictures of each kind that a page shows.
const EXAMPLES: usize = 12;

/// The outline of a validation.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub(super) confusion: Confusion,
    /// The pictures with the largest loss, the largest first.
    worst: Vec<Classified>,
    /// Those with the smallest loss, the smallest first.
    best: Vec<Classified>,
}

impl Outline {
    pub(super) fn new(classes: Vec<String>) -> Self {
        Self { confusion: Confusion::new(classes), worst: Vec::new(), best: Vec::new() }
    }

    /// Takes in a picture.
    pub(super) fn add(&mut self, one: Classified) {
        self.confusion.add(one.label as usize, one.predicted);
        keep(&mut self.worst, one, |a, b| a.loss > b.loss);
        keep(&mut self.best, one, |a, b| a.loss < b.loss);
    }

    /// The page of a run after an epoch. `loader` is that of the validation; pictures that cannot be read any more are left out.
    ///
    /// # Errors
    /// Those of [`Metrics::parse`].
    pub(super) fn page(
        self,
        name: String,
        config: &[u8],
        rows: &[Row],
        filters: Option<Sheet>,
        classes: &[String],
        loader: &Loader,
    ) -> Result<RunPage> {
        let mut table = Vec::new();
        // Writing to memory does not fail.
        let _ = metrics::write(&mut table, rows);
        let metrics = Metrics::parse(&String::from_utf8_lossy(&table))?;
        let config = serde_json::from_slice(config).unwrap_or_default();
        let class = |i: usize| classes.get(i).cloned().unwrap_or_default();
        let examples = |all: Vec<Classified>| -> Vec<Example> {
            let example = |one: Classified| {
                let picture = loader.picture(one.place).ok()?;
                Some(Example {
                    picture: Sheet::thumbnail(picture.width(), picture.height(), picture.rgba())?,
                    name: loader.name(one.place),
                    right: class(one.label as usize),
                    predicted: class(one.predicted),
                    loss: f64::from(one.loss),
                })
            };
            all.into_iter().filter_map(example).collect()
        };
        let (best, worst) = (examples(self.best), examples(self.worst));
        Ok(RunPage { name, metrics, config, confusion: Some(self.confusion), filters, best, worst })
    }
}

/// Puts a picture at its place among the first ones, of which there are a few.
fn keep(few: &mut Vec<Classified>, one: Classified, before: impl Fn(&Classified, &Classified) -> bool) {
    let at = few.iter().position(|other| before(&one, other)).unwrap_or(few.len());
    if at < EXAMPLES {
        few.insert(at, one);
        few.truncate(EXAMPLES);
    }
}

/// The filters of the first convolution among these parameters, in the order of the network.
pub(super) fn first_filters<'a>(
    names: impl Iterator<Item = &'a str>,
    tensors: &BTreeMap<String, Tensor>,
) -> Option<Sheet> {
    let mut tensors = names.filter_map(|name| tensors.get(name));
    let first = tensors.find(|tensor| tensor.shape.len() == 4)?;
    Sheet::filters(&first.shape, &first.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_of_the_loss_are_kept_in_order() {
        let mut outline = Outline::new(vec!["a".to_owned(), "b".to_owned()]);
        for place in 0..100 {
            let loss = ((place * 37) % 100) as f32;
            outline.add(Classified { place, label: 0, predicted: place % 2, loss });
        }
        let losses = |few: &[Classified]| few.iter().map(|one| one.loss as usize).collect::<Vec<_>>();
        assert_eq!(losses(&outline.worst), (88..100).rev().collect::<Vec<_>>());
        assert_eq!(losses(&outline.best), (0..12).collect::<Vec<_>>());
        assert_eq!((outline.confusion.count(0, 0), outline.confusion.count(0, 1)), (50, 50));
    }
}
