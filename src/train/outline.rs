//! What the page of a run shows of a validation: the confusion of classes, the most confident mistakes and right answers.

use super::metrics;
use super::{Row, Score, Scores};
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
    /// Mistakes, those with the most probable wrong class first.
    worst: Vec<Score>,
    /// Right answers, the most probable first.
    best: Vec<Score>,
}

impl Outline {
    /// Of what a network says of the validation pictures, with the names of its classes.
    pub(super) fn of(scores: &Scores, classes: &[String]) -> Self {
        let mut confusion = Confusion::new(classes.to_vec());
        scores
            .pictures()
            .iter()
            .for_each(|score| confusion.add(score.label as usize, score.predicted as usize));
        Self { confusion, worst: scores.worst(EXAMPLES), best: scores.best(EXAMPLES) }
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
        let examples = |all: Vec<Score>| -> Vec<Example> {
            let example = |score: Score| {
                let (name, picture) = loader.picture(score.position as usize).ok()?;
                Some(Example {
                    picture: Sheet::thumbnail(picture.width(), picture.height(), picture.rgba())?,
                    name,
                    right: class(score.label as usize),
                    predicted: class(score.predicted as usize),
                    probability: f64::from(score.probability),
                })
            };
            all.into_iter().filter_map(example).collect()
        };
        let (best, worst) = (examples(self.best), examples(self.worst));
        Ok(RunPage { name, metrics, config, confusion: Some(self.confusion), filters, best, worst })
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
