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
