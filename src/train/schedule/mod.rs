//! Schedules of the learning rate.

mod text;

use super::Row;
use serde::{Deserialize, Serialize};

/// A schedule of the learning rate. Steps and epochs count from the end of the warm-up.
///
/// ```
/// use ocelli::train::Schedule;
///
/// let schedule: Schedule = "milestones=30:60:80".parse()?;
/// assert_eq!(schedule, Schedule::Milestones(vec![30.0, 60.0, 80.0]));
/// # Ok::<(), ocelli::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Schedule {
    /// A constant rate.
    Constant,
    /// The rate is divided by 10 after half of the steps, and again after three quarters: He et al. 2015, section 4.2, with
    /// drops at 32,000 and 48,000 of 64,000 steps.
    Step,
    /// The rate is divided by 10 at each of these epochs: PyTorch's `MultiStepLR`.
    Milestones(Vec<f64>),
    /// The rate is multiplied by a factor each time that some epochs have passed: PyTorch's `StepLR`. Szegedy et al. 2014, section 6,
    /// took 0.96 every 8 epochs.
    Every {
        /// The epochs between two changes.
        epochs: f64,
        /// The factor.
        factor: f64,
    },
    /// The rate falls with a power of the remaining part of the run. Caffe's GoogLeNet took a power of 0.5.
    Poly(f64),
    /// The rate falls from its initial value to 0 along half a period of a cosine: Loshchilov and Hutter, "SGDR", 2016, without restarts.
    Cosine,
    /// The rate rises from a 25th of its value along half a cosine for 30% of the run, and falls to a 250,000th along another: Smith and
    /// Topin, "Super-Convergence", 2017; PyTorch's `OneCycleLR`.
    OneCycle,
    /// The rate is divided by 10 when the loss on the validation pictures has not reached a new minimum for more than this number of
    /// epochs: what AlexNet, ZFNet and VGG did by hand; PyTorch's `ReduceLROnPlateau` with a threshold of 0.
    Plateau(u32),
}

/// The beginning of a run, with a smaller learning rate.
///
/// ```
/// use ocelli::train::Warmup;
///
/// let warmup: Warmup = "5".parse()?;
/// assert_eq!(warmup.to_string(), "5:0.01:linear");
/// # Ok::<(), ocelli::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub struct Warmup {
    /// Its epochs.
    pub epochs: f64,
    /// The factor of the rate in the first step.
    pub factor: f64,
    /// Whether the factor rises to 1 by the same amount in each step. Otherwise it stays until the end of the warm-up.
    pub linear: bool,
}

impl Warmup {
    /// No warm-up.
    pub const NONE: Self = Self { epochs: 0.0, factor: 0.01, linear: true };

    /// A tenth of the rate for one epoch: He et al. 2015, section 4.2, for 110 layers, where the paper has about 400 steps.
    pub const RESNET110: Self = Self { epochs: 1.0, factor: 0.1, linear: false };
}

impl Default for Warmup {
    fn default() -> Self {
        Self::NONE
    }
}

/// A place in a run.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Steps that are done.
    pub step: u64,
    /// Steps of the whole run.
    pub total: u64,
    /// Steps of an epoch.
    pub epoch: u64,
    /// The epochs that are done.
    pub rows: &'a [Row],
}

impl Schedule {
    /// The learning rate of the step at `place`.
    pub fn rate(&self, lr: f64, warmup: Warmup, place: Place) -> f64 {
        let warm = (warmup.epochs * place.epoch as f64).round() as u64;
        if place.step < warm {
            let part = if warmup.linear { place.step as f64 / warm as f64 } else { 0.0 };
            return lr * (warmup.factor + (1.0 - warmup.factor) * part);
        }
        let (step, total) = ((place.step - warm) as f64, place.total.saturating_sub(warm).max(1) as f64);
        // What validation said during the warm-up does not count.
        let rows =
            place.rows.iter().position(|row| row.step > warm).and_then(|first| place.rows.get(first..));
        self.after_warmup(lr, step, total, Place { rows: rows.unwrap_or_default(), ..place })
    }

    fn after_warmup(&self, lr: f64, step: f64, total: f64, Place { epoch, rows, .. }: Place) -> f64 {
        let (part, epoch) = (step / total, epoch.max(1) as f64);
        // Half a cosine from one number to another.
        let swing = |from: f64, to: f64, part: f64| {
            to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
        };
        match self {
            Self::Constant => lr,
            Self::Step if part >= 0.75 => lr / 100.0,
            Self::Step if part >= 0.5 => lr / 10.0,
            Self::Step => lr,
            Self::Milestones(at) => tenth(lr, at.iter().filter(|at| step >= (**at * epoch).round()).count()),
            Self::Every { epochs, factor } => lr * factor.powf((step / (epochs * epoch) + 1e-9).floor()),
            Self::Poly(power) if *power == 0.5 => lr * (1.0 - part).max(0.0).sqrt(),
            Self::Poly(power) => lr * (1.0 - part).max(0.0).powf(*power),
            Self::Cosine => lr * 0.5 * (1.0 + (std::f64::consts::PI * part).cos()),
            Self::OneCycle => {
                // As in PyTorch the rate is largest before the end of the 30%, and smallest in the last step.
                let (top, last) = ((0.3 * total - 1.0).max(0.0), (total - 1.0).max(1.0));
                lr * if step < top {
                    swing(0.04, 1.0, step / top)
                } else {
                    swing(1.0, 4e-6, (step - top) / (last - top))
                }
            }
            Self::Plateau(patience) => tenth(lr, plateaus(rows, *patience)),
        }
    }
}

/// A rate that is divided by 10 so many times.
fn tenth(lr: f64, times: usize) -> f64 {
    lr / 10f64.powi(i32::try_from(times).unwrap_or(i32::MAX))
}

/// How often the validation loss has not improved for more than `patience` epochs.
fn plateaus(rows: &[Row], patience: u32) -> usize {
    let (mut best, mut bad, mut count) = (f64::INFINITY, 0, 0);
    for row in rows {
        bad = if row.val_loss < best { 0 } else { bad + 1 };
        best = best.min(row.val_loss);
        if bad > patience {
            (bad, count) = (0, count + 1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of steps of a run of 100 steps, 10 an epoch, that starts at 0.1.
    fn rates(schedule: &str, warmup: &str, steps: &[u64]) -> Vec<f64> {
        let (schedule, warmup): (Schedule, Warmup) = (schedule.parse().unwrap(), warmup.parse().unwrap());
        let place = |step| Place { step, total: 100, epoch: 10, rows: &[] };
        steps.iter().map(|step| schedule.rate(0.1, warmup, place(*step))).collect()
    }

    fn near(found: &[f64], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        let is_near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs();
        assert!(found.iter().zip(wanted).all(is_near), "{found:?} instead of {wanted:?}");
    }

    #[test]
    fn rates_at_the_ends_and_at_the_drops() {
        near(&rates("constant", "0", &[0, 99]), &[0.1, 0.1]);
        near(&rates("step", "0", &[49, 50, 74, 75]), &[0.1, 0.01, 0.01, 0.001]);
        near(&rates("poly", "0", &[0, 75]), &[0.1, 0.05]);
        near(&rates("cosine", "0", &[0, 50]), &[0.1, 0.05]);
        assert!(rates("cosine", "0", &[100])[0] < 1e-9);
    }

    #[test]
    fn parts_of_epochs_and_runs_of_few_steps() {
        let rate = |schedule: &str, warmup: &str, step, total| {
            let place = Place { step, total, epoch: 100, rows: &[] };
            schedule.parse::<Schedule>().unwrap().rate(1.0, warmup.parse().unwrap(), place)
        };
        near(&[rate("milestones=0.55", "0", 54, 100), rate("milestones=0.55", "0", 55, 100)], &[1.0, 0.1]);
        near(&[rate("every=0.55:0.5", "0", 54, 100), rate("every=0.55:0.5", "0", 55, 100)], &[1.0, 0.5]);
        for schedule in ["constant", "step", "cosine", "one-cycle", "poly", "milestones=1", "plateau"] {
            for total in 0..5 {
                for step in 0..=total {
                    for warmup in ["0", "0.02", "3"] {
                        let rate = rate(schedule, warmup, step, total);
                        assert!(
                            (0.0..=1.0 + 1e-12).contains(&rate),
                            "{schedule} {warmup} {step} of {total}: {rate}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rates_are_those_of_pytorch() {
        // PyTorch's schedulers in double precision, stepped in each step, with 10 steps for an epoch where they count epochs.
        const AT: [u64; 14] = [0, 1, 9, 10, 19, 20, 29, 30, 31, 50, 79, 80, 98, 99];
        near(
            &rates("milestones=3:8", "0", &AT),
            &[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.001],
        );
        near(
            &rates("every=2:0.9", "0", &AT),
            &[0.1, 0.1, 0.1, 0.1, 0.1, 0.09, 0.09, 0.09, 0.09, 0.081, 0.0729, 0.06561, 0.06561, 0.06561],
        );
        near(
            &rates("one-cycle", "0", &AT),
            &[
                0.004,
                0.00428137805659,
                0.0250630208626,
                0.0295163948464,
                0.0744836051536,
                0.0789369791374,
                0.1,
                0.0999496535285,
                0.0997987155049,
                0.0793893450576,
                0.018825834605,
                0.0171033952908,
                5.07464715476e-05,
                4e-07,
            ],
        );
        near(
            &rates("cosine", "0", &AT),
            &[
                0.1,
                0.0999753280183,
                0.0980146842838,
                0.0975528258148,
                0.0913540287137,
                0.0904508497187,
                0.0806453526826,
                0.0793892626146,
                0.0781041688926,
                0.05,
                0.0104922493812,
                0.00954915028125,
                9.86635785864e-05,
                2.46719817134e-05,
            ],
        );
        near(
            &rates("cosine", "2", &AT),
            &[
                0.001,
                0.00595,
                0.04555,
                0.0505,
                0.09505,
                0.1,
                0.0969095667961,
                0.0961939766256,
                0.0954071586913,
                0.0691341716183,
                0.0160599627234,
                0.0146446609407,
                0.000154133313344,
                3.85481879639e-05,
            ],
        );
        near(
            &rates("milestones=3:6", "2:0.1", &AT),
            &[0.01, 0.0145, 0.0505, 0.055, 0.0955, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001],
        );
    }

    #[test]
    fn a_plateau_is_found_in_the_rows_of_validation() {
        let row = |val_loss| Row {
            epoch: 0,
            step: 1,
            lr: 0.0,
            train_loss: 0.0,
            train_top1: 0.0,
            val_loss,
            val_top1: 0.0,
            val_top5: 0.0,
            images_per_s: 0.0,
            data_wait: None,
        };
        let losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.89, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5];
        let rows: Vec<Row> = losses.into_iter().map(row).collect();
        let counts = |patience| (0..=rows.len()).map(|n| plateaus(&rows[..n], patience)).collect::<Vec<_>>();
        assert_eq!(counts(2), [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3]);
        assert_eq!(counts(5), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        let place = Place { step: 60, total: 100, epoch: 5, rows: &rows };
        near(&[Schedule::Plateau(2).rate(0.1, Warmup::NONE, place)], &[1e-4]);
        // Eight of the epochs are within the warm-up; after them there is one plateau.
        let rows: Vec<Row> = (1..).zip(&rows).map(|(i, row)| Row { step: 5 * i, ..*row }).collect();
        let place = Place { rows: &rows, step: 65, ..place };
        near(&[Schedule::Plateau(2).rate(0.1, "8".parse().unwrap(), place)], &[1e-2]);
    }
}
