//! Several networks that name the same classes.

use super::{ModelCard, Prediction};
use crate::error::{Error, Result, Untrusted};

/// Probabilities of a network from its logits: their softmax, or those of class 0 and class 1 from the sigmoid of one logit.
pub(crate) fn probabilities(logits: &[f32]) -> Vec<f64> {
    if let [logit] = logits {
        let one = 1.0 / (1.0 + f64::from(-logit).exp());
        let zero = 1.0 / (1.0 + f64::from(*logit).exp());
        return vec![zero, one];
    }
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|x| f64::from(x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// The mean of the probabilities of several views, from their logits one after the other. The views of a network have `outputs` logits
/// each.
pub fn mean_of_views(logits: &[f32], outputs: usize) -> Vec<f64> {
    let views: Vec<Vec<f64>> = logits.chunks(outputs.max(1)).map(probabilities).collect();
    mean(&views)
}

/// The mean of lists of probabilities that are as long as the first one.
pub fn mean(lists: &[Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; lists.first().map_or(0, Vec::len)];
    for list in lists {
        sum.iter_mut().zip(list).for_each(|(sum, x)| *sum += x);
    }
    sum.iter().map(|sum| sum / lists.len().max(1) as f64).collect()
}

/// The `top` most probable classes, most probable first; of equally probable ones the lower class first.
pub fn top_of(probabilities: &[f64], names: &[String], top: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| {
        let of = |i: &usize| probabilities.get(*i).copied().unwrap_or(0.0);
        of(b).total_cmp(&of(a))
    });
    let named = order.into_iter().take(top).filter_map(|index| {
        let (label, probability) = (names.get(index)?.clone(), *probabilities.get(index)?);
        Some(Prediction { index, label, probability })
    });
    named.collect()
}

impl ModelCard {
    /// The names of the classes that it gives probabilities of: two for a network with one output.
    pub fn class_names(&self) -> Vec<String> {
        match (self.pair(), self.metadata().classes.as_slice()) {
            (Some(pair), _) => pair.to_vec(),
            (None, [one]) if !self.is_named() => vec!["class 0".to_owned(), one.clone()],
            (None, [one]) => vec![format!("not {one}"), one.clone()],
            (None, classes) => classes.to_vec(),
        }
    }
}

/// For each network the position that each class of the first one has in its list of classes. The text is its name for messages.
/// Networks whose classes have no names are taken to have them in the order of the first one.
///
/// # Errors
/// [`Error::Usage`] naming the network and the classes that it lacks.
pub fn same_classes(cards: &[(String, &ModelCard)]) -> Result<Vec<Vec<usize>>> {
    let Some((_, first)) = cards.first() else { return Ok(Vec::new()) };
    let wanted = first.class_names();
    let order = |card: &ModelCard| -> Result<Vec<usize>> {
        let has = card.class_names();
        if has.len() != wanted.len() {
            let what = format!("it has {} classes, and the first network has {}", has.len(), wanted.len());
            return Err(Error::usage(what).hint("average networks for the same classes"));
        }
        if has == wanted || !card.is_named() || !first.is_named() {
            return Ok((0..wanted.len()).collect());
        }
        let places: std::collections::HashMap<&str, usize> =
            has.iter().zip(0..).map(|(name, at)| (name.as_str(), at)).collect();
        let missing: Vec<&String> =
            wanted.iter().filter(|name| !places.contains_key(name.as_str())).collect();
        if let [one, ..] = missing.as_slice() {
            let other = has.iter().find(|name| !wanted.contains(*name));
            let instead =
                other.map_or_else(String::new, |name| format!(", and has {}", Untrusted::short(name)));
            let what = format!(
                "it lacks {} classes of the first network, such as {}{instead}",
                missing.len(),
                Untrusted::short(one)
            );
            return Err(Error::usage(what).hint("average networks for the same classes"));
        }
        Ok(wanted.iter().filter_map(|name| places.get(name.as_str()).copied()).collect())
    };
    cards.iter().map(|(name, card)| order(card).map_err(|e| e.at(name))).collect()
}
