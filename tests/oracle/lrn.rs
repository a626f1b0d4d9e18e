//! Local response normalisation.

use super::T;

#[derive(Clone, Copy, Debug)]
pub struct Lrn {
    pub size: usize,
    pub alpha: f64,
    pub beta: f64,
    pub bias: f64,
}

/// The channels of the window of c.
fn window(c: usize, size: usize, channels: usize) -> std::ops::Range<usize> {
    c.saturating_sub((size - 1) / 2)..(c + 1 + size / 2).min(channels)
}

fn scales(x: &T, o: Lrn) -> Vec<f64> {
    let channels = x.d[3];
    let mut s = Vec::new();
    for pixel in x.v.chunks(channels) {
        for c in 0..channels {
            let squares: f64 = pixel[window(c, o.size, channels)].iter().map(|x| x * x).sum();
            s.push(o.bias + o.alpha / o.size as f64 * squares);
        }
    }
    s
}

pub fn lrn(x: &T, o: Lrn) -> T {
    let s = scales(x, o);
    T { d: x.d, v: x.v.iter().zip(s).map(|(x, s)| x * s.powf(-o.beta)).collect() }
}

pub fn lrn_dx(x: &T, dy: &T, o: Lrn) -> T {
    let channels = x.d[3];
    let s = scales(x, o);
    let mut dx = T::zeros(x.d);
    for first in (0..x.v.len()).step_by(channels) {
        for j in 0..channels {
            let at = first + j;
            dx.v[at] += dy.v[at] * s[at].powf(-o.beta);
            let share =
                dy.v[at] * x.v[at] * s[at].powf(-o.beta - 1.0) * 2.0 * o.beta * o.alpha / o.size as f64;
            for i in window(j, o.size, channels) {
                dx.v[first + i] -= share * x.v[first + i];
            }
        }
    }
    dx
}
