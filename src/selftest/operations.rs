//! The cases of the operations: one function for each file of `src/ops`, under its name.

use super::case::{Case, Setup, filled, integers};
use super::reference::{self, Conv};
use crate::error::Result;
use crate::graph::{LrnOptions, PoolOptions};
use crate::ops::Running;
use crate::tensor::{Precision, Shape};

type Build = fn(&Setup) -> Result<Vec<Case>>;

/// The operations with their cases, and whether they have activations, which may be f16.
pub(super) const OPERATIONS: [(&str, Build, bool); 25] = [
    ("add", add, true),
    ("batch_norm", super::normalisation::batch_norm, true),
    ("clip_grad_norm", super::optimiser::clip_grad_norm, false),
    ("concat", concat, true),
    ("conv2d", conv2d, true),
    ("dropout", dropout, true),
    ("fill", fill, false),
    ("limit_rms", limit_rms, false),
    ("linear", linear, true),
    ("loss_scale", loss_scale, true),
    ("lrn", lrn, true),
    ("moving_average", super::optimiser::moving_average, false),
    ("param_group", super::optimiser::param_group, false),
    ("pool", pool, true),
    ("preprocess", preprocess, true),
    ("reduce", reduce, true),
    ("relu", relu, true),
    ("reshape", reshape, true),
    ("sgd", sgd, false),
    ("sgd", super::optimiser::sgd_nesterov, false),
    ("sgd_multi_tensor", sgd_multi_tensor, false),
    ("slice", slice, false),
    ("softmax_cross_entropy", super::normalisation::softmax_cross_entropy, false),
    ("softmax_cross_entropy", super::optimiser::soft_cross_entropy, false),
    ("ungroup", ungroup, false),
];

/// Rate, momentum, decay and unscale. With them a step on small integers is exact.
const STEP: [f64; 4] = [0.5, 0.5, 0.25, 1.0];
const RATES: [f64; 3] = [0.5, 0.5, 0.25];

/// The sizes of a small activation whose channels are no multiple of four.
const MAP: [usize; 4] = [2, 5, 7, 6];

fn add(setup: &Setup) -> Result<Vec<Case>> {
    let mut sum = setup.case("add", "a sum");
    let [a, b] = [1, 2].map(|seed| filled(MAP, seed));
    let (av, bv) = (sum.image(MAP, &a)?, sum.image(MAP, &b)?);
    let y = sum.graph.add(av, bv)?;
    sum.exactly(y, reference::sum(&a, &b));

    let mut shortcut = setup.case("add", "a shortcut of stride 2 and its gradient");
    let (wide, to) = ([2, 5, 7, 6], [2, 3, 4, 11]);
    let (a, s, dy) = (filled(to, 1), filled(wide, 2), filled(to, 3));
    let (av, sv, dyv) = (shortcut.image(to, &a)?, shortcut.image(wide, &s)?, shortcut.image(to, &dy)?);
    let y = shortcut.graph.add_shortcut(av, sv, 2)?;
    let ds = shortcut.gradient(y, dyv, sv)?;
    let (mut want, mut want_ds) = (a, vec![0.0; s.len()]);
    for i in 0..want.len() {
        let (n, p, q, k) = (i / (3 * 4 * 11), i / 44 % 3, i / 11 % 4, i % 11);
        // The channels of the shortcut are centred.
        if (2..8).contains(&k) {
            let from = ((n * 5 + 2 * p) * 7 + 2 * q) * 6 + k - 2;
            want[i] += s[from];
            want_ds[from] += dy[i];
        }
    }
    shortcut.exactly(y, want);
    shortcut.exactly(ds, want_ds);

    let mut into = setup.case("add", "a sum in place");
    let shape = Shape::vector(77);
    let [a, b] = [1, 2].map(|seed| integers(77, seed));
    let (av, state) = (into.input(shape, &a)?, into.state(shape, &b)?);
    into.graph.accumulate(av, state)?;
    into.exactly(state, reference::sum(&a, &b));
    Ok(vec![sum, shortcut, into])
}

fn concat(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for [first, second] in [[3, 6], [4, 8]] {
        let mut case = setup.case("concat", format!("{first} and {second} channels and their gradients"));
        let (a_dims, b_dims, dims) = ([2, 3, 5, first], [2, 3, 5, second], [2, 3, 5, first + second]);
        let (a, b, dy) = (filled(a_dims, 1), filled(b_dims, 2), filled(dims, 3));
        let (av, bv) = (case.image(a_dims, &a)?, case.image(b_dims, &b)?);
        let dyv = case.image(dims, &dy)?;
        let y = case.graph.concat(&[av, bv])?;
        let (da, db) = (case.gradient(y, dyv, av)?, case.gradient(y, dyv, bv)?);
        let pixels = a.chunks(first).zip(b.chunks(second));
        case.exactly(y, pixels.flat_map(|(a, b)| [a, b].concat()).collect());
        let part = |from: usize, to: usize| {
            dy.chunks(first + second).flat_map(|pixel| pixel[from..to].to_vec()).collect::<Vec<f64>>()
        };
        case.exactly(da, part(0, first));
        case.exactly(db, part(first, first + second));
        cases.push(case);
    }
    Ok(cases)
}

/// What the kernels of products do besides the product, by the kernels of the heuristic.
fn conv2d(setup: &Setup) -> Result<Vec<Case>> {
    let conv = Conv { x: [1, 5, 7, 8], w: [3, 3, 8, 8], stride: 1, pad: 1, groups: 1 };
    let (x, w, dy) = (filled(conv.x, 1), filled(conv.w, 2), filled(conv.x, 3));

    let mut inference = setup.case("conv2d", "with batch norm, a sum and ReLU in the epilogue");
    let xv = inference.image(conv.x, &x)?;
    let wv = inference.input(conv.filter(), &w)?;
    let vector = Shape::vector(8);
    let (gamma, beta, mean) = (integers(8, 4), integers(8, 5), integers(8, 6));
    let affine = [inference.input(vector, &gamma)?, inference.input(vector, &beta)?];
    let running =
        Running { mean: inference.state(vector, &mean)?, variance: inference.state(vector, &[3.0; 8])? };
    let y = inference.graph.conv2d(xv, wv, None, conv.options())?;
    let y = inference.graph.batch_norm_inference(y, affine, running, 1.0)?;
    let y = inference.graph.add(y, xv)?;
    let y = inference.graph.relu(y)?;
    let hat = reference::normalised(&conv.forward(&x, &w), &[mean, vec![3.0; 8]], 1.0);
    let want = reference::sum(&reference::affine(&hat, &gamma, &beta), &x);
    inference.nearly(y, reference::relu(&want));

    // The gradient of a residual block: a sum of two gradients, where the input was positive.
    let mut block = setup.case("conv2d", "with a sum and a mask in the epilogue of the input gradient");
    let (xv, wv) = (block.image(conv.x, &x)?, block.input(conv.filter(), &w)?);
    let dyv = block.image(conv.x, &dy)?;
    let positive = block.graph.relu(xv)?;
    let y = block.graph.conv2d(positive, wv, None, conv.options())?;
    let y = block.graph.add(y, positive)?;
    let dx = block.gradient(y, dyv, xv)?;
    block.exactly(dx, reference::masked(&x, &reference::sum(&conv.input_grad(&dy, &w), &dy)));

    let mut step = setup.case("conv2d", "the weight gradient with SGD");
    let xv = step.image(conv.x, &x)?;
    let rates = step.input(vector_of_step(), &STEP)?;
    let (wv, velocity) = (step.state(conv.filter(), &w)?, step.state(conv.filter(), &w)?);
    let dyv = step.image(conv.x, &dy)?;
    let y = step.graph.conv2d(xv, wv, None, conv.options())?;
    let dw = step.gradient(y, dyv, wv)?;
    step.graph.sgd(rates, dw, wv, velocity)?;
    let [want_w, want_v] = reference::sgd(&w, &w, &conv.weight_grad(&x, &dy), RATES);
    step.exactly(wv, want_w);
    step.exactly(velocity, want_v);
    Ok(vec![inference, block, step])
}

fn dropout(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("dropout", "a rate of one half and its gradient");
    let (key, (x, dy)) = ([0x9e37_79b9, 12, 0xffff_0003, 7], (filled(MAP, 1), filled(MAP, 2)));
    let (xv, dyv) = (case.image(MAP, &x)?, case.image(MAP, &dy)?);
    let words = case.words(Shape::labels(4), &key);
    let y = case.graph.dropout(xv, words, 0.5, 3)?;
    let dx = case.gradient(y, dyv, xv)?;
    case.exactly(y, reference::half_dropped(&x, MAP[3], key, 3));
    case.exactly(dx, reference::half_dropped(&dy, MAP[3], key, 3));
    Ok(vec![case])
}

fn fill(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("fill", "a constant, one by the loss scale, and a cleared state");
    let scale = case.input(Shape::vector(4), &[3.0, 0.0, 0.0, 0.0])?;
    let state = case.state(Shape::vector(77), &integers(77, 1))?;
    let (constant, scaled) = (case.graph.fill(77, 0.75)?, case.graph.scaled_fill(77, 0.75, scale)?);
    case.graph.clear(state)?;
    case.exactly(constant, vec![0.75; 77]);
    case.exactly(scaled, vec![6.0; 77]);
    case.exactly(state, vec![0.0; 77]);
    Ok(vec![case])
}

fn limit_rms(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("limit_rms", "filters above and below the limit");
    let dims = [3, 3, 5, 6];
    let mut w = filled(dims, 1);
    w.iter_mut().skip(1).step_by(2).for_each(|w| *w /= 4.0);
    let step = case.input(vector_of_step(), &STEP)?;
    let state = case.state(Shape::filter(3, 3, 5, 6), &w)?;
    case.graph.limit_rms(step, state, 1.0)?;
    let rms = |k: usize| (w.iter().skip(k).step_by(6).map(|w| w * w).sum::<f64>() / 45.0).sqrt();
    let factors: Vec<f64> = (0..6).map(|k| (1.0 / rms(k)).min(1.0)).collect();
    case.nearly(state, w.iter().enumerate().map(|(i, w)| w * factors[i % 6]).collect());
    Ok(vec![case])
}

fn linear(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("linear", "a map of 2x3 with a bias");
    let conv = Conv { x: [3, 2, 3, 6], w: [2, 3, 6, 10], stride: 1, pad: 0, groups: 1 };
    let (x, w, bias) = (filled(conv.x, 1), filled(conv.w, 2), integers(10, 3));
    let (xv, wv) = (case.image(conv.x, &x)?, case.input(conv.filter(), &w)?);
    let biasv = case.input(Shape::vector(10), &bias)?;
    let y = case.graph.logits(xv, wv, Some(biasv))?;
    case.exactly(y, reference::biased(&conv.forward(&x, &w), &bias));
    Ok(vec![case])
}

fn loss_scale(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let finite = ("finite gradients", 1.0, [0.5, 0.5, 0.25, 0.125], [3.0, 6.0, 1.0, 0.0]);
    let infinite = ("an infinite gradient", f64::INFINITY, [0.0; 4], [2.0, 0.0, 2.0, 1.0]);
    for (what, number, rates, after) in [finite, infinite] {
        let mut case = setup.case("loss_scale", what);
        let mut x = filled(MAP, 1);
        let middle = x.len() / 2;
        x[middle] = number;
        let xv = case.image(MAP, &x)?;
        let step = case.input(vector_of_step(), &STEP)?;
        let scale = case.state(Shape::vector(4), &[3.0, 5.0, 1.0, 0.0])?;
        let y = case.graph.loss_scale(step, scale, &[xv])?;
        case.exactly(y, rates.to_vec());
        case.exactly(scale, after.to_vec());
        cases.push(case);
    }
    Ok(cases)
}

fn lrn(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for options in [
        LrnOptions { size: 5, alpha: 1.0, beta: 0.75, bias: 2.0 },
        LrnOptions { size: 4, alpha: 1.0, beta: 0.5, bias: 1.0 },
    ] {
        let what = format!("{} channels, beta {}, and its gradient", options.size, options.beta);
        let mut case = setup.case("lrn", what);
        let dims = [1, 3, 5, 11];
        let (x, dy) = (filled(dims, 1), filled(dims, 2));
        let (xv, dyv) = (case.image(dims, &x)?, case.image(dims, &dy)?);
        let y = case.graph.lrn(xv, options)?;
        let dx = case.gradient(y, dyv, xv)?;
        case.nearly(y, reference::lrn(&x, 11, options));
        case.nearly(dx, reference::lrn_dx(&x, &dy, 11, options));
        cases.push(case);
    }
    Ok(cases)
}

fn pool(setup: &Setup) -> Result<Vec<Case>> {
    let (dims, options) = ([2, 7, 9, 6], PoolOptions::square(3, 2).padded(1));
    let (to, x) = ([4, 5], filled(dims, 1));
    let small = [2, to[0], to[1], 6];
    let (dy, windows) = (filled(small, 2), reference::pool_windows(dims, to, options));

    let mut max = setup.case("pool", "the maximum of 3x3 and its gradient");
    let (xv, dyv) = (max.image(dims, &x)?, max.image(small, &dy)?);
    let y = max.graph.max_pool(xv, options)?;
    let dx = max.gradient(y, dyv, xv)?;
    max.exactly(y, reference::max_pool(&x, &windows));
    max.exactly(dx, reference::max_pool_dx(&x, &dy, &windows));

    let mut average = setup.case("pool", "the average of 3x3 and its gradient");
    let (xv, dyv) = (average.image(dims, &x)?, average.image(small, &dy)?);
    let y = average.graph.average_pool(xv, options)?;
    let dx = average.gradient(y, dyv, xv)?;
    average.nearly(y, reference::average_pool(&x, &windows, Some(9)));
    average.nearly(dx, reference::average_pool_dx(x.len(), &dy, &windows, Some(9)));

    let mut adaptive = setup.case("pool", "the adaptive average of 3x4 windows and its gradient");
    let small = [2, 3, 4, 6];
    let (dy, windows) = (filled(small, 2), reference::adaptive_windows(dims, [3, 4]));
    let (xv, dyv) = (adaptive.image(dims, &x)?, adaptive.image(small, &dy)?);
    let y = adaptive.graph.adaptive_average_pool(xv, [3, 4])?;
    let dx = adaptive.gradient(y, dyv, xv)?;
    adaptive.nearly(y, reference::average_pool(&x, &windows, None));
    adaptive.nearly(dx, reference::average_pool_dx(x.len(), &dy, &windows, None));
    Ok(vec![max, average, adaptive])
}

fn preprocess(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("preprocess", "pixels and their gradient");
    let (mean, std) = ([0.5, 0.25, 0.75], [0.25, 0.5, 0.125]);
    let pixels: Vec<u32> = (0..30).map(|i: u32| i.wrapping_mul(2_654_435_761)).collect();
    let xv = case.words(Shape::pixels(2, 3, 5), &pixels);
    let y = case.graph.preprocess(xv, mean, std, setup.precision)?;
    let dims = [2, 3, 5, 3];
    let dy = filled(dims, 1);
    let dyv = case.image(dims, &dy)?;
    let dx = case.gradient(y, dyv, xv)?;
    let [mean, std] = [mean, std].map(|v| v.map(f64::from));
    let colour = |pixel: u32, c: usize| f64::from(pixel >> (8 * c) & 255);
    let one = |pixel: u32, c: usize| (colour(pixel, c) / 255.0 - mean[c]) / std[c];
    case.nearly(y, pixels.iter().flat_map(|pixel| [0, 1, 2].map(|c| one(*pixel, c))).collect());
    case.nearly(dx, dy.iter().enumerate().map(|(i, dy)| dy / (255.0 * std[i % 3])).collect());
    Ok(vec![case])
}

fn reduce(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("reduce", "sums of 1800 rows");
    let dims = [3, 20, 30, 6];
    let x = filled(dims, 1);
    let xv = case.image(dims, &x)?;
    let y = case.graph.sum_rows(xv)?;
    case.exactly(y, reference::channel_sums(&x, 6));
    Ok(vec![case])
}

fn relu(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("relu", "with its gradient");
    let (x, dy) = (filled(MAP, 1), filled(MAP, 2));
    let (xv, dyv) = (case.image(MAP, &x)?, case.image(MAP, &dy)?);
    let y = case.graph.relu(xv)?;
    let dx = case.gradient(y, dyv, xv)?;
    case.exactly(y, reference::relu(&x));
    case.exactly(dx, reference::masked(&x, &dy));
    Ok(vec![case])
}

fn reshape(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("reshape", "2x3x8 as a vector");
    let (from, to) = ([2, 2, 3, 8], Shape::image(2, 1, 1, 48).stored_as(setup.precision));
    let x = filled(from, 1);
    let xv = case.image(from, &x)?;
    let y = case.graph.reshape(xv, to)?;
    case.exactly(y, x);
    Ok(vec![case])
}

fn sgd(setup: &Setup) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let dims = [3, 3, 5, 6];
    let [w, v, dw] = [1, 2, 3].map(|seed| filled(dims, seed));
    for (what, unscale) in [("a step", 1.0), ("a scaled step", 0.25), ("a skipped step", 0.0)] {
        let mut case = setup.case("sgd", what);
        let step = case.input(vector_of_step(), &[0.5, 0.5, 0.25, unscale])?;
        let shape = Shape::filter(3, 3, 5, 6);
        let gradient = case.input(shape, &dw)?;
        let states = [case.state(shape, &w)?, case.state(shape, &v)?];
        case.graph.sgd(step, gradient, states[0], states[1])?;
        let scaled: Vec<f64> = dw.iter().map(|dw| unscale * dw).collect();
        let after =
            if unscale > 0.0 { reference::sgd(&w, &v, &scaled, RATES) } else { [w.clone(), v.clone()] };
        states.into_iter().zip(after).for_each(|(state, want)| case.exactly(state, want));
        cases.push(case);
    }
    // The gradient of a bias comes as partial sums.
    let mut bias = setup.case("sgd", "a step with partial sums");
    let dims = [3, 20, 30, 6];
    let (dy, [w, v]) = (filled(dims, 1), [2, 3].map(|seed| integers(6, seed)));
    let step = bias.input(vector_of_step(), &STEP)?;
    let dyv = bias.image(dims, &dy)?;
    let gradient = bias.graph.sum_rows(dyv)?;
    let states = [bias.state(Shape::vector(6), &w)?, bias.state(Shape::vector(6), &v)?];
    bias.graph.sgd(step, gradient, states[0], states[1])?;
    let after = reference::sgd(&w, &v, &reference::channel_sums(&dy, 6), RATES);
    states.into_iter().zip(after).for_each(|(state, want)| bias.exactly(state, want));
    cases.push(bias);
    Ok(cases)
}

fn sgd_multi_tensor(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("sgd_multi_tensor", "five tensors in one dispatch");
    let step = case.input(vector_of_step(), &STEP)?;
    for (seed, size) in (1..).zip([5, 64, 257, 1, 30]) {
        let [w, v, dw] = [0, 10, 20].map(|more| integers(size, seed + more));
        let shape = Shape::vector(size);
        let gradient = case.input(shape, &dw)?;
        let states = [case.state(shape, &w)?, case.state(shape, &v)?];
        case.graph.sgd(step, gradient, states[0], states[1])?;
        let after = reference::sgd(&w, &v, &dw, RATES);
        states.into_iter().zip(after).for_each(|(state, want)| case.exactly(state, want));
    }
    Ok(vec![case])
}

fn slice(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("slice", "a row of three");
    let x = integers(30, 1);
    let xv = case.input(Shape::image(1, 1, 3, 10), &x)?;
    let y = case.graph.slice(xv, 1)?;
    case.exactly(y, x[10..20].to_vec());
    Ok(vec![case])
}

fn ungroup(setup: &Setup) -> Result<Vec<Case>> {
    let mut case = setup.case("ungroup", "three groups and their gradient");
    let (narrow, wide) = ([3, 2, 2, 9], [3, 2, 6, 9]);
    let (w, dy) = (filled(narrow, 1), filled(wide, 2));
    let wv = case.input(Shape::filter(3, 2, 2, 9), &w)?;
    let dyv = case.input(Shape::filter(3, 2, 6, 9), &dy)?;
    let y = case.graph.ungroup(wv, 3)?;
    let dw = case.gradient(y, dyv, wv)?;
    let (mut want, mut want_dw) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
    for i in 0..w.len() {
        let (tap, c, k) = (i / 18, i / 9 % 2, i % 9);
        let at = (tap * 6 + k / 3 * 2 + c) * 9 + k;
        (want[at], want_dw[i]) = (w[i], dy[at]);
    }
    case.exactly(y, want);
    case.exactly(dw, want_dw);
    Ok(vec![case])
}

fn vector_of_step() -> Shape {
    Shape::vector(4)
}

/// The cases of all operations, row by row.
pub(super) fn cases(setups: &[Setup]) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (_, build, has_activations) in OPERATIONS {
        for setup in setups.iter().filter(|s| has_activations || s.precision == Precision::F32) {
            cases.extend(build(setup)?);
        }
    }
    Ok(cases)
}
