//! Whether probabilities can be taken at their word.

use serde::Serialize;

/// The number of bins that Guo et al. use.
const BINS: usize = 15;

/// Pictures whose predicted class is about equally probable.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Probabilities of this bin are above this one.
    pub above: f64,
    /// And at most this one.
    pub up_to: f64,
    /// Number of pictures.
    pub images: u64,
    /// The mean probability of the predicted class; 0 without pictures.
    pub confidence: f64,
    /// The share of right predictions; 0 without pictures.
    pub accuracy: f64,
}

/// The accuracy of predictions by their probability, in 15 bins of equal width: Guo et al., "On Calibration of Modern Neural Networks",
/// 2017, section 2.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    bins: Vec<Bin>,
}

impl Calibration {
    /// From the probability of each prediction and whether it is right.
    pub fn of(predictions: impl Iterator<Item = (f32, bool)>) -> Self {
        let mut sums = [(0_u64, 0.0_f64, 0_u64); BINS];
        for (probability, right) in predictions {
            let probability = f64::from(probability);
            // Bin m holds probabilities above (m - 1) / 15 and up to m / 15.
            let bin = ((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            if let Some((images, confidence, correct)) = sums.get_mut(bin) {
                *images += 1;
                *confidence += probability;
                *correct += u64::from(right);
            }
        }
        let width = 1.0 / BINS as f64;
        let bins = sums.iter().enumerate().map(|(i, &(images, confidence, correct))| {
            let count = images.max(1) as f64;
            Bin {
                above: i as f64 * width,
                up_to: (i + 1) as f64 * width,
                images,
                confidence: confidence / count,
                accuracy: correct as f64 / count,
            }
        });
        Self { bins: bins.collect() }
    }

    /// The bins, from improbable to certain.
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Expected calibration error, from 0 to 1: the mean over all pictures of how far the accuracy of their bin is from its mean
    /// probability. Equation 3 of the paper.
    pub fn error(&self) -> f64 {
        let images: u64 = self.bins.iter().map(|bin| bin.images).sum();
        let gap = |bin: &Bin| bin.images as f64 * (bin.accuracy - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / images.max(1) as f64
    }
}
