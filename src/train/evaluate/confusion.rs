//! Which classes a network takes for which.

use std::collections::BTreeMap;

/// The confusion matrix: how many pictures of each class were predicted as which. Only pairs that occur take memory, so it is never larger
/// than the number of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: BTreeMap<(u32, u32), u64>,
}

impl Confusion {
    /// Counts pairs of the class of a picture and the predicted class.
    pub fn of(classes: usize, pairs: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut counts = BTreeMap::new();
        for pair in pairs {
            *counts.entry(pair).or_default() += 1;
        }
        Self { classes, counts }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many pictures of a class were predicted as another, or as itself.
    pub fn count(&self, label: u32, predicted: u32) -> u64 {
        self.counts.get(&(label, predicted)).copied().unwrap_or(0)
    }

    /// The pairs that occur, by class and predicted class: class, predicted class, number of pictures.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.counts.iter().map(|(&(label, predicted), &count)| (label, predicted, count))
    }

    /// The whole matrix: a row for each class of the pictures, a column for each predicted class. `None` if there are more than `most`
    /// classes.
    pub fn matrix(&self, most: usize) -> Option<Vec<Vec<u64>>> {
        let classes = 0..u32::try_from(self.classes).ok().filter(|_| self.classes <= most)?;
        let row = |label| classes.clone().map(|predicted| self.count(label, predicted)).collect();
        Some(classes.clone().map(row).collect())
    }

    /// The class that pictures of this class are most often taken for wrongly, and how often. Of several the one with the lowest number.
    pub fn most_confused(&self, label: u32) -> Option<(u32, u64)> {
        let row = self.counts.range((label, 0)..=(label, u32::MAX));
        let wrong = row.filter(|((_, predicted), _)| *predicted != label);
        // The first of equal ones.
        wrong.rev().max_by_key(|(_, count)| **count).map(|(&(_, predicted), &count)| (predicted, count))
    }
}
