//! Batch norm and the normalisation of images.

use super::T;

/// Mean and biased variance of each channel.
pub fn batch_norm_stats(x: &T) -> (Vec<f64>, Vec<f64>) {
    let c = x.d[3];
    let m = (x.v.len() / c) as f64;
    let mut mean = vec![0.0; c];
    for (i, v) in x.v.iter().enumerate() {
        mean[i % c] += v / m;
    }
    let mut var = vec![0.0; c];
    for (i, v) in x.v.iter().enumerate() {
        var[i % c] += (v - mean[i % c]).powi(2) / m;
    }
    (mean, var)
}

pub fn batch_norm(x: &T, mean: &[f64], var: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> T {
    let c = x.d[3];
    let one = |(i, v): (usize, &f64)| {
        (v - mean[i % c]) / (var[i % c] + epsilon).sqrt() * gamma[i % c] + beta[i % c]
    };
    T { d: x.d, v: x.v.iter().enumerate().map(one).collect() }
}

pub struct BatchNormGradient {
    pub dx: T,
    pub dgamma: Vec<f64>,
    pub dbeta: Vec<f64>,
    /// Sums of the absolute values of the terms of dgamma and dbeta.
    pub gamma_sizes: Vec<f64>,
    pub beta_sizes: Vec<f64>,
}

/// The gradient through the statistics of the batch.
pub fn batch_norm_gradient(x: &T, dy: &T, gamma: &[f64], epsilon: f64) -> BatchNormGradient {
    let c = x.d[3];
    let m = (x.v.len() / c) as f64;
    let (mean, var) = batch_norm_stats(x);
    let deviation: Vec<f64> = var.iter().map(|v| (v + epsilon).sqrt()).collect();
    let hat: Vec<f64> = x.v.iter().enumerate().map(|(i, v)| (v - mean[i % c]) / deviation[i % c]).collect();
    let mut g = BatchNormGradient {
        dx: T::zeros(x.d),
        dgamma: vec![0.0; c],
        dbeta: vec![0.0; c],
        gamma_sizes: vec![0.0; c],
        beta_sizes: vec![0.0; c],
    };
    for (i, (dy, hat)) in dy.v.iter().zip(&hat).enumerate() {
        g.dbeta[i % c] += dy;
        g.beta_sizes[i % c] += dy.abs();
        g.dgamma[i % c] += dy * hat;
        g.gamma_sizes[i % c] += (dy * hat).abs();
    }
    for (i, dx) in g.dx.v.iter_mut().enumerate() {
        let k = i % c;
        *dx = gamma[k] / deviation[k] * (dy.v[i] - g.dbeta[k] / m - hat[i] * g.dgamma[k] / m);
    }
    g
}

pub fn preprocess(pixels: &[u32], mean: [f64; 3], std: [f64; 3]) -> Vec<f64> {
    let mut out = Vec::new();
    for pixel in pixels {
        for c in 0..3 {
            out.push((f64::from(pixel >> (8 * c) & 255) / 255.0 - mean[c]) / std[c]);
        }
    }
    out
}
