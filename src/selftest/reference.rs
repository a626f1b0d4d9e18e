//! The reference: plain loops on the processor, in double precision. On small integers every sum is exact. Nothing here is shared
//! with the kernels.

use crate::graph::{LrnOptions, PoolOptions};
use std::ops::Range;

/// A convolution with the sizes of its input and of its filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    pub(super) x: [usize; 4],
    pub(super) w: [usize; 4],
    pub(super) stride: usize,
    pub(super) pad: usize,
    pub(super) groups: usize,
}

impl Conv {
    /// The sizes of the result.
    pub(super) fn y(&self) -> [usize; 4] {
        let along = |i: usize| (self.x[i + 1] + 2 * self.pad - self.w[i]) / self.stride + 1;
        [self.x[0], along(0), along(1), self.w[3]]
    }

    /// Calls `visit` with the indices of a number of x, of y and of w for each product of two of them.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([n, h, w, c], [r, s, group_c, k], [_, p, q, _]) = (self.x, self.w, self.y());
        let group_k = k / self.groups;
        for (ni, pi, qi, ri, si) in (0..n * p * q * r * s).map(|i| {
            let (i, si) = (i / s, i % s);
            let (i, ri) = (i / r, i % r);
            (i / (p * q), i / q % p, i % q, ri, si)
        }) {
            let (hi, wi) = (pi * self.stride + ri, qi * self.stride + si);
            if hi < self.pad || wi < self.pad || hi - self.pad >= h || wi - self.pad >= w {
                continue;
            }
            let x = ((ni * h + hi - self.pad) * w + wi - self.pad) * c;
            let y = ((ni * p + pi) * q + qi) * k;
            for group in 0..self.groups {
                for ci in 0..group_c {
                    let filter = ((ri * s + si) * group_c + ci) * k;
                    for ki in group * group_k..(group + 1) * group_k {
                        visit(x + group * group_c + ci, y + ki, filter + ki);
                    }
                }
            }
        }
    }

    pub(super) fn forward(&self, x: &[f64], w: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; self.y().iter().product()];
        self.each(|xi, yi, wi| result[yi] += x[xi] * w[wi]);
        result
    }

    pub(super) fn input_grad(&self, dy: &[f64], w: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; self.x.iter().product()];
        self.each(|xi, yi, wi| result[xi] += dy[yi] * w[wi]);
        result
    }

    pub(super) fn weight_grad(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; self.w.iter().product()];
        self.each(|xi, yi, wi| result[wi] += x[xi] * dy[yi]);
        result
    }
}

pub(super) fn relu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.max(0.0)).collect()
}

/// `dy` where `x` is positive, otherwise 0.
pub(super) fn masked(x: &[f64], dy: &[f64]) -> Vec<f64> {
    x.iter().zip(dy).map(|(x, dy)| if *x > 0.0 { *dy } else { 0.0 }).collect()
}

pub(super) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Adds a number for each channel.
pub(super) fn biased(x: &[f64], bias: &[f64]) -> Vec<f64> {
    x.iter().enumerate().map(|(i, x)| x + bias[i % bias.len()]).collect()
}

/// The sums of all channels.
pub(super) fn channel_sums(x: &[f64], channels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; channels];
    x.iter().enumerate().for_each(|(i, x)| sums[i % channels] += x);
    sums
}

/// The mean and the biased variance of each channel.
pub(super) fn statistics(x: &[f64], channels: usize) -> [Vec<f64>; 2] {
    let count = (x.len() / channels) as f64;
    let mean: Vec<f64> = channel_sums(x, channels).into_iter().map(|sum| sum / count).collect();
    let squares: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x - mean[i % channels]).powi(2)).collect();
    let variance = channel_sums(&squares, channels).into_iter().map(|sum| sum / count).collect();
    [mean, variance]
}

/// x minus the mean, divided by the standard deviation.
pub(super) fn normalised(x: &[f64], [mean, variance]: &[Vec<f64>; 2], epsilon: f64) -> Vec<f64> {
    let channels = mean.len();
    let one = |(i, x): (usize, &f64)| (x - mean[i % channels]) / (variance[i % channels] + epsilon).sqrt();
    x.iter().enumerate().map(one).collect()
}

/// A factor and a summand for each channel.
pub(super) fn affine(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    x.iter().enumerate().map(|(i, x)| x * gamma[i % gamma.len()] + beta[i % beta.len()]).collect()
}

pub(super) struct BatchNormGradient {
    pub(super) dx: Vec<f64>,
    pub(super) dgamma: Vec<f64>,
    pub(super) dbeta: Vec<f64>,
}

/// The gradient of batch norm through the statistics of the batch.
pub(super) fn batch_norm_gradient(x: &[f64], dy: &[f64], gamma: &[f64], epsilon: f64) -> BatchNormGradient {
    let channels = gamma.len();
    let count = (x.len() / channels) as f64;
    let statistics = statistics(x, channels);
    let hat = normalised(x, &statistics, epsilon);
    let products: Vec<f64> = hat.iter().zip(dy).map(|(hat, dy)| hat * dy).collect();
    let (dgamma, dbeta) = (channel_sums(&products, channels), channel_sums(dy, channels));
    let one = |(i, dy): (usize, &f64)| {
        let c = i % channels;
        let slope = gamma[c] / (statistics[1][c] + epsilon).sqrt();
        slope * (dy - dbeta[c] / count - hat[i] * dgamma[c] / count)
    };
    BatchNormGradient { dx: dy.iter().enumerate().map(one).collect(), dgamma, dbeta }
}

/// The channels of the window of channel c.
fn window(c: usize, size: usize, channels: usize) -> Range<usize> {
    c.saturating_sub((size - 1) / 2)..(c + 1 + size / 2).min(channels)
}

fn lrn_scales(x: &[f64], channels: usize, options: LrnOptions) -> Vec<f64> {
    let LrnOptions { size, alpha, bias, .. } = options;
    let one = |pixel: &[f64], c: usize| {
        let squares: f64 = pixel[window(c, size, channels)].iter().map(|x| x * x).sum();
        f64::from(bias) + f64::from(alpha) / size as f64 * squares
    };
    x.chunks(channels).flat_map(|pixel| (0..channels).map(move |c| one(pixel, c))).collect()
}

pub(super) fn lrn(x: &[f64], channels: usize, options: LrnOptions) -> Vec<f64> {
    let scales = lrn_scales(x, channels, options);
    x.iter().zip(scales).map(|(x, s)| x * s.powf(-f64::from(options.beta))).collect()
}

pub(super) fn lrn_dx(x: &[f64], dy: &[f64], channels: usize, options: LrnOptions) -> Vec<f64> {
    let LrnOptions { size, alpha, beta, .. } = options;
    let (alpha, beta) = (f64::from(alpha), f64::from(beta));
    let scales = lrn_scales(x, channels, options);
    let mut dx = vec![0.0; x.len()];
    for at in 0..x.len() {
        let (pixel, c) = (at - at % channels, at % channels);
        dx[at] += dy[at] * scales[at].powf(-beta);
        let share = 2.0 * beta * alpha / size as f64 * dy[at] * x[at] * scales[at].powf(-beta - 1.0);
        for i in window(c, size, channels) {
            dx[pixel + i] -= share * x[pixel + i];
        }
    }
    dx
}

/// A window of a pooling: the index of its result, and those of the numbers that it covers in reading order.
type Window = (usize, Vec<usize>);

/// The windows over a map `(N, H, W, C)` with a result `(N, P, Q, C)`. `spans` are the rows or columns of a window, by its index,
/// for each of both directions.
fn windows(x: [usize; 4], [p, q]: [usize; 2], spans: impl Fn(usize, usize) -> Range<usize>) -> Vec<Window> {
    let [n, h, w, c] = x;
    let mut all = Vec::new();
    for at in 0..n * p * q * c {
        let (ni, pi, qi, ci) = (at / (p * q * c), at / (q * c) % p, at / c % q, at % c);
        let rows = spans(0, pi);
        let inside = rows.flat_map(|hi| spans(1, qi).map(move |wi| ((ni * h + hi) * w + wi) * c + ci));
        all.push((at, inside.collect()));
    }
    all
}

/// The windows of a pooling without ceil mode, padding left out.
pub(super) fn pool_windows(x: [usize; 4], to: [usize; 2], options: PoolOptions) -> Vec<Window> {
    windows(x, to, |i, at| {
        let (from, before) = (at * options.stride[i], options.pad[i][0]);
        from.saturating_sub(before)..(from + options.kernel[i] - before).min(x[i + 1])
    })
}

/// The windows of an adaptive pooling.
pub(super) fn adaptive_windows(x: [usize; 4], to: [usize; 2]) -> Vec<Window> {
    windows(x, to, |i, at| at * x[i + 1] / to[i]..((at + 1) * x[i + 1]).div_ceil(to[i]))
}

fn winner(x: &[f64], window: &[usize]) -> usize {
    let first = window.first().copied().unwrap_or(0);
    window.iter().fold(first, |best, i| if x[*i] > x[best] { *i } else { best })
}

pub(super) fn max_pool(x: &[f64], windows: &[Window]) -> Vec<f64> {
    windows.iter().map(|(_, window)| x[winner(x, window)]).collect()
}

pub(super) fn max_pool_dx(x: &[f64], dy: &[f64], windows: &[Window]) -> Vec<f64> {
    let mut dx = vec![0.0; x.len()];
    windows.iter().for_each(|(at, window)| dx[winner(x, window)] += dy[*at]);
    dx
}

/// Averages that divide by the numbers that the window covers, or by `size`.
pub(super) fn average_pool(x: &[f64], windows: &[Window], size: Option<usize>) -> Vec<f64> {
    let average = |(_, window): &Window| {
        window.iter().map(|i| x[*i]).sum::<f64>() / size.unwrap_or(window.len()) as f64
    };
    windows.iter().map(average).collect()
}

pub(super) fn average_pool_dx(x: usize, dy: &[f64], windows: &[Window], size: Option<usize>) -> Vec<f64> {
    let mut dx = vec![0.0; x];
    for (at, window) in windows {
        window.iter().for_each(|i| dx[*i] += dy[*at] / size.unwrap_or(window.len()) as f64);
    }
    dx
}

/// The hash pcg4d of Jarzynski and Olano, JCGT 9(3), 2020.
fn pcg4d(seed: [u32; 4]) -> [u32; 4] {
    let mix = |mut v: [u32; 4]| {
        for (i, (a, b)) in [(1, 3), (2, 0), (0, 1), (1, 2)].into_iter().enumerate() {
            v[i] = v[i].wrapping_add(v[a].wrapping_mul(v[b]));
        }
        v
    };
    let v = mix(seed.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    mix(v.map(|x| x ^ (x >> 16)))
}

/// Dropout with a rate of one half of activations with so many channels.
pub(super) fn half_dropped(x: &[f64], channels: usize, key: [u32; 4], layer: u32) -> Vec<f64> {
    let one = |(i, x): (usize, &f64)| {
        let (pixel, c) = (i / channels, i % channels);
        let place = (pixel * channels.div_ceil(4) + c / 4) as u32;
        let word = pcg4d([key[0], key[1] ^ layer, key[2] ^ place, key[3]])[c % 4];
        if word >= 1 << 31 { 2.0 * x } else { 0.0 }
    };
    x.iter().enumerate().map(one).collect()
}

/// Softmax of each row of `classes` numbers.
pub(super) fn softmax(logits: &[f64], classes: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
    };
    logits.chunks(classes).flat_map(row).collect()
}

/// The number of classes with a larger logit, or with an equal logit and a lower index, for each row.
pub(super) fn ranks(logits: &[f64], classes: usize, labels: &[u32]) -> Vec<f64> {
    let rank = |(row, label): (&[f64], &u32)| {
        let (label, own) = (*label as usize, row[*label as usize]);
        row.iter().enumerate().filter(|(k, x)| **x > own || (**x == own && *k < label)).count() as f64
    };
    logits.chunks(classes).zip(labels).map(rank).collect()
}

/// Weights and velocity after a step of SGD with rate, momentum and decay.
pub(super) fn sgd(w: &[f64], v: &[f64], dw: &[f64], [rate, momentum, decay]: [f64; 3]) -> [Vec<f64>; 2] {
    let v: Vec<f64> = w.iter().zip(v).zip(dw).map(|((w, v), dw)| momentum * v + dw + decay * w).collect();
    [w.iter().zip(&v).map(|(w, v)| w - rate * v).collect(), v]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: one pixel of padding, stride 2, two groups.
    #[test]
    fn a_convolution_and_its_gradients() {
        let conv = Conv { x: [1, 3, 1, 2], w: [3, 1, 1, 2], stride: 2, pad: 1, groups: 2 };
        assert_eq!(Conv { pad: 0, ..conv }.y(), [1, 1, 1, 2]);
        let conv = Conv { x: [1, 4, 3, 2], w: [3, 3, 1, 2], ..conv };
        assert_eq!(conv.y(), [1, 2, 2, 2]);
        let (x, w) = (vec![1.0; 24], vec![1.0; 18]);
        // The window of the first pixel reaches into the padding on two sides.
        assert_eq!(conv.forward(&x, &w), [4.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0, 6.0]);
        let dy = [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let dx = conv.input_grad(&dy, &w);
        assert_eq!(&dx[..6], &[1.0, 2.0, 1.0, 2.0, 0.0, 0.0]);
        assert_eq!((dx.iter().sum::<f64>(), &dx[12..]), (12.0, &[0.0; 12][..]));
        let dw = conv.weight_grad(&x, &dy);
        assert_eq!(&dw[..6], &[0.0; 6], "the first row of the filter meets the padding");
        assert_eq!(&dw[6..12], &[0.0, 0.0, 1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn the_gradient_of_batch_norm_is_the_slope() {
        let (x, dy, gamma) =
            ([0.5, 1.0, -2.0, 3.0, 1.5, -1.0], [1.0, 2.0, -1.0, 0.5, 0.25, 1.0], [2.0, -1.0]);
        let loss = |x: &[f64]| {
            let hat = normalised(x, &statistics(x, 2), 1e-3);
            affine(&hat, &gamma, &[0.0; 2]).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        let gradient = batch_norm_gradient(&x, &dy, &gamma, 1e-3);
        for (i, dx) in gradient.dx.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = x;
                moved[i] += step;
                loss(&moved)
            };
            assert!(((at(1e-5) - at(-1e-5)) / 2e-5 - dx).abs() < 1e-6);
        }
        assert_eq!(gradient.dbeta, [0.25, 3.5]);
    }

    #[test]
    fn the_gradient_of_lrn_is_the_slope() {
        let options = LrnOptions { size: 4, alpha: 1.5, beta: 0.5, bias: 2.0 };
        let (x, dy) = ([0.5, 1.0, -2.0, 3.0, 1.5], [1.0, 2.0, -1.0, 0.5, 0.25]);
        let loss = |x: &[f64]| lrn(x, 5, options).iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
        for (i, dx) in lrn_dx(&x, &dy, 5, options).iter().enumerate() {
            let at = |step: f64| {
                let mut moved = x;
                moved[i] += step;
                loss(&moved)
            };
            assert!(((at(1e-5) - at(-1e-5)) / 2e-5 - dx).abs() < 1e-6);
        }
    }

    #[test]
    fn windows_leave_out_the_padding() {
        let options = PoolOptions::square(3, 2).padded(1);
        let all = pool_windows([1, 3, 3, 1], [2, 2], options);
        assert_eq!(all[0].1, [0, 1, 3, 4]);
        assert_eq!(all[3].1, [4, 5, 7, 8]);
        assert_eq!(average_pool(&[1.0; 9], &all, Some(9))[0], 4.0 / 9.0);
        assert_eq!(max_pool_dx(&[1.0; 9], &[1.0; 4], &all)[4], 1.0, "the first of equal numbers");
        let parts = adaptive_windows([1, 3, 1, 1], [2, 1]);
        assert_eq!((&parts[0].1[..], &parts[1].1[..]), (&[0, 1][..], &[1, 2][..]));
    }
}
