//! From logits to classes.

use crate::error::{Error, Result};

/// A class with its probability.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// The number of the class, counted from 0.
    pub index: usize,
    /// Its name.
    pub label: String,
    /// Its softmax probability.
    pub probability: f64,
}

/// Checks what a network says of pictures, of each `classes` logits: no class can be told from NaN or infinity. Every way out of the
/// library that gives logits or probabilities goes through here.
///
/// # Errors
/// [`Error::Data`] naming the picture, counted from 0 where there are several.
pub fn check_logits(logits: &[f32], classes: usize) -> Result<()> {
    let Some(at) = logits.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let classes = classes.max(1);
    let what = format!(
        "the network's numbers overflow for this picture: its logit of class {} is {}",
        at % classes,
        logits.get(at).copied().unwrap_or(f32::NAN)
    );
    let error = Error::data(what).cure(
        "the weights hold numbers that are too large, or those of another network: look at them with `ocelli inspect`; \
         in half precision (f16) numbers overflow beyond 65504: try f32",
    );
    Err(if logits.len() > classes { error.at(format!("picture {}", at / classes)) } else { error })
}

/// The `top` most probable classes from the logits of a picture, most probable first.
///
/// # Errors
/// As [`check_logits`].
pub fn most_probable(logits: &[f32], classes: &[String], top: usize) -> Result<Vec<Prediction>> {
    check_logits(logits, logits.len())?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|x| f64::from(x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let named = order.into_iter().zip(0..top).filter_map(|(index, _)| {
        let label = classes.get(index)?.clone();
        Some(Prediction { index, label, probability: weights[index] / sum })
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_no_class() {
        let classes: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let best = most_probable(&[1.0, 3.0, 2.0], &classes, 2).unwrap();
        assert_eq!(best.iter().map(|p| p.index).collect::<Vec<_>>(), [1, 2]);
        // The largest and the smallest numbers that there are have probabilities.
        let extreme = most_probable(&[f32::MAX, f32::MIN, 0.0], &classes, 3).unwrap();
        assert_eq!(extreme.iter().map(|p| p.probability).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
        assert_eq!(most_probable(&[], &classes, 3).unwrap(), []);
        for bits in [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffff_ffff, 0x7f80_0000, 0xff80_0000] {
            for place in 0..6 {
                let mut logits = [0.5; 6];
                logits[place] = f32::from_bits(bits);
                let error = check_logits(&logits, 3).unwrap_err();
                let said = error.to_string();
                assert!(matches!(error, Error::Data(_)), "{error:?}");
                assert!(said.starts_with(&format!("picture {}: ", place / 3)), "{said}");
                assert!(
                    said.contains(&format!("class {} ", place % 3)) && said.contains("overflow"),
                    "{said}"
                );
            }
            assert!(most_probable(&[0.0, f32::from_bits(bits)], &classes, 1).is_err());
        }
    }
}
