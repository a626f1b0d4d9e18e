//! Pooling and ReLU.

use super::{T, Two};

#[derive(Clone, Copy, Debug)]
pub struct Pool {
    pub kernel: Two,
    pub stride: Two,
    /// The padding before and after, for each direction.
    pub pad: [Two; 2],
    pub ceil: bool,
    pub count_padding: bool,
}

impl Pool {
    pub fn shape(&self, x: [usize; 4]) -> [usize; 4] {
        let out = |i: usize| {
            // Windows start at -before, one after the other, while they fit; in ceil mode also one more, if it
            // starts within the map or the padding before it.
            let (size, [before, after]) = (x[i + 1], self.pad[i]);
            let mut count = 1;
            while count * self.stride[i] + self.kernel[i] <= size + before + after {
                count += 1;
            }
            let covered = (count - 1) * self.stride[i] + self.kernel[i] >= size + before + after;
            if self.ceil && !covered && count * self.stride[i] < size + before { count + 1 } else { count }
        };
        [x[0], out(0), out(1), x[3]]
    }

    /// The positions of x in the window of y at p, q, in reading order.
    fn window(&self, x: [usize; 4], p: usize, q: usize) -> Vec<Two> {
        let mut list = Vec::new();
        for r in 0..self.kernel[0] {
            for s in 0..self.kernel[1] {
                let (h, w) = (p * self.stride[0] + r, q * self.stride[1] + s);
                let [top, left] = [self.pad[0][0], self.pad[1][0]];
                if h >= top && w >= left && h - top < x[1] && w - left < x[2] {
                    list.push([h - top, w - left]);
                }
            }
        }
        list
    }

    /// The number of positions by which the average of the window at p, q is divided.
    fn divisor(&self, x: [usize; 4], p: usize, q: usize) -> f64 {
        if !self.count_padding {
            return self.window(x, p, q).len() as f64;
        }
        let along = |i: usize, at: usize| {
            let taps = (0..self.kernel[i]).map(|r| at * self.stride[i] + r);
            taps.filter(|t| *t < x[i + 1] + self.pad[i][0] + self.pad[i][1]).count()
        };
        (along(0, p) * along(1, q)) as f64
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
        y.v[at] = window.iter().map(|[h, w]| x.at(n, *h, *w, c)).sum::<f64>() / o.divisor(x.d, p, q);
    });
    y
}

pub fn average_pool_dx(x: [usize; 4], dy: &T, o: Pool) -> T {
    let mut dx = T::zeros(x);
    o.each(x, |[n, p, q, c], window| {
        for &[h, w] in window {
            let at = dx.i(n, h, w, c);
            dx.v[at] += dy.at(n, p, q, c) / o.divisor(x, p, q);
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

/// The input ranges of `count` adaptive windows along one direction.
fn adaptive_parts(size: usize, count: usize) -> Vec<std::ops::Range<usize>> {
    (0..count).map(|i| i * size / count..((i + 1) * size).div_ceil(count)).collect()
}

fn each_part(x: [usize; 4], to: Two, mut f: impl FnMut([usize; 4], [usize; 2], f64)) {
    for (p, hs) in adaptive_parts(x[1], to[0]).into_iter().enumerate() {
        for (q, ws) in adaptive_parts(x[2], to[1]).into_iter().enumerate() {
            let share = 1.0 / (hs.len() * ws.len()) as f64;
            for (h, w) in hs.clone().flat_map(|h| ws.clone().map(move |w| (h, w))) {
                for (n, c) in (0..x[0]).flat_map(|n| (0..x[3]).map(move |c| (n, c))) {
                    f([n, p, q, c], [h, w], share);
                }
            }
        }
    }
}

pub fn adaptive_average_pool(x: &T, to: Two) -> T {
    let mut y = T::zeros([x.d[0], to[0], to[1], x.d[3]]);
    each_part(x.d, to, |[n, p, q, c], [h, w], share| {
        let at = y.i(n, p, q, c);
        y.v[at] += x.at(n, h, w, c) * share;
    });
    y
}

pub fn adaptive_average_pool_dx(x: [usize; 4], dy: &T) -> T {
    let mut dx = T::zeros(x);
    each_part(x, [dy.d[1], dy.d[2]], |[n, p, q, c], [h, w], share| {
        let at = dx.i(n, h, w, c);
        dx.v[at] += dy.at(n, p, q, c) * share;
    });
    dx
}
