//! Schedules of the learning rate.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A schedule of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// A constant rate.
    Constant,
    /// The rate is divided by 10 after half of the steps, and again after three quarters: He et al. 2015, section 4.2, with
    /// drops at 32,000 and 48,000 of 64,000 steps.
    Step,
    /// The rate falls with the square root of the remaining part of the run: Caffe's `poly` of power 0.5, the schedule of its
    /// GoogLeNet.
    Poly,
    /// The rate falls from its initial value to 0 along half a period of a cosine: Loshchilov and Hutter, "SGDR", 2016, without restarts.
    Cosine,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Step => "step",
            Self::Poly => "poly",
            Self::Cosine => "cosine",
        })
    }
}

impl Schedule {
    /// The rate of step `step` of `total`.
    pub fn rate(self, lr: f64, step: u64, total: u64) -> f64 {
        let part = step as f64 / total.max(1) as f64;
        match self {
            Self::Step if part >= 0.75 => lr / 100.0,
            Self::Step if part >= 0.5 => lr / 10.0,
            Self::Constant | Self::Step => lr,
            Self::Poly => lr * (1.0 - part).max(0.0).sqrt(),
            Self::Cosine => lr * 0.5 * (1.0 + (std::f64::consts::PI * part).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_at_the_ends_and_at_the_drops() {
        assert_eq!(Schedule::Constant.rate(0.1, 99, 100), 0.1);
        assert_eq!(Schedule::Step.rate(0.1, 49, 100), 0.1);
        assert_eq!(Schedule::Step.rate(0.1, 50, 100), 0.01);
        assert_eq!(Schedule::Step.rate(0.1, 75, 100), 0.001);
        assert_eq!(Schedule::Poly.rate(0.1, 0, 100), 0.1);
        assert_eq!(Schedule::Poly.rate(0.1, 75, 100), 0.05);
        assert_eq!(Schedule::Cosine.rate(0.1, 0, 100), 0.1);
        assert!((Schedule::Cosine.rate(0.1, 50, 100) - 0.05).abs() < 1e-9);
        assert!(Schedule::Cosine.rate(0.1, 100, 100) < 1e-9);
    }
}
