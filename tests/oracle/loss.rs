//! Softmax cross-entropy, the rank of the label, and the optimiser.

use super::T;

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
    row.iter().map(|x| (x - largest).exp() / sum).collect()
}

pub fn softmax_cross_entropy(logits: &T, labels: &[u32]) -> Vec<f64> {
    let rows = logits.v.chunks(logits.d[3]);
    let loss = |(row, label): (&[f64], &u32)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
        sum.ln() + largest - row[*label as usize]
    };
    rows.zip(labels).map(loss).collect()
}

pub fn softmax_cross_entropy_dx(logits: &T, labels: &[u32], dy: &[f64]) -> T {
    let k = logits.d[3];
    let mut dx = T::zeros(logits.d);
    for (n, row) in logits.v.chunks(k).enumerate() {
        for (i, p) in softmax(row).into_iter().enumerate() {
            dx.v[n * k + i] = (p - if i == labels[n] as usize { 1.0 } else { 0.0 }) * dy[n];
        }
    }
    dx
}

pub fn label_rank(logits: &T, labels: &[u32]) -> Vec<f64> {
    let rows = logits.v.chunks(logits.d[3]);
    let rank = |(row, label): (&[f64], &u32)| {
        let (label, own) = (*label as usize, row[*label as usize]);
        row.iter().enumerate().filter(|(k, x)| **x > own || (**x == own && *k < label)).count() as f64
    };
    rows.zip(labels).map(rank).collect()
}

/// One step; returns w and v.
pub fn sgd(w: &[f64], v: &[f64], dw: &[f64], [rate, momentum, decay]: [f64; 3]) -> (Vec<f64>, Vec<f64>) {
    let v: Vec<f64> = (0..w.len()).map(|i| momentum * v[i] + dw[i] + decay * w[i]).collect();
    (w.iter().zip(&v).map(|(w, v)| w - rate * v).collect(), v)
}
