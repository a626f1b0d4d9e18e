//! From logits to classes.

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

/// The `top` most probable classes from the logits of a picture, most probable first.
pub fn most_probable(logits: &[f32], classes: &[String], top: usize) -> Vec<Prediction> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|x| f64::from(x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let named = order.into_iter().zip(0..top).filter_map(|(index, _)| {
        let label = classes.get(index)?.clone();
        Some(Prediction { index, label, probability: weights[index] / sum })
    });
    named.collect()
}
