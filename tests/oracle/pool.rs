//! Pooling and ReLU.

use super::{T, Two};

#[derive(Clone, Copy, Debug)]
pub struct Pool {
    pub kernel: Two,
    pub stride: Two,
    pub pad: Two,
    pub count_padding: bool,
}

impl Pool {
    pub fn shape(&self, x: [usize; 4]) -> [usize; 4] {
        let out = |i: usize| (x[i + 1] + 2 * self.pad[i] - self.kernel[i]) / self.stride[i] + 1;
        [x[0], out(0), out(1), x[3]]
    }

    /// The positions of x in the window of y at p, q, in reading order.
    fn window(&self, x: [usize; 4], p: usize, q: usize) -> Vec<Two> {
        let mut list = Vec::new();
        for r in 0..self.kernel[0] {
            for s in 0..self.kernel[1] {
                let (h, w) = (p * self.stride[0] + r, q * self.stride[1] + s);
                if h >= self.pad[0] && w >= self.pad[1] && h - self.pad[0] < x[1] && w - self.pad[1] < x[2] {
                    list.push([h - self.pad[0], w - self.pad[1]]);
                }
            }
        }
        list
    }

    fn each(&self, x: [usize; 4], mut f: impl FnMut([usize; 4], &[Two])) {
        let [n, p, q, c] = self.shape(x);
        for ni in 0..n {
            for pi in 0..p {
                for qi in 0..q {
                    let window = self.window(x, pi, qi);
                    for ci in 0..c {
                        f([ni, pi, qi, ci], &window);
                    }
                }
            }
        }
    }

    fn divisor(&self, window: &[Two]) -> f64 {
        if self.count_padding { (self.kernel[0] * self.kernel[1]) as f64 } else { window.len() as f64 }
    }
}

fn winner(x: &T, n: usize, c: usize, window: &[Two]) -> Two {
    let mut best = window[0];
    for &[h, w] in window {
        if x.at(n, h, w, c) > x.at(n, best[0], best[1], c) {
            best = [h, w];
        }
    }
    best
}

pub fn max_pool(x: &T, o: Pool) -> T {
    let mut y = T::zeros(o.shape(x.d));
    o.each(x.d, |[n, p, q, c], window| {
        let [h, w] = winner(x, n, c, window);
        let at = y.i(n, p, q, c);
        y.v[at] = x.at(n, h, w, c);
    });
    y
}

pub fn max_pool_dx(x: &T, dy: &T, o: Pool) -> T {
    let mut dx = T::zeros(x.d);
    o.each(x.d, |[n, p, q, c], window| {
        let [h, w] = winner(x, n, c, window);
        let at = dx.i(n, h, w, c);
        dx.v[at] += dy.at(n, p, q, c);
    });
    dx
}

pub fn average_pool(x: &T, o: Pool) -> T {
    let mut y = T::zeros(o.shape(x.d));
    o.each(x.d, |[n, p, q, c], window| {
        let at = y.i(n, p, q, c);
        y.v[at] = window.iter().map(|[h, w]| x.at(n, *h, *w, c)).sum::<f64>() / o.divisor(window);
    });
    y
}

pub fn average_pool_dx(x: [usize; 4], dy: &T, o: Pool) -> T {
    let mut dx = T::zeros(x);
    o.each(x, |[n, p, q, c], window| {
        for &[h, w] in window {
            let at = dx.i(n, h, w, c);
            dx.v[at] += dy.at(n, p, q, c) / o.divisor(window);
        }
    });
    dx
}

pub fn relu(x: &T) -> T {
    T { d: x.d, v: x.v.iter().map(|v| v.max(0.0)).collect() }
}

pub fn relu_dx(x: &T, dy: &T) -> T {
    T { d: x.d, v: x.v.iter().zip(&dy.v).map(|(x, dy)| if *x > 0.0 { *dy } else { 0.0 }).collect() }
}
