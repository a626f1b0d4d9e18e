//! The cases of batch norm and of softmax. Their results are not exact.

use super::case::{Case, Setup, filled, integers};
use super::reference;
use crate::error::Result;
use crate::ops::Running;
use crate::tensor::Shape;

const EPSILON: f64 = 0.25;

/// What a batch norm has besides its input.
struct Parameters {
    gamma: Vec<f64>,
    beta: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Parameters {
    fn of(channels: usize) -> Self {
        let [gamma, beta, mean] = [11, 12, 13].map(|seed| integers(channels, seed));
        let variance = integers(channels, 14).into_iter().map(|v| v + 3.0).collect();
        Self { gamma, beta, mean, variance }
    }
}

pub(super) fn batch_norm(setup: &Setup) -> Result<Vec<Case>> {
    Ok(vec![
        training(setup, [3, 5, 7, 6])?,
        // So many rows that the partial sums are added in two steps.
        training(setup, [1, 66, 65, 3])?,
        inference(setup)?,
    ])
}

fn training(setup: &Setup, dims: [usize; 4]) -> Result<Case> {
    let channels = dims[3];
    let rows = dims[..3].iter().product::<usize>();
    let mut case = setup.case("batch_norm", format!("training on {rows} rows, with its gradients"));
    let (x, dy, Parameters { gamma, beta, mean, variance }) =
        (filled(dims, 1), filled(dims, 2), Parameters::of(channels));
    let vector = Shape::vector(channels);
    let (xv, dyv) = (case.image(dims, &x)?, case.image(dims, &dy)?);
    let affine = [case.input(vector, &gamma)?, case.input(vector, &beta)?];
    let running = Running { mean: case.state(vector, &mean)?, variance: case.state(vector, &variance)? };
    let y = case.graph.batch_norm_training(xv, affine, running, EPSILON as f32, 0.5)?;
    let [dx, dgamma, dbeta] =
        [case.gradient(y, dyv, xv)?, case.gradient(y, dyv, affine[0])?, case.gradient(y, dyv, affine[1])?];
    let statistics = reference::statistics(&x, channels);
    let hat = reference::normalised(&x, &statistics, EPSILON);
    case.nearly(y, reference::affine(&hat, &gamma, &beta));
    let half = |old: &[f64], new: &[f64], factor: f64| {
        old.iter().zip(new).map(|(old, new)| 0.5 * old + 0.5 * factor * new).collect()
    };
    case.nearly(running.mean, half(&mean, &statistics[0], 1.0));
    let unbiased = rows as f64 / (rows as f64 - 1.0);
    case.nearly(running.variance, half(&variance, &statistics[1], unbiased));
    let want = reference::batch_norm_gradient(&x, &dy, &gamma, EPSILON);
    case.nearly(dx, want.dx);
    // The error of a sum grows with its terms, not with the sum.
    case.summed(dgamma, want.dgamma, rows);
    case.exactly(dbeta, want.dbeta);
    Ok(case)
}

fn inference(setup: &Setup) -> Result<Case> {
    let mut case = setup.case("batch_norm", "inference, with its gradients");
    let dims = [3, 5, 7, 6];
    let (x, dy, Parameters { gamma, beta, mean, variance }) =
        (filled(dims, 1), filled(dims, 2), Parameters::of(6));
    let vector = Shape::vector(6);
    let (xv, dyv) = (case.image(dims, &x)?, case.image(dims, &dy)?);
    let affine = [case.input(vector, &gamma)?, case.input(vector, &beta)?];
    let running = Running { mean: case.state(vector, &mean)?, variance: case.state(vector, &variance)? };
    let y = case.graph.batch_norm_inference(xv, affine, running, EPSILON as f32)?;
    let (dx, dgamma) = (case.gradient(y, dyv, xv)?, case.gradient(y, dyv, affine[0])?);
    let slope = |i: usize| gamma[i % 6] / (variance[i % 6] + EPSILON).sqrt();
    let want_dx = dy.iter().enumerate().map(|(i, dy)| dy * slope(i)).collect();
    let hat = reference::normalised(&x, &[mean, variance.clone()], EPSILON);
    let products: Vec<f64> = hat.iter().zip(&dy).map(|(hat, dy)| hat * dy).collect();
    case.nearly(y, reference::affine(&hat, &gamma, &beta));
    case.nearly(dx, want_dx);
    case.summed(dgamma, reference::channel_sums(&products, 6), 105);
    Ok(case)
}

pub(super) fn softmax_cross_entropy(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("softmax_cross_entropy", "the loss, the rank of the label and the gradient");
    let (n, k) = (5, 11);
    let (logits, dy) = (integers(n * k, 1), integers(n, 2));
    let labels: Vec<u32> = (0..n as u32).map(|i| 4 * i % k as u32).collect();
    let x = case.input(Shape::image(n, 1, 1, k), &logits)?;
    let words = case.words(Shape::labels(n), &labels);
    let dyv = case.input(Shape::vector(n), &dy)?;
    let loss = case.graph.softmax_cross_entropy(x, words)?;
    let rank = case.graph.label_rank(x, words)?;
    let dx = case.gradient(loss, dyv, x)?;
    let softmax = reference::softmax(&logits, k);
    let own = |i: usize| softmax[i * k + labels[i] as usize];
    case.nearly(loss, (0..n).map(|i| -own(i).ln()).collect());
    case.exactly(rank, reference::ranks(&logits, k, &labels));
    let one = |(i, p): (usize, &f64)| {
        let is_label = i % k == labels[i / k] as usize;
        (p - f64::from(u8::from(is_label))) * dy[i / k]
    };
    case.nearly(dx, softmax.iter().enumerate().map(one).collect());
    Ok(vec![case])
}
