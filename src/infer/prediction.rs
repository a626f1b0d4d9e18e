//! Logits to classes.

use crate::error::{Choice, Error, Result};

/// A class with its probability.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// The number of the class, counted from 0.
    pub index: usize,
    /// Its name.
    pub label: String,
    /// Softmax probability; sigmoid probability for a network with one output.
    pub probability: f64,
}

const OVERFLOW: &str = "the network's numbers overflow";

/// Whether an error comes from [`check_logits`].
#[cfg(feature = "train")]
pub(crate) fn is_overflow(error: &Error) -> bool {
    error.report().what.starts_with(OVERFLOW)
}

/// Refuses NaN and infinity among the logits of pictures, `classes` logits for each. All logits and probabilities that leave the
/// library are checked here.
///
/// # Errors
/// [`Error::Data`] naming the picture, counted from 0 where there are several.
pub fn check_logits(logits: &[f32], classes: usize) -> Result<()> {
    let Some(at) = logits.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let classes = classes.max(1);
    let what = format!(
        "{OVERFLOW} for this picture: its logit of class {} is {}",
        at % classes,
        logits.get(at).copied().unwrap_or(f32::NAN)
    );
    let error = Error::data(what).hint(
        Choice::InspectWeights
            .after("the weights hold numbers that are too large, or those of another network: ")
            .then("; in half precision (f16) numbers overflow beyond 65504: try f32"),
    );
    Err(if logits.len() > classes { error.at(format!("picture {}", at / classes)) } else { error })
}

/// The `top` most probable classes from the logits of a picture, most probable first. A network with one logit tells two classes apart:
/// the sigmoid of the logit is the probability of class 1. Then `classes` holds the name of class 1, or the names of both.
///
/// # Errors
/// As [`check_logits`].
pub fn most_probable(logits: &[f32], classes: &[String], top: usize) -> Result<Vec<Prediction>> {
    check_logits(logits, logits.len())?;
    if let [logit] = logits {
        return Ok(of_two(*logit, classes).into_iter().take(top).collect());
    }
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

/// Class 1 with probability sigmoid(x), class 0 with sigmoid(-x).
fn of_two(logit: f32, classes: &[String]) -> Vec<Prediction> {
    let [zero, one] = match classes {
        [zero, one] => [zero.clone(), one.clone()],
        [one] if *one == numbered(1) => [numbered(0), one.clone()],
        [one] => [format!("not {one}"), one.clone()],
        _ => [numbered(0), numbered(1)],
    };
    let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
    let mut both = vec![
        Prediction { index: 1, label: one, probability: sigmoid(logit) },
        Prediction { index: 0, label: zero, probability: sigmoid(-logit) },
    ];
    if logit < 0.0 {
        both.reverse();
    }
    both
}

fn numbered(class: usize) -> String {
    format!("class {class}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logit_belongs_to_the_second_of_two_classes() {
        let said = |logit, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let two = most_probable(&[logit], &names, 5).unwrap();
            two.into_iter().map(|p| (p.index, p.label, (1000.0 * p.probability).round())).collect::<Vec<_>>()
        };
        let of = |index, label: &str, thousandths| (index, label.to_owned(), thousandths);
        assert_eq!(said(2.0, &["class 1"]), [of(1, "class 1", 881.0), of(0, "class 0", 119.0)]);
        assert_eq!(said(-2.0, &["cat"]), [of(0, "not cat", 881.0), of(1, "cat", 119.0)]);
        assert_eq!(said(-2.0, &["dog", "cat"]), [of(0, "dog", 881.0), of(1, "cat", 119.0)]);
        assert_eq!(said(f32::MAX, &["cat"])[0], of(1, "cat", 1000.0));
        assert_eq!(most_probable(&[1.0], &["cat".to_owned()], 1).unwrap().len(), 1);
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() {
        let classes: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let best = most_probable(&[1.0, 3.0, 2.0], &classes, 2).unwrap();
        assert_eq!(best.iter().map(|p| p.index).collect::<Vec<_>>(), [1, 2]);
        // The largest and the smallest finite logits have probabilities.
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
