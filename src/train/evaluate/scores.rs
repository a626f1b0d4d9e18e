//! What a network says of each picture, and what follows for the whole.

use super::{Calibration, Confusion};
use crate::error::{Error, Result};
use serde::Serialize;
use std::cmp::Ordering;

/// The result of an evaluation. Field names are those of `ocelli eval --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of pictures that could be read.
    pub images: u64,
    /// Pictures whose class had the largest logit.
    pub correct_top1: u64,
    /// Pictures whose class was among the five largest logits.
    pub correct_top5: u64,
    /// `correct_top1 / images`.
    pub top1: f64,
    /// `correct_top5 / images`.
    pub top5: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Expected calibration error, from 0 to 1: see [`Calibration::error`].
    pub calibration_error: f64,
}

/// What a network says of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// The position of the picture in the data set.
    pub position: u32,
    /// Its class.
    pub label: u32,
    /// The most probable class.
    pub predicted: u32,
    /// How many classes are more probable than that of the picture; of equally probable ones those with a lower number.
    pub rank: u32,
    /// The probability of the predicted class.
    pub probability: f32,
    /// The probability of the picture's class.
    pub of_label: f32,
    /// Cross-entropy in nats.
    pub loss: f32,
}

impl Score {
    /// Whether the predicted class is that of the picture.
    pub fn is_right(&self) -> bool {
        self.predicted == self.label
    }

    /// From finite logits. The position is 0.
    pub(super) fn of_logits(logits: &[f32], label: u32) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
        let right = logits.get(label as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let predicted = logits.iter().position(|x| *x == largest).unwrap_or(0);
        Self {
            position: 0,
            label,
            predicted: predicted as u32,
            rank: rank(logits, label),
            probability: (1.0 / sum) as f32,
            of_label: (f64::from(right - largest).exp() / sum) as f32,
            loss: (sum.ln() - f64::from(right - largest)) as f32,
        }
    }

    /// From probabilities. The position is 0. The loss is that of a probability of at least 1e-300.
    pub(super) fn of_probabilities(probabilities: &[f64], label: u32) -> Self {
        let largest = probabilities.iter().copied().fold(0.0, f64::max);
        let right = probabilities.get(label as usize).copied().unwrap_or(0.0);
        let predicted = probabilities.iter().position(|p| *p == largest).unwrap_or(0);
        Self {
            position: 0,
            label,
            predicted: predicted as u32,
            rank: rank(probabilities, label),
            probability: largest as f32,
            of_label: right as f32,
            loss: -right.max(1e-300).ln() as f32,
        }
    }

    /// From the one logit of a network for two classes. The logit is that of class 1; 0 counts as wrong.
    pub(super) fn of_two(logit: f32, label: u32) -> Self {
        let right = f64::from(if label == 1 { logit } else { -logit });
        let is_right = right > 0.0;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        Self {
            position: 0,
            label,
            predicted: if is_right { label } else { u32::from(label != 1) },
            rank: u32::from(!is_right),
            probability: sigmoid(right.abs()) as f32,
            of_label: sigmoid(right) as f32,
            loss: ((-right).max(0.0) + (-right.abs()).exp().ln_1p()) as f32,
        }
    }
}

/// How many of the values are larger than that of the label, or equal with a lower number.
fn rank<T: PartialOrd>(values: &[T], label: u32) -> u32 {
    let Some(right) = values.get(label as usize) else { return values.len() as u32 };
    let before = (0..).zip(values).filter(|(class, x)| *x > right || (*x == right && *class < label));
    before.count() as u32
}

/// The accuracy on the pictures of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClassScore {
    /// The number of the class.
    pub class: u32,
    /// Its pictures that could be read.
    pub images: u64,
    /// Those whose class was the most probable one.
    pub correct_top1: u64,
    /// Those whose class was among the five most probable ones.
    pub correct_top5: u64,
    /// The class that its pictures are most often taken for wrongly, and how often. Of several the one with the lowest number.
    pub confused_with: Option<(u32, u64)>,
}

impl ClassScore {
    /// The share of the pictures whose class was the most probable one; `None` without pictures.
    pub fn top1(&self) -> Option<f64> {
        (self.images > 0).then(|| self.correct_top1 as f64 / self.images as f64)
    }

    /// The share of the pictures whose class was among the five most probable ones; `None` without pictures.
    pub fn top5(&self) -> Option<f64> {
        (self.images > 0).then(|| self.correct_top5 as f64 / self.images as f64)
    }
}

/// What a network says of each picture of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    classes: usize,
    scores: Vec<Score>,
}

impl Scores {
    /// Takes the scores of the pictures that could be read, in the order of the data set.
    ///
    /// # Errors
    /// [`Error::Data`] if there are none.
    pub fn new(classes: usize, scores: Vec<Score>) -> Result<Self> {
        if scores.is_empty() {
            return Err(Error::data("none of the pictures could be read"));
        }
        Ok(Self { classes, scores })
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The scores in the order of the data set.
    pub fn pictures(&self) -> &[Score] {
        &self.scores
    }

    /// Accuracy, loss and calibration error.
    pub fn evaluation(&self) -> Evaluation {
        let count = |below: u32| self.scores.iter().filter(|s| s.rank < below).count() as u64;
        let (images, correct_top1, correct_top5) = (self.scores.len() as u64, count(1), count(5));
        let part = |number: f64| number / images as f64;
        Evaluation {
            images,
            correct_top1,
            correct_top5,
            top1: part(correct_top1 as f64),
            top5: part(correct_top5 as f64),
            loss: part(self.scores.iter().map(|s| f64::from(s.loss)).sum()),
            calibration_error: self.calibration().error(),
        }
    }

    /// How well the probabilities agree with the accuracy.
    pub fn calibration(&self) -> Calibration {
        Calibration::of(self.scores.iter().map(|s| (s.probability, s.is_right())))
    }

    /// Which classes are taken for which.
    pub fn confusion(&self) -> Confusion {
        Confusion::of(self.classes, self.scores.iter().map(|s| (s.label, s.predicted)))
    }

    /// The accuracy of each class, in the order of the classes. `confusion` is [`Scores::confusion`].
    pub fn per_class(&self, confusion: &Confusion) -> Vec<ClassScore> {
        let mut list: Vec<ClassScore> = (0..self.classes as u32)
            .map(|class| {
                let confused_with = confusion.most_confused(class);
                ClassScore { class, images: 0, correct_top1: 0, correct_top5: 0, confused_with }
            })
            .collect();
        for score in &self.scores {
            if let Some(class) = list.get_mut(score.label as usize) {
                class.images += 1;
                class.correct_top1 += u64::from(score.rank < 1);
                class.correct_top5 += u64::from(score.rank < 5);
            }
        }
        list
    }

    /// At most so many pictures that are classified wrongly, those with the most probable wrong class first.
    pub fn worst(&self, most: usize) -> Vec<Score> {
        self.most_probable(most, false)
    }

    /// At most so many pictures that are classified rightly, the most probable ones first.
    pub fn best(&self, most: usize) -> Vec<Score> {
        self.most_probable(most, true)
    }

    fn most_probable(&self, most: usize, right: bool) -> Vec<Score> {
        let mut list: Vec<Score> = self.scores.iter().filter(|s| s.is_right() == right).copied().collect();
        list.sort_by(|a, b| match b.probability.total_cmp(&a.probability) {
            // Many probabilities are rounded to 1: then that of the right class tells them apart.
            Ordering::Equal => a.of_label.total_cmp(&b.of_label).then(a.position.cmp(&b.position)),
            other => other,
        });
        list.truncate(most);
        list
    }
}
