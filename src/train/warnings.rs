//! What a run shows while it goes wrong or wastes time, and what usually helps. Each warning comes once.

use super::Row;
use std::collections::VecDeque;
use std::fmt::{self, Display};

/// Above this share of an epoch the wait for data is worth a warning.
const LONG_WAIT: f64 = 0.2;

/// A loss within this share of that of guessing is that of guessing.
const NEAR_CHANCE: f64 = 0.02;

/// The steps over which the loss must stay there, and the least number where an epoch is shorter.
const STEPS_AT_CHANCE: [usize; 2] = [10, 300];

/// A rate below this share of the initial one is that of a warm-up, in which the loss need not fall yet.
const WARM: f64 = 0.5;

/// The difference between training and validation accuracy from which on a network has learned its pictures by heart.
const BY_HEART: f64 = 0.25;

/// The epochs after which every class should have been predicted, and after which the accuracies can be compared: the statistics of
/// batch norm lag behind in the first ones.
const EARLY: usize = 3;

/// The most classes that are named.
const NAMED: usize = 5;

/// What is wrong with a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The GPU waited for data for this share of an epoch.
    DataWait(f64),
    /// The loss stays at that of guessing, in nats.
    AtChance(f64),
    /// Classes of the validation pictures that the network never predicts.
    NeverPredicted(Vec<String>),
    /// The training accuracy is far above the validation accuracy.
    ByHeart {
        /// Training accuracy.
        train: f64,
        /// Top-1 accuracy on the validation pictures.
        val: f64,
    },
}

impl Warning {
    /// A short name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DataWait(_) => "data-wait",
            Self::AtChance(_) => "at-chance",
            Self::NeverPredicted(_) => "never-predicted",
            Self::ByHeart { .. } => "by-heart",
        }
    }

    /// What usually helps.
    pub fn help(&self) -> &'static str {
        match self {
            Self::DataWait(_) => {
                "what usually helps: a packed file of pictures that are little larger than the input of the network (`ocelli pack \
                 --size`), --fast-jpeg for photographs, lighter augmentations (--augment), more processor cores"
            }
            Self::AtChance(_) => {
                "what usually helps: another learning rate, often a tenth (--lr), a warm-up (--warmup), another initialisation \
                 (--init); check that the labels belong to the pictures"
            }
            Self::NeverPredicted(_) => {
                "what usually helps: more pictures of these classes, or classes that count the same (--balance); check their labels"
            }
            Self::ByHeart { .. } => {
                "what usually helps: more pictures, stronger augmentation (--augment, --recipe modern), more weight decay \
                 (--weight-decay), pretrained weights (--weights), fewer epochs (--early-stop)"
            }
        }
    }
}

impl Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataWait(share) => {
                write!(f, "the GPU waited for data for {:.0}% of the epoch", 100.0 * share)
            }
            Self::AtChance(loss) => write!(
                f,
                "the training loss stays at {loss:.2}, that of guessing: the network learns nothing so far"
            ),
            Self::NeverPredicted(classes) => {
                let names = classes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
                let more = classes.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} others") } else { String::new() };
                write!(f, "of the validation pictures none is ever taken for: {names}{more}")
            }
            Self::ByHeart { train, val } => write!(
                f,
                "the training accuracy of {:.0}% is far above the {:.0}% on the validation pictures: the network learns its \
                 pictures by heart",
                100.0 * train,
                100.0 * val
            ),
        }
    }
}

/// Watches a run.
pub(super) struct Watch {
    /// Cross-entropy of guessing, in nats.
    chance: f64,
    /// The rate from which on a loss counts.
    warm: f64,
    /// The steps over which the loss must stay at that of guessing.
    steps: usize,
    losses: VecDeque<f64>,
    told: Vec<&'static str>,
}

impl Watch {
    /// Watches a run with this number of classes, initial rate and steps in an epoch.
    pub(super) fn new(classes: usize, lr: f64, steps_per_epoch: usize) -> Self {
        let [least, most] = STEPS_AT_CHANCE;
        let chance = (classes.max(1) as f64).ln();
        Self {
            chance,
            warm: WARM * lr,
            steps: steps_per_epoch.clamp(least, most),
            losses: VecDeque::new(),
            told: Vec::new(),
        }
    }

    /// Looks at the mean loss of a step.
    pub(super) fn step(&mut self, loss: f64, lr: f64) -> Option<Warning> {
        if lr < self.warm || self.chance <= 0.0 {
            return None;
        }
        self.losses.push_back(loss);
        if self.losses.len() < self.steps {
            return None;
        }
        // Batches scatter. A loss that falls has another mean in the second half.
        let half = self.losses.len() / 2;
        let mean =
            |part: &mut dyn Iterator<Item = &f64>, count: usize| part.sum::<f64>() / count.max(1) as f64;
        let first = mean(&mut self.losses.iter().take(half), half);
        let second = mean(&mut self.losses.iter().skip(half), self.losses.len() - half);
        let is_chance = |mean: f64| (mean - self.chance).abs() <= NEAR_CHANCE * self.chance;
        let found = (is_chance(first) && is_chance(second)).then_some(Warning::AtChance(second));
        self.losses.pop_front();
        found.and_then(|warning| self.once(warning))
    }

    /// Looks at the rows up to an epoch that is done, and at the names of the classes that no validation picture was taken for,
    /// though there are pictures of them.
    pub(super) fn epoch(&mut self, rows: &[Row], never: Vec<String>) -> Vec<Warning> {
        let mut found = Vec::new();
        let Some(row) = rows.last() else { return found };
        found.extend(row.data_wait.filter(|share| *share > LONG_WAIT).map(Warning::DataWait));
        let is_late = rows.len() >= EARLY;
        if is_late && !never.is_empty() {
            found.push(Warning::NeverPredicted(never));
        }
        let by_heart = |row: &Row| row.train_top1 - row.val_top1 > BY_HEART;
        if is_late && rows.iter().rev().take(2).all(by_heart) {
            found.push(Warning::ByHeart { train: row.train_top1, val: row.val_top1 });
        }
        found.into_iter().filter_map(|warning| self.once(warning)).collect()
    }

    fn once(&mut self, warning: Warning) -> Option<Warning> {
        let is_new = !self.told.contains(&warning.kind());
        self.told.push(warning.kind());
        is_new.then_some(warning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64, train_top1: f64, val_top1: f64, data_wait: f64) -> Row {
        Row {
            epoch,
            step: epoch,
            lr: 0.1,
            train_loss: 1.0,
            train_top1,
            val_loss: 1.0,
            val_top1,
            val_top5: 1.0,
            images_per_s: 1.0,
            data_wait: Some(data_wait),
        }
    }

    #[test]
    fn a_loss_at_chance_is_told_once_and_one_that_falls_or_warms_up_is_not() {
        let chance = 10.0_f64.ln();
        let noise = |i: usize| if i.is_multiple_of(2) { 0.1 } else { -0.1 };
        let mut watch = Watch::new(10, 0.1, 40);
        let told: Vec<usize> = (0..200).filter(|i| watch.step(chance + noise(*i), 0.1).is_some()).collect();
        assert_eq!(told, [39], "after an epoch, once");
        let mut watch = Watch::new(10, 0.1, 40);
        assert!((0..200).all(|i| watch.step(chance * (1.0 - 0.003 * i as f64), 0.1).is_none()), "it falls");
        assert!((0..200).all(|_| Watch::new(10, 0.1, 40).step(chance, 0.01).is_none()));
        let mut watch = Watch::new(10, 0.1, 40);
        assert!((0..200).all(|_| watch.step(chance, 0.01).is_none()), "warm-up");
        let mut watch = Watch::new(1000, 0.1, 5000);
        let first = (0..5000).find(|_| watch.step(1000.0_f64.ln(), 0.1).is_some());
        assert_eq!(first, Some(299), "300 steps of a long epoch");
        let mut watch = Watch::new(1, 0.1, 40);
        assert!((0..200).all(|_| watch.step(0.0, 0.1).is_none()), "one class has nothing to guess");
    }

    #[test]
    fn epochs_are_warned_of_once_and_not_too_early() {
        let rows =
            [row(1, 0.9, 0.2, 0.1), row(2, 0.9, 0.2, 0.3), row(3, 0.9, 0.2, 0.5), row(4, 0.9, 0.2, 0.9)];
        let mut watch = Watch::new(10, 0.1, 100);
        let never = || vec!["cat".to_owned()];
        assert_eq!(watch.epoch(&rows[..1], never()), []);
        assert_eq!(watch.epoch(&rows[..2], never()), [Warning::DataWait(0.3)]);
        let by_heart = Warning::ByHeart { train: 0.9, val: 0.2 };
        assert_eq!(watch.epoch(&rows[..3], never()), [Warning::NeverPredicted(never()), by_heart]);
        assert_eq!(watch.epoch(&rows, never()), []);
        let fine = [row(1, 0.9, 0.2, 0.0), row(2, 0.9, 0.7, 0.2), row(3, 0.9, 0.64, 0.0)];
        assert_eq!(Watch::new(10, 0.1, 100).epoch(&fine, Vec::new()), []);
    }

    #[test]
    fn many_classes_are_counted() {
        let classes: Vec<String> = (0..7).map(|i| format!("class {i}")).collect();
        let text = Warning::NeverPredicted(classes).to_string();
        assert!(text.ends_with("class 0, class 1, class 2, class 3, class 4 and 2 others"), "{text}");
    }
}
