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

/// A soft target: two classes, the share of the second, the weight of the image.
pub type Soft = (usize, usize, f64, f64);

/// The target distribution of an image over `k` classes.
fn soft_target((first, second, share, _): Soft, k: usize, smoothing: f64) -> Vec<f64> {
    let mut t = vec![smoothing / k as f64; k];
    t[first] += (1.0 - smoothing) * (1.0 - share);
    t[second] += (1.0 - smoothing) * share;
    t
}

pub fn soft_cross_entropy(logits: &T, targets: &[Soft], smoothing: f64) -> Vec<f64> {
    let k = logits.d[3];
    let loss = |(row, soft): (&[f64], &Soft)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() + largest;
        let target = soft_target(*soft, k, smoothing);
        soft.3 * row.iter().zip(target).map(|(x, t)| t * (log_sum - x)).sum::<f64>()
    };
    logits.v.chunks(k).zip(targets).map(loss).collect()
}

pub fn soft_cross_entropy_dx(logits: &T, targets: &[Soft], smoothing: f64, dy: &[f64]) -> T {
    let k = logits.d[3];
    let mut dx = T::zeros(logits.d);
    for (n, row) in logits.v.chunks(k).enumerate() {
        let target = soft_target(targets[n], k, smoothing);
        for (i, p) in softmax(row).into_iter().enumerate() {
            dx.v[n * k + i] = (p - target[i]) * targets[n].3 * dy[n];
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

pub fn sgd_nesterov(
    w: &[f64],
    v: &[f64],
    dw: &[f64],
    [rate, momentum, decay]: [f64; 3],
) -> (Vec<f64>, Vec<f64>) {
    let g: Vec<f64> = (0..w.len()).map(|i| dw[i] + decay * w[i]).collect();
    let v: Vec<f64> = (0..w.len()).map(|i| momentum * v[i] + g[i]).collect();
    ((0..w.len()).map(|i| w[i] - rate * (g[i] + momentum * v[i])).collect(), v)
}
