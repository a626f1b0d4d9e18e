use super::harness::{Run, U, close};
use crate::oracle::{self, Rng, T};
use ocelli::kernels::KernelFamily;
use ocelli::tensor::Shape;

#[test]
fn loss_rank_and_gradient() {
    let mut rng = Rng(71);
    for (n, k, range) in [(1, 2, 1.0), (5, 10, 4.0), (3, 13, 30.0), (130, 7, 8.0), (2, 1000, 5.0)] {
        let mut x = rng.tensor([n, 1, 1, k]);
        x.v.iter_mut().for_each(|v| *v *= range);
        let x = x.rounded();
        let labels: Vec<u32> = (0..n).map(|_| rng.int(0, k as i64 - 1) as u32).collect();
        let dy = rng.tensor([1, 1, 1, n]).v;
        let mut run = Run::new(KernelFamily::Direct);
        let xv = run.input(Shape::image(n, 1, 1, k), &x.v);
        let lv = run.words(Shape::labels(n), &labels);
        let dyv = run.input(Shape::vector(n), &dy);
        let loss = run.graph.softmax_cross_entropy(xv, lv).unwrap();
        let rank = run.graph.label_rank(xv, lv).unwrap();
        let dx = run.graph.gradients(loss, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[loss, rank, dx]);
        let tolerance = (16.0 + 4.0 * range + (k as f64).sqrt()) * U;
        close(&got[0], &oracle::softmax_cross_entropy(&x, &labels), tolerance);
        close(&got[1], &oracle::label_rank(&x, &labels), 0.0);
        close(&got[2], &oracle::softmax_cross_entropy_dx(&x, &labels, &dy).v, tolerance);
    }
}

#[test]
fn logits_of_any_size_stay_finite() {
    let x = T { d: [3, 1, 1, 3], v: vec![1e4, -1e4, 0.0, -1e4, -1e4, -1e4, 3e38, -3e38, 0.0] };
    let labels = [1, 2, 0];
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.input(Shape::image(3, 1, 1, 3), &x.v);
    let lv = run.words(Shape::labels(3), &labels);
    let seed = run.graph.fill(3, 1.0).unwrap();
    let loss = run.graph.softmax_cross_entropy(xv, lv).unwrap();
    let dx = run.graph.gradients(loss, seed, &[xv]).unwrap()[0].unwrap();
    let got = run.outputs(&[loss, dx]);
    close(&got[0], &[2e4, 3f64.ln(), 0.0], 4.0 * U);
    close(&got[1], &oracle::softmax_cross_entropy_dx(&x, &labels, &[1.0; 3]).v, 4.0 * U);
}

#[test]
fn equal_logits_rank_by_index() {
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.input(Shape::image(2, 1, 1, 5), &[1.0; 10]);
    let lv = run.words(Shape::labels(2), &[0, 4]);
    let rank = run.graph.label_rank(xv, lv).unwrap();
    assert_eq!(run.outputs(&[rank])[0], [0.0, 4.0]);
}

#[test]
fn soft_targets_with_smoothing_and_weights() {
    let mut rng = Rng(72);
    for (n, k, range, smoothing) in
        [(1, 2, 1.0, 0.0), (5, 10, 4.0, 0.1), (3, 13, 30.0, 0.25), (130, 7, 8.0, 0.0), (2, 1000, 5.0, 0.1)]
    {
        let mut x = rng.tensor([n, 1, 1, k]);
        x.v.iter_mut().for_each(|v| *v *= range);
        let x = x.rounded();
        let mut class = || rng.int(0, k as i64 - 1) as usize;
        let classes: Vec<[usize; 2]> = (0..n).map(|_| [class(), class()]).collect();
        let soft: Vec<oracle::Soft> = (0..n)
            .map(|i| {
                let [first, second] = classes[i];
                // Powers of two, which f32 holds.
                (first, second, f64::from(i as u32 % 5) / 8.0, 0.25 + f64::from(i as u32 % 3))
            })
            .collect();
        let stored: Vec<f64> =
            soft.iter().flat_map(|(a, b, share, weight)| [*a as f64, *b as f64, *share, *weight]).collect();
        let dy = rng.tensor([1, 1, 1, n]).v;
        let mut run = Run::new(KernelFamily::Direct);
        let xv = run.input(Shape::image(n, 1, 1, k), &x.v);
        let tv = run.input(Shape::vector(4 * n), &stored);
        let dyv = run.input(Shape::vector(n), &dy);
        let loss = run.graph.soft_cross_entropy(xv, tv, smoothing as f32).unwrap();
        let dx = run.graph.gradients(loss, dyv, &[xv]).unwrap()[0].unwrap();
        let got = run.outputs(&[loss, dx]);
        let smoothing = f64::from(smoothing as f32);
        let tolerance = (16.0 + 8.0 * range + (k as f64).sqrt()) * 2.25 * U;
        close(&got[0], &oracle::soft_cross_entropy(&x, &soft, smoothing), tolerance);
        close(&got[1], &oracle::soft_cross_entropy_dx(&x, &soft, smoothing, &dy).v, tolerance);
    }
}

#[test]
fn a_soft_target_of_one_class_is_that_class_bit_for_bit() {
    let mut rng = Rng(73);
    let x = rng.tensor([6, 1, 1, 9]).rounded();
    let mut run = Run::new(KernelFamily::Direct);
    let xv = run.input(Shape::image(6, 1, 1, 9), &x.v);
    let lv = run.words(Shape::labels(6), &[0, 8, 3, 3, 1, 2]);
    let stored: Vec<f64> = [0.0, 8.0, 3.0, 3.0, 1.0, 2.0].iter().flat_map(|c| [*c, *c, 0.0, 1.0]).collect();
    let tv = run.input(Shape::vector(24), &stored);
    let hard = run.graph.softmax_cross_entropy(xv, lv).unwrap();
    let soft = run.graph.soft_cross_entropy(xv, tv, 0.0).unwrap();
    let seed = run.graph.fill(6, 1.0).unwrap();
    let hard_dx = run.graph.gradients(hard, seed, &[xv]).unwrap()[0].unwrap();
    let soft_dx = run.graph.gradients(soft, seed, &[xv]).unwrap()[0].unwrap();
    let got = run.outputs(&[hard, soft, hard_dx, soft_dx]);
    assert_eq!(got[0], got[1]);
    assert_eq!(got[2], got[3]);
}

#[test]
fn soft_targets_that_make_no_sense_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(2, 1, 1, 5), &[0.0; 10]);
    let (few, right) = (run.input(Shape::vector(4), &[0.0; 4]), run.input(Shape::vector(8), &[0.0; 8]));
    assert!(run.graph.soft_cross_entropy(x, few, 0.0).is_err());
    for smoothing in [-0.1, 1.0, f32::NAN] {
        assert!(run.graph.soft_cross_entropy(x, right, smoothing).is_err(), "{smoothing}");
    }
}
