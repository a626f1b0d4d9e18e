//! Tests of the reference implementations: gradients by finite differences, the adjoint identity in integers, values
//! worked out by hand.

use super::*;

/// Central difference of `f` at `x` along `direction`.
fn slope(x: &T, direction: &T, f: impl Fn(&T) -> f64) -> f64 {
    let step = 1e-5;
    let moved = |t: f64| T { d: x.d, v: x.v.iter().zip(&direction.v).map(|(x, d)| x + t * d).collect() };
    (f(&moved(step)) - f(&moved(-step))) / (2.0 * step)
}

/// Compares a gradient with finite differences along three random directions.
fn agrees(rng: &mut Rng, x: &T, gradient: &T, tolerance: f64, f: impl Fn(&T) -> f64) {
    for _ in 0..3 {
        let direction = rng.tensor(x.d);
        let (numeric, analytic) = (slope(x, &direction, &f), gradient.dot(&direction));
        let size = gradient.v.iter().zip(&direction.v).map(|(a, b)| (a * b).abs()).sum::<f64>().max(1e-3);
        assert!((numeric - analytic).abs() <= tolerance * size, "{numeric} and {analytic}");
    }
}

/// Numbers with at least 0.02 between any two, so that no maximum changes under a small step.
fn apart(rng: &mut Rng, d: [usize; 4]) -> T {
    let n: usize = d.iter().product();
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, rng.int(0, i as i64) as usize);
    }
    T { d, v: order.into_iter().map(|i| (i as f64 - n as f64 / 2.0 + 0.5) * 0.02).collect() }
}

const CONVS: [([usize; 4], [usize; 4], Conv); 4] = [
    ([2, 5, 4, 3], [3, 3, 3, 5], Conv { stride: [1, 1], pad: [1, 1], groups: 1 }),
    ([1, 7, 6, 4], [3, 2, 2, 6], Conv { stride: [2, 3], pad: [0, 1], groups: 2 }),
    ([3, 4, 4, 5], [1, 1, 5, 1], Conv { stride: [2, 2], pad: [0, 0], groups: 1 }),
    ([1, 3, 3, 6], [3, 3, 2, 9], Conv { stride: [1, 1], pad: [2, 2], groups: 3 }),
];

#[test]
fn convolution_gradients_match_finite_differences() {
    let mut rng = Rng(1);
    for (x, w, o) in CONVS {
        let (x, w) = (rng.tensor(x), rng.tensor(w));
        let dy = rng.tensor(conv_shape(x.d, w.d, o));
        let dx = conv2d_dx(&dy, &w, x.d, o).0;
        let dw = conv2d_dw(&x, &dy, w.d, o).0;
        agrees(&mut rng, &x, &dx, 1e-7, |x| conv2d(x, &w, None, o).0.dot(&dy));
        agrees(&mut rng, &w, &dw, 1e-7, |w| conv2d(&x, w, None, o).0.dot(&dy));
    }
}

#[test]
fn convolution_gradients_are_adjoint_in_integers() {
    let mut rng = Rng(2);
    for (x, w, o) in CONVS {
        let (x, w) = (rng.small_integers(x), rng.small_integers(w));
        let dy = rng.small_integers(conv_shape(x.d, w.d, o));
        let forward = conv2d(&x, &w, None, o).0.dot(&dy);
        assert_eq!(forward, conv2d_dx(&dy, &w, x.d, o).0.dot(&x));
        assert_eq!(forward, conv2d_dw(&x, &dy, w.d, o).0.dot(&w));
    }
}

#[test]
fn convolution_by_hand() {
    // 1 2      1 0
    // 3 4  by  0 1  =  5, and with padding 1 the corners are 1 and 4.
    let x = T { d: [1, 2, 2, 1], v: vec![1.0, 2.0, 3.0, 4.0] };
    let w = T { d: [2, 2, 1, 1], v: vec![1.0, 0.0, 0.0, 1.0] };
    let o = Conv { stride: [1, 1], pad: [0, 0], groups: 1 };
    assert_eq!(conv2d(&x, &w, Some(&[0.5]), o).0.v, [5.5]);
    let o = Conv { pad: [1, 1], ..o };
    assert_eq!(conv2d(&x, &w, None, o).0.v, [1.0, 2.0, 0.0, 3.0, 5.0, 2.0, 0.0, 3.0, 4.0]);
}

const POOLS: [([usize; 4], Pool); 3] = [
    (
        [2, 6, 5, 3],
        Pool { kernel: [2, 2], stride: [2, 2], pad: [[0; 2], [0; 2]], ceil: false, count_padding: true },
    ),
    (
        [1, 7, 7, 2],
        Pool { kernel: [3, 3], stride: [2, 2], pad: [[1; 2], [1; 2]], ceil: false, count_padding: false },
    ),
    (
        [1, 5, 6, 2],
        Pool { kernel: [3, 2], stride: [1, 3], pad: [[1; 2], [0; 2]], ceil: false, count_padding: true },
    ),
];

#[test]
fn pooling_gradients_match_finite_differences() {
    let mut rng = Rng(3);
    for (x, o) in POOLS {
        let x = apart(&mut rng, x);
        let dy = rng.tensor(o.shape(x.d));
        let (max, average) = (max_pool_dx(&x, &dy, o), average_pool_dx(x.d, &dy, o));
        agrees(&mut rng, &x, &max, 1e-7, |x| max_pool(x, o).dot(&dy));
        agrees(&mut rng, &x, &average, 1e-7, |x| average_pool(x, o).dot(&dy));
        let dy = rng.tensor(x.d);
        agrees(&mut rng, &x, &relu_dx(&x, &dy), 1e-7, |x| relu(x).dot(&dy));
    }
}

#[test]
fn lrn_gradient_matches_finite_differences() {
    let mut rng = Rng(7);
    for (d, size) in [([1, 2, 2, 7], 5), ([2, 1, 1, 6], 4), ([1, 1, 2, 3], 1)] {
        let (x, dy) = (rng.tensor(d), rng.tensor(d));
        let o = Lrn { size, alpha: 1.5, beta: 0.75, bias: 1.0 };
        agrees(&mut rng, &x, &lrn_dx(&x, &dy, o), 1e-7, |x| lrn(x, o).dot(&dy));
    }
}

#[test]
fn lrn_by_hand() {
    let x = T { d: [1, 1, 1, 4], v: vec![1.0, 2.0, 3.0, 4.0] };
    // Windows of two: the channel and the one above it.
    let o = Lrn { size: 2, alpha: 2.0, beta: 1.0, bias: 1.0 };
    assert_eq!(lrn(&x, o).v, [1.0 / 6.0, 2.0 / 14.0, 3.0 / 26.0, 4.0 / 17.0]);
    let o = Lrn { size: 3, alpha: 3.0, ..o };
    assert_eq!(lrn(&x, o).v, [1.0 / 6.0, 2.0 / 15.0, 3.0 / 30.0, 4.0 / 26.0]);
}

#[test]
fn pooling_by_hand() {
    let x = T { d: [1, 2, 2, 1], v: vec![1.0, 7.0, 7.0, 3.0] };
    let o = Pool { kernel: [2, 2], stride: [1, 1], pad: [[0; 2], [0; 2]], ceil: false, count_padding: true };
    let one = T { d: [1, 1, 1, 1], v: vec![1.0] };
    assert_eq!(max_pool(&x, o).v, [7.0]);
    assert_eq!(max_pool_dx(&x, &one, o).v, [0.0, 1.0, 0.0, 0.0], "the first of equal values wins");
    assert_eq!(average_pool(&x, o).v, [4.5]);
    assert_eq!(average_pool_dx(x.d, &one, o).v, [0.25; 4]);
}

#[test]
fn batch_norm_gradients_match_finite_differences() {
    let mut rng = Rng(4);
    for d in [[2, 3, 4, 3], [5, 1, 1, 2], [1, 7, 3, 1]] {
        let (x, dy) = (rng.tensor(d), rng.tensor(d));
        let row = |rng: &mut Rng| rng.tensor([1, 1, 1, d[3]]);
        let (gamma, beta) = (row(&mut rng), row(&mut rng));
        let g = batch_norm_gradient(&x, &dy, &gamma.v, 1e-5);
        let f = |x: &T, gamma: &T, beta: &T| {
            let (mean, var) = batch_norm_stats(x);
            batch_norm(x, &mean, &var, &gamma.v, &beta.v, 1e-5).dot(&dy)
        };
        let vector = |v: &[f64]| T { d: [1, 1, 1, d[3]], v: v.to_vec() };
        agrees(&mut rng, &x, &g.dx, 1e-6, |x| f(x, &gamma, &beta));
        agrees(&mut rng, &gamma, &vector(&g.dgamma), 1e-7, |gamma| f(&x, gamma, &beta));
        agrees(&mut rng, &beta, &vector(&g.dbeta), 1e-7, |beta| f(&x, &gamma, beta));
    }
}

#[test]
fn batch_norm_by_hand() {
    let x = T { d: [4, 1, 1, 1], v: vec![1.0, 3.0, 1.0, 3.0] };
    let (mean, var) = batch_norm_stats(&x);
    assert_eq!((mean[0], var[0]), (2.0, 1.0));
    assert_eq!(batch_norm(&x, &mean, &var, &[2.0], &[5.0], 0.0).v, [3.0, 7.0, 3.0, 7.0]);
}

#[test]
fn loss_gradient_matches_finite_differences() {
    let mut rng = Rng(5);
    let x = rng.tensor([4, 1, 1, 7]);
    let (labels, dy) = ([0, 6, 3, 3], [1.0, -0.5, 2.0, 0.25]);
    let weighted = |x: &T| softmax_cross_entropy(x, &labels).iter().zip(&dy).map(|(a, b)| a * b).sum();
    agrees(&mut rng, &x, &softmax_cross_entropy_dx(&x, &labels, &dy), 1e-7, weighted);
}

#[test]
fn loss_and_rank_by_hand() {
    let x = T { d: [2, 1, 1, 2], v: vec![0.0, 0.0, 3f64.ln(), 0.0] };
    let loss = softmax_cross_entropy(&x, &[0, 1]);
    assert!((loss[0] - 2f64.ln()).abs() < 1e-15 && (loss[1] - 4f64.ln()).abs() < 1e-15);
    let x = T { d: [3, 1, 1, 3], v: vec![1.0, 1.0, 2.0, 1.0, 1.0, 2.0, 5.0, 1.0, 2.0] };
    assert_eq!(label_rank(&x, &[0, 1, 0]), [1.0, 2.0, 0.0], "of equal logits the lower index is ahead");
}

#[test]
fn shortcut_by_hand_and_adjoint() {
    let a = T { d: [1, 1, 1, 4], v: vec![10.0, 20.0, 30.0, 40.0] };
    let s = T { d: [1, 2, 2, 2], v: vec![1.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0] };
    assert_eq!(add_shortcut(&a, &s, 2).v, [10.0, 21.0, 32.0, 40.0]);
    let mut rng = Rng(6);
    let (s, dy) = (rng.small_integers([2, 5, 4, 3]), rng.small_integers([2, 3, 2, 7]));
    let zero = T::zeros(dy.d);
    assert_eq!(add_shortcut(&zero, &s, 2).dot(&dy), add_shortcut_ds(&dy, s.d, 2).dot(&s));
}

#[test]
fn sgd_by_hand() {
    let (w, v) = sgd(&[2.0], &[1.0], &[3.0], [0.1, 0.5, 0.25]);
    assert_eq!(v, [4.0]);
    assert!((w[0] - 1.6).abs() < 1e-15);
}
