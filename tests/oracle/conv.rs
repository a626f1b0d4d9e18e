//! Convolution and its gradients, the option-A shortcut.

use super::{T, Two};

#[derive(Clone, Copy, Debug)]
pub struct Conv {
    pub stride: Two,
    pub pad: Two,
    pub groups: usize,
}

/// Calls `f` with the indices in y, x and w of every product of a convolution.
fn each(x: [usize; 4], w: [usize; 4], o: Conv, mut f: impl FnMut([usize; 4], [usize; 4], [usize; 4])) {
    let [n, h, width, _] = x;
    let [r, s, cg, k] = w;
    let p = (h + 2 * o.pad[0] - r) / o.stride[0] + 1;
    let q = (width + 2 * o.pad[1] - s) / o.stride[1] + 1;
    for ni in 0..n {
        for pi in 0..p {
            for qi in 0..q {
                for ki in 0..k {
                    let group = ki / (k / o.groups);
                    for ri in 0..r {
                        for si in 0..s {
                            let hi = pi * o.stride[0] + ri;
                            let wi = qi * o.stride[1] + si;
                            if hi < o.pad[0] || wi < o.pad[1] || hi - o.pad[0] >= h || wi - o.pad[1] >= width
                            {
                                continue;
                            }
                            for c in 0..cg {
                                let at = [ni, hi - o.pad[0], wi - o.pad[1], group * cg + c];
                                f([ni, pi, qi, ki], at, [ri, si, c, ki]);
                            }
                        }
                    }
                }
            }
        }
    }
}

pub fn conv_shape(x: [usize; 4], w: [usize; 4], o: Conv) -> [usize; 4] {
    let p = (x[1] + 2 * o.pad[0] - w[0]) / o.stride[0] + 1;
    let q = (x[2] + 2 * o.pad[1] - w[1]) / o.stride[1] + 1;
    [x[0], p, q, w[3]]
}

pub fn conv2d(x: &T, w: &T, bias: Option<&[f64]>, o: Conv) -> (T, T) {
    let mut y = T::zeros(conv_shape(x.d, w.d, o));
    let mut sizes = y.clone();
    each(x.d, w.d, o, |[a, b, c, d], [e, f, g, h], [i, j, k, l]| {
        let at = y.i(a, b, c, d);
        let product = x.at(e, f, g, h) * w.at(i, j, k, l);
        y.v[at] += product;
        sizes.v[at] += product.abs();
    });
    if let Some(bias) = bias {
        let k = bias.len();
        for (i, (y, size)) in y.v.iter_mut().zip(&mut sizes.v).enumerate() {
            *y += bias[i % k];
            *size += bias[i % k].abs();
        }
    }
    (y, sizes)
}

pub fn conv2d_dx(dy: &T, w: &T, x: [usize; 4], o: Conv) -> (T, T) {
    let mut dx = T::zeros(x);
    let mut sizes = dx.clone();
    each(x, w.d, o, |[a, b, c, d], [e, f, g, h], [i, j, k, l]| {
        let at = dx.i(e, f, g, h);
        let product = dy.at(a, b, c, d) * w.at(i, j, k, l);
        dx.v[at] += product;
        sizes.v[at] += product.abs();
    });
    (dx, sizes)
}

pub fn conv2d_dw(x: &T, dy: &T, w: [usize; 4], o: Conv) -> (T, T) {
    let mut dw = T::zeros(w);
    let mut sizes = dw.clone();
    each(x.d, w, o, |[a, b, c, d], [e, f, g, h], [i, j, k, l]| {
        let at = dw.i(i, j, k, l);
        let product = dy.at(a, b, c, d) * x.at(e, f, g, h);
        dw.v[at] += product;
        sizes.v[at] += product.abs();
    });
    (dw, sizes)
}

/// Sums over all axes but the last.
pub fn sum_rows(x: &T) -> (Vec<f64>, Vec<f64>) {
    let c = x.d[3];
    let (mut sum, mut sizes) = (vec![0.0; c], vec![0.0; c]);
    for (i, v) in x.v.iter().enumerate() {
        sum[i % c] += v;
        sizes[i % c] += v.abs();
    }
    (sum, sizes)
}

/// a + s[:, ::stride, ::stride, :], whose channels are centred among those of a.
pub fn add_shortcut(a: &T, s: &T, stride: usize) -> T {
    let mut y = a.clone();
    let front = (a.d[3] - s.d[3]) / 2;
    for n in 0..a.d[0] {
        for p in 0..a.d[1] {
            for q in 0..a.d[2] {
                for c in 0..s.d[3] {
                    let at = y.i(n, p, q, c + front);
                    y.v[at] += s.at(n, p * stride, q * stride, c);
                }
            }
        }
    }
    y
}

pub fn add_shortcut_ds(dy: &T, s: [usize; 4], stride: usize) -> T {
    let mut ds = T::zeros(s);
    let front = (dy.d[3] - s[3]) / 2;
    for n in 0..dy.d[0] {
        for p in 0..dy.d[1] {
            for q in 0..dy.d[2] {
                for c in 0..s[3] {
                    let at = ds.i(n, p * stride, q * stride, c);
                    ds.v[at] += dy.at(n, p, q, c + front);
                }
            }
        }
    }
    ds
}
