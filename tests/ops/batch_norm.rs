use super::harness::{Run, U, close, close_in, each, worst};
use crate::oracle::{self, Rng, T};
use ocelli::kernels::KernelFamily;
use ocelli::ops::Running;
use ocelli::tensor::{Precision, Shape, Value};

const EPSILON: f64 = 1e-5;

struct Built {
    run: Run,
    x: Value,
    affine: [Value; 2],
    running: Running,
}

fn build(precision: Precision, x: &T, gamma: &[f64], beta: &[f64], mean: &[f64], variance: &[f64]) -> Built {
    let mut run = Run::new(KernelFamily::Direct).storing(precision);
    let [n, h, w, c] = x.d;
    let xv = run.input(Shape::image(n, h, w, c), &x.v);
    let vector = Shape::vector(c);
    let affine = [run.input(vector, gamma), run.input(vector, beta)];
    let running = Running { mean: run.state(vector, mean), variance: run.state(vector, variance) };
    Built { run, x: xv, affine, running }
}

fn vector(rng: &mut Rng, c: usize) -> Vec<f64> {
    rng.tensor([1, 1, 1, c]).v
}

#[test]
fn training_forward_and_gradients() {
    let mut rng = Rng(51);
    for (precision, d) in each([[2, 3, 5, 3], [1, 1, 2, 1], [4, 9, 7, 13], [3, 16, 16, 5], [2, 1, 1, 4]]) {
        let c = d[3];
        let (x, dy) = (rng.tensor(d).stored_as(precision), rng.tensor(d).stored_as(precision));
        let (gamma, beta) = (vector(&mut rng, c), vector(&mut rng, c));
        let mut b = build(precision, &x, &gamma, &beta, &vec![0.5; c], &vec![2.0; c]);
        let dyv = b.run.input(Shape::image(d[0], d[1], d[2], c), &dy.v);
        let graph = &mut b.run.graph;
        let y = graph.batch_norm_training(b.x, b.affine, b.running, EPSILON as f32, 0.1).unwrap();
        let wrt = [b.x, b.affine[0], b.affine[1]];
        let gradients = graph.gradients(y, dyv, &wrt).unwrap();
        let outputs: Vec<Value> = std::iter::once(y).chain(gradients.into_iter().flatten()).collect();
        let got = b.run.outputs(&outputs);

        let (mean, var) = oracle::batch_norm_stats(&x);
        let want = oracle::batch_norm(&x, &mean, &var, &gamma, &beta, EPSILON);
        // The division by the deviation magnifies the rounding of the mean.
        let least = var.iter().copied().fold(f64::MAX, f64::min).max(EPSILON).sqrt();
        close_in(precision, &got[0], &want.v, 60.0 * U / least);
        let g = oracle::batch_norm_gradient(&x, &dy, &gamma, EPSILON);
        let m = x.v.len() / c;
        close_in(precision, &got[1], &g.dx.v, 200.0 * U / least / least.min(1.0));
        let scale = |sizes: &[f64]| sizes.iter().map(|s| s * 8.0 / least.min(1.0) + 1e-3).collect::<Vec<_>>();
        let error = worst(&got[2], &g.dgamma, &scale(&g.gamma_sizes), m);
        assert!(error <= 1.0, "dgamma of {d:?}: {error}");
        let error = worst(&got[3], &g.dbeta, &g.beta_sizes, m);
        assert!(error <= 1.0, "dbeta of {d:?}: {error}");
    }
}

#[test]
fn running_statistics_take_the_unbiased_variance() {
    let mut rng = Rng(52);
    let x = rng.tensor([2, 3, 3, 5]);
    let mut b = build(Precision::F32, &x, &[1.0; 5], &[0.0; 5], &[0.5; 5], &[2.0; 5]);
    let y = b.run.graph.batch_norm_training(b.x, b.affine, b.running, 1e-5, 0.1).unwrap();
    let session = b.run.session(&[y]);
    session.run().unwrap();
    let read = |v| session.read(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    let (mean, var) = oracle::batch_norm_stats(&x);
    let mix = |old: f64, new: &[f64], f: f64| new.iter().map(|v| 0.9 * old + 0.1 * v * f).collect::<Vec<_>>();
    close(&read(b.running.mean), &mix(0.5, &mean, 1.0), 8.0 * U);
    close(&read(b.running.variance), &mix(2.0, &var, 18.0 / 17.0), 8.0 * U);
}

#[test]
fn inference_uses_the_running_statistics() {
    let mut rng = Rng(53);
    for (precision, d) in each([[2, 3, 5, 3], [1, 1, 1, 13]]) {
        let c = d[3];
        let x = rng.tensor(d).stored_as(precision);
        let (gamma, beta, mean) = (vector(&mut rng, c), vector(&mut rng, c), vector(&mut rng, c));
        let var: Vec<f64> =
            vector(&mut rng, c).iter().map(|v| v.abs() + 0.1).map(|v| f64::from(v as f32)).collect();
        let mut b = build(precision, &x, &gamma, &beta, &mean, &var);
        let y = b.run.graph.batch_norm_inference(b.x, b.affine, b.running, EPSILON as f32).unwrap();
        let want = oracle::batch_norm(&x, &mean, &var, &gamma, &beta, EPSILON);
        close_in(precision, &b.run.outputs(&[y])[0], &want.v, 40.0 * U);
    }
}

#[test]
fn variance_survives_a_large_mean_and_a_constant_channel() {
    let mut rng = Rng(54);
    for (precision, d) in each([[4, 16, 16, 2]]) {
        let mut x = rng.tensor(d);
        for (i, v) in x.v.iter_mut().enumerate() {
            // Mean 1000 and deviation about 0.6; and a channel that is 7 everywhere.
            *v = if i % 2 == 0 { 1000.0 + *v } else { 7.0 };
        }
        // Squares that f16 could not hold.
        let x = x.rounded().stored_as(precision);
        let mut b = build(precision, &x, &[1.0; 2], &[0.0; 2], &[0.0; 2], &[1.0; 2]);
        let y = b.run.graph.batch_norm_training(b.x, b.affine, b.running, 1e-5, 1.0).unwrap();
        let session = b.run.session(&[y]);
        session.run().unwrap();
        assert!(session.output(y).unwrap().iter().all(|v| v.is_finite()));
        let got = session.read(b.running.variance).unwrap();
        let want = oracle::batch_norm_stats(&x).1[0] * 1024.0 / 1023.0;
        let error = (f64::from(got[0]) - want).abs() / want;
        assert!(error < 1e-4, "relative error of the variance {error}");
        assert_eq!(got[1], 0.0);
    }
}

#[test]
fn one_number_a_channel_cannot_train() {
    let x = T { d: [1, 1, 1, 3], v: vec![1.0, 2.0, 3.0] };
    let mut b = build(Precision::F32, &x, &[1.0; 3], &[0.0; 3], &[0.0; 3], &[1.0; 3]);
    let error = b.run.graph.batch_norm_training(b.x, b.affine, b.running, 1e-5, 0.1).unwrap_err();
    assert!(error.to_string().contains("batch of at least 2"), "{error}");
}

#[test]
fn inference_has_a_gradient_with_constant_statistics() {
    let mut rng = Rng(52);
    for (precision, d) in each([[2, 3, 5, 3], [1, 1, 1, 1], [4, 9, 7, 13], [1, 16, 16, 5]]) {
        let c = d[3];
        let (x, dy) = (rng.tensor(d).stored_as(precision), rng.tensor(d).stored_as(precision));
        let (gamma, beta, mean) = (vector(&mut rng, c), vector(&mut rng, c), vector(&mut rng, c));
        let variance: Vec<f64> = vector(&mut rng, c).iter().map(|v| 0.5 + v.abs()).collect();
        let mut b = build(precision, &x, &gamma, &beta, &mean, &variance);
        let dyv = b.run.input(Shape::image(d[0], d[1], d[2], c), &dy.v);
        let graph = &mut b.run.graph;
        let y = graph.batch_norm_inference(b.x, b.affine, b.running, EPSILON as f32).unwrap();
        let wrt = [b.x, b.affine[0], b.affine[1], b.running.mean];
        let gradients = graph.gradients(y, dyv, &wrt).unwrap();
        assert_eq!(gradients[3], None, "the running mean is a constant");
        let outputs: Vec<Value> = gradients.into_iter().flatten().collect();
        let got = b.run.outputs(&outputs);

        let inverse = |i: usize| 1.0 / (variance[i % c] + EPSILON).sqrt();
        let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
        let (mut gamma_sizes, mut beta_sizes) = (vec![1e-3; c], vec![1e-3; c]);
        for (i, (x, dy)) in x.v.iter().zip(&dy.v).enumerate() {
            let term = dy * (x - mean[i % c]) * inverse(i);
            dgamma[i % c] += term;
            // The difference to the mean is rounded, and so is its sum with dy.
            gamma_sizes[i % c] += 4.0 * (term.abs() + (dy * mean[i % c] * inverse(i)).abs());
            dbeta[i % c] += dy;
            beta_sizes[i % c] += dy.abs();
        }
        let dx: Vec<f64> = dy.v.iter().enumerate().map(|(i, dy)| dy * gamma[i % c] * inverse(i)).collect();
        close_in(precision, &got[0], &dx, 16.0 * U);
        let m = x.v.len() / c;
        assert!(worst(&got[1], &dgamma, &gamma_sizes, m) <= 1.0, "dgamma of {d:?}");
        assert!(worst(&got[2], &dbeta, &beta_sizes, m) <= 1.0, "dbeta of {d:?}");
    }
}
