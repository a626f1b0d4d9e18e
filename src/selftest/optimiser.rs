//! The cases of what an optimiser has besides the step of SGD.

use super::case::{Case, Setup, filled, integers};
use super::reference;
use crate::error::Result;
use crate::tensor::Shape;

/// Rate, momentum, decay and unscale. With them a step on small integers is exact.
const STEP: [f64; 4] = [0.5, 0.5, 0.25, 1.0];

pub(super) fn sgd_nesterov(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("sgd", "a step with Nesterov's momentum");
    let step = case.input(Shape::vector(4), &STEP)?;
    let shape = Shape::filter(3, 3, 5, 6);
    let [w, v, dw] = [1, 2, 3].map(|seed| filled([3, 3, 5, 6], seed));
    let gradient = case.input(shape, &dw)?;
    let states = [case.state(shape, &w)?, case.state(shape, &v)?];
    case.graph.sgd_nesterov(step, gradient, states[0], states[1])?;
    let [rate, momentum, decay, _] = STEP;
    let [_, velocity] = reference::sgd(&w, &v, &dw, [rate, momentum, decay]);
    let moved = w.iter().zip(&dw).zip(&velocity);
    let moved = moved.map(|((w, dw), v)| w - rate * (dw + decay * w + momentum * v)).collect();
    case.exactly(states[0], moved);
    case.exactly(states[1], velocity);
    Ok(vec![case])
}

pub(super) fn param_group(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("param_group", "a slower rate and no decay");
    let step = case.input(Shape::vector(4), &STEP)?;
    let group = case.graph.param_group(step, 0.25, 0.0)?;
    case.exactly(group, vec![0.125, 0.5, 0.0, 1.0]);
    Ok(vec![case])
}

pub(super) fn clip_grad_norm(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (what, unscale, limit) in [("above the limit", 1.0, 2.0), ("below the limit", 0.25, 1e6)] {
        let mut case = setup.case("clip_grad_norm", format!("gradients {what}"));
        let step = case.input(Shape::vector(4), &[0.5, 0.5, 0.25, unscale])?;
        // So many numbers that the partial sums are added in two steps.
        let (large, small) = (filled([3, 3, 64, 96], 1), integers(7, 2));
        let gradients =
            [case.input(Shape::filter(3, 3, 64, 96), &large)?, case.input(Shape::vector(7), &small)?];
        let clipped = case.graph.clip_grad_norm(step, &gradients, limit)?;
        let squares: f64 = large.iter().chain(&small).map(|x| (unscale * x).powi(2)).sum();
        let factor = (f64::from(limit) / (squares.sqrt() + 1e-6)).min(1.0);
        case.nearly(clipped, vec![0.5, 0.5, 0.25, unscale * factor]);
        cases.push(case);
    }
    Ok(cases)
}

pub(super) fn moving_average(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("moving_average", "a quarter of the way");
    let share = case.input(Shape::vector(4), &[0.25, 0.0, 0.0, 0.0])?;
    let shape = Shape::filter(3, 1, 5, 6);
    let [w, average] = [1, 2].map(|seed| filled([3, 1, 5, 6], seed));
    let states = [case.state(shape, &w)?, case.state(shape, &average)?];
    case.graph.moving_average(share, states[0], states[1])?;
    case.exactly(states[1], average.iter().zip(&w).map(|(a, w)| a + 0.25 * (w - a)).collect());
    Ok(vec![case])
}

pub(super) fn soft_cross_entropy(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("softmax_cross_entropy", "soft targets with label smoothing");
    let (n, k) = (5, 11);
    let (logits, dy) = (integers(n * k, 1), integers(n, 2));
    let target = |i: usize| [4 * i % k, 3 * i % k, i, 1 + i % 2];
    let stored: Vec<f64> = (0..n)
        .flat_map(|i| {
            let [first, second, share, weight] = target(i).map(|x| x as f64);
            [first, second, share / 8.0, weight]
        })
        .collect();
    let x = case.input(Shape::image(n, 1, 1, k), &logits)?;
    let targets = case.input(Shape::vector(4 * n), &stored)?;
    let dyv = case.input(Shape::vector(n), &dy)?;
    let loss = case.graph.soft_cross_entropy(x, targets, 0.25)?;
    let dx = case.gradient(loss, dyv, x)?;
    let softmax = reference::softmax(&logits, k);
    let share = |i: usize, class: usize| {
        let [first, second, part, _] = target(i);
        let part = part as f64 / 8.0;
        let own = |is: bool, part: f64| if is { part } else { 0.0 };
        0.25 / k as f64 + 0.75 * (own(class == first, 1.0 - part) + own(class == second, part))
    };
    let weight = |i: usize| target(i)[3] as f64;
    let wanted = |i: usize| -> f64 {
        let row = softmax.iter().skip(i * k).take(k).enumerate();
        -weight(i) * row.map(|(class, p)| share(i, class) * p.ln()).sum::<f64>()
    };
    case.nearly(loss, (0..n).map(wanted).collect());
    let gradient = |(i, p): (usize, &f64)| (p - share(i / k, i % k)) * weight(i / k) * dy[i / k];
    case.nearly(dx, softmax.iter().enumerate().map(gradient).collect());
    Ok(vec![case])
}
