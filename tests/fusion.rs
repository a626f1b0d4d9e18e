//! Fusion groups: operations in the epilogue of an earlier kernel. What they compute, and where they are not allowed.

use crate::ops::harness::{Run, products};
use crate::oracle::Rng;
use ocelli::gpu::Limits;
use ocelli::graph::Kind;
use ocelli::kernels::{ConvOptions, KernelFamily};
use ocelli::models::Arch;
use ocelli::ops::Running;
use ocelli::plan::PlanOptions;
use ocelli::tensor::{Layout, Shape, Value};
use ocelli::train::{TrainingGraph, TrainingOptions};
use std::collections::BTreeMap;

/// The number of dispatches of each kernel.
fn calls(run: &Run, outputs: &[Value]) -> BTreeMap<&'static str, usize> {
    let mut calls = BTreeMap::new();
    for dispatch in run.session(outputs).plan().dispatches() {
        *calls.entry(dispatch.kernel.name).or_default() += 1;
    }
    calls
}

fn input(run: &mut Run, rng: &mut Rng, shape: Shape) -> Value {
    run.input(shape, &rng.tensor(shape.dims()).v)
}

fn batch_norm(run: &mut Run, rng: &mut Rng, c: usize) -> ([Value; 2], Running) {
    let affine = [input(run, rng, Shape::vector(c)), input(run, rng, Shape::vector(c))];
    let mean = input(run, rng, Shape::vector(c));
    let variance = run.input(Shape::vector(c), &vec![0.7; c]);
    (affine, Running { mean, variance })
}

/// The largest difference to the results without fusion: `all` makes every intermediate value an output, so nothing
/// can be fused.
fn difference(run: &Run, wanted: &[Value], all: &[Value]) -> f64 {
    let apart = run.outputs(all);
    let mut worst = 0.0f64;
    for (value, together) in wanted.iter().zip(run.outputs(wanted)) {
        let i = all.iter().position(|v| v == value).unwrap();
        worst = together.iter().zip(&apart[i]).map(|(a, b)| (a - b).abs()).fold(worst, f64::max);
    }
    worst
}

#[test]
fn a_block_of_a_residual_network_is_one_kernel_a_convolution() {
    for product in products() {
        let mut rng = Rng(91);
        let mut run = Run::new(product);
        let x = input(&mut run, &mut rng, Shape::image(2, 5, 7, 6));
        let w = input(&mut run, &mut rng, Shape::filter(3, 3, 6, 10));
        let bias = input(&mut run, &mut rng, Shape::vector(10));
        let other = input(&mut run, &mut rng, Shape::image(2, 5, 7, 10));
        let (affine, running) = batch_norm(&mut run, &mut rng, 10);
        let y = run.graph.conv2d(x, w, Some(bias), ConvOptions::square(1, 1)).unwrap();
        let n = run.graph.batch_norm_inference(y, affine, running, 1e-5).unwrap();
        let sum = run.graph.add(other, n).unwrap();
        let out = run.graph.relu(sum).unwrap();
        let short = run.graph.relu(y).unwrap();
        assert_eq!(calls(&run, &[out]), BTreeMap::from([("batch_norm.affine", 1), ("conv2d.y", 1)]));
        // The epilogue has a multiply-add with the scale instead of a division and a product, so some roundings
        // differ.
        assert!(difference(&run, &[out], &[y, n, sum, out]) <= 1e-5);
        // With a second reader the result of the convolution must be stored.
        let two = calls(&run, &[out, short]);
        assert_eq!(two, BTreeMap::from([("conv2d.y", 1), ("batch_norm", 1), ("relu", 1)]), "{two:?}");
        assert_eq!(difference(&run, &[out, short], &[y, n, sum, out, short]), 0.0);
    }
}

#[test]
fn batch_norm_in_training_takes_the_sum_and_relu_with_it() {
    let mut rng = Rng(92);
    let mut run = Run::new(KernelFamily::Direct);
    let x = input(&mut run, &mut rng, Shape::image(3, 4, 5, 7));
    let dy = input(&mut run, &mut rng, Shape::image(3, 4, 5, 7));
    let ([gamma, beta], _) = batch_norm(&mut run, &mut rng, 7);
    let running = Running {
        mean: run.state(Shape::vector(7), &[0.0; 7]),
        variance: run.state(Shape::vector(7), &[1.0; 7]),
    };
    let n = run.graph.batch_norm_training(x, [gamma, beta], running, 1e-5, 0.1).unwrap();
    let sum = run.graph.add(n, x).unwrap();
    let out = run.graph.relu(sum).unwrap();
    let gradients = run.graph.gradients(out, dy, &[x, gamma, beta]).unwrap();
    let mut wanted = vec![out];
    wanted.extend(gradients.into_iter().map(Option::unwrap));
    let kernels = calls(&run, &wanted);
    assert!(!kernels.contains_key("relu") && kernels["batch_norm"] == 1, "{kernels:?}");
    // The only sum that is left is that of the two gradients of x.
    assert_eq!(kernels["add"], 1);
    let all = [&wanted[..], &[n, sum]].concat();
    assert_eq!(difference(&run, &wanted, &all), 0.0);
}

#[test]
fn the_gradient_of_relu_and_of_a_shortcut_come_with_that_of_a_convolution() {
    for (product, stride, groups) in
        products().into_iter().flat_map(|p| [(p, 1, 1), (p, 2, 1), (p, 3, 2), (p, 1, 2)])
    {
        let mut rng = Rng(95);
        let mut run = Run::new(product);
        let x = input(&mut run, &mut rng, Shape::image(2, 7, 6, 8));
        let options = ConvOptions { groups, ..ConvOptions::square(stride, 1) };
        let w = [3, 3].map(|r| input(&mut run, &mut rng, Shape::filter(r, r, 8 / groups, 16)));
        let positive = run.graph.relu(x).unwrap();
        let branches = w.map(|w| run.graph.conv2d(positive, w, None, options).unwrap());
        let out = run.graph.add(branches[0], branches[1]).unwrap();
        let shape = run.graph.shape(out).unwrap();
        let dy = input(&mut run, &mut rng, shape);
        let dx = run.graph.gradients(out, dy, &[x]).unwrap()[0].unwrap();
        let kernels = calls(&run, &[dx]);
        assert!(kernels.keys().all(|name| ["relu", "conv2d.dx"].contains(name)), "{kernels:?}");
        let gradient = |v: &Value| {
            let node = run.graph.node(*v).unwrap();
            node.kind == Kind::Gradient && node.shape.layout() == Layout::Image
        };
        let all: Vec<Value> = run.graph.values().filter(gradient).collect();
        assert!(all.len() >= 4 && all.contains(&dx), "{all:?}");
        assert_eq!(difference(&run, &[dx], &all), 0.0, "{product:?} stride {stride} groups {groups}");
    }
}

#[test]
fn a_training_step_of_a_residual_network_has_no_pass_for_relu_but_the_last() {
    for product in products() {
        let arch = Arch::find("resnet50").unwrap();
        let graph = TrainingGraph::new(arch, &arch.settings(2), TrainingOptions::default()).unwrap();
        let plan = graph.plan(&PlanOptions::new(product, Limits::WEBGPU)).unwrap();
        let count = |name| plan.dispatches().iter().filter(|d| d.kernel.name == name).count();
        // ReLU follows the max-pooling of the first layer, and its gradient the average over the last map.
        assert_eq!([count("relu"), count("relu.dx"), count("add")], [1, 1, 0], "{product:?}");
    }
}

#[test]
fn the_weights_of_a_fully_connected_layer_take_their_step_in_the_kernel_of_its_gradient() {
    // One pixel; a map that becomes one pixel; many images and few weights. In the last case k is split, and SGD is a
    // kernel of its own.
    let cases = [([3, 1, 1, 20], 13, true), ([5, 2, 3, 7], 66, true), ([200, 1, 1, 8], 4, false)];
    for (product, (d, k, together)) in products().into_iter().flat_map(|p| cases.map(|case| (p, case))) {
        let mut rng = Rng(96);
        let mut run = Run::new(product);
        let x = input(&mut run, &mut rng, Shape::image(d[0], d[1], d[2], d[3]));
        let dy = input(&mut run, &mut rng, Shape::image(d[0], 1, 1, k));
        let shape = Shape::filter(d[1], d[2], d[3], k);
        let [w, v] = [0; 2].map(|_| run.state(shape, &rng.tensor(shape.dims()).v));
        let step = run.input(Shape::vector(4), &[0.1, 0.9, 1e-2, 0.25]);
        let y = run.graph.linear(x, w, None).unwrap();
        let gradients = run.graph.gradients(y, dy, &[x, w]).unwrap();
        let [dx, dw] = [gradients[0].unwrap(), gradients[1].unwrap()];
        run.graph.sgd(step, dw, w, v).unwrap();
        assert_eq!(!calls(&run, &[y, dx]).contains_key("sgd"), together, "{d:?} {product:?}");
        assert!(calls(&run, &[y, dx, dw]).contains_key("sgd"));
        let after = |outputs: &[Value]| {
            let session = run.session(outputs);
            let results = [0; 2].map(|_| {
                session.run().unwrap();
                [y, dx].map(|value| session.output(value).unwrap())
            });
            (results, [w, v].map(|state| session.read_stored(state).unwrap()))
        };
        // Two steps. All readers of the weights run before the update.
        assert_eq!(after(&[y, dx]), after(&[y, dx, dw]), "{d:?} {product:?}");
    }
}

#[test]
fn what_a_gradient_is_the_sum_of_is_added_up_in_the_step_of_sgd() {
    for product in products() {
        let mut rng = Rng(97);
        let mut run = Run::new(product);
        let x = input(&mut run, &mut rng, Shape::image(4, 15, 14, 5));
        let dy = input(&mut run, &mut rng, Shape::image(4, 15, 14, 7));
        let step = run.input(Shape::vector(4), &[0.1, 0.9, 1e-2, 0.25]);
        let [filter, vector] = [Shape::filter(3, 3, 5, 7), Shape::vector(7)];
        let mut state = |shape: Shape| [0; 2].map(|_| run.state(shape, &rng.tensor(shape.dims()).v));
        // Weights, bias, gamma, beta: each with its velocity.
        let states = [filter, vector, vector, vector].map(&mut state);
        let [[w, _], [bias, _], [gamma, _], [beta, _]] = states;
        let [mean, variance] = state(vector);
        let y = run.graph.conv2d(x, w, Some(bias), ConvOptions::square(1, 1)).unwrap();
        let running = Running { mean, variance };
        let n = run.graph.batch_norm_training(y, [gamma, beta], running, 1e-5, 0.1).unwrap();
        let gradients = run.graph.gradients(n, dy, &[w, bias, gamma, beta]).unwrap();
        let gradients: Vec<Value> = gradients.into_iter().flatten().collect();
        for (gradient, [w, v]) in gradients.iter().zip(states) {
            run.graph.sgd(step, *gradient, w, v).unwrap();
        }
        // What is left is the reduction of chunks for the bias gradient.
        let [together, apart] = [calls(&run, &[]), calls(&run, &gradients)];
        let count = |calls: &BTreeMap<&str, usize>| ["slice", "reduce"].map(|name| calls.get(name).copied());
        assert_eq!(count(&together), [None, Some(1)], "{product:?}");
        assert_eq!(count(&apart), [Some(2), Some(3)], "{product:?}");
        let after = |outputs: &[Value]| {
            let session = run.session(outputs);
            session.poison().unwrap();
            for _ in 0..2 {
                session.run().unwrap();
            }
            states.map(|pair| pair.map(|state| session.read_stored(state).unwrap()))
        };
        assert_eq!(after(&[]), after(&gradients), "{product:?}");
    }
}

#[test]
fn a_fused_result_can_lie_in_a_slice() {
    for product in products() {
        let mut rng = Rng(93);
        let mut run = Run::new(product);
        let x = input(&mut run, &mut rng, Shape::image(2, 3, 4, 8));
        let mut parts = Vec::new();
        let mut steps = Vec::new();
        for k in [4, 12, 9] {
            let w = input(&mut run, &mut rng, Shape::filter(1, 1, 8, k));
            let y = run.graph.conv2d(x, w, None, ConvOptions::square(1, 0)).unwrap();
            parts.push(run.graph.relu(y).unwrap());
            steps.extend([y, parts[parts.len() - 1]]);
        }
        let out = run.graph.concat(&parts).unwrap();
        assert_eq!(calls(&run, &[out]), BTreeMap::from([("conv2d.y", 3)]));
        steps.push(out);
        assert_eq!(difference(&run, &[out], &steps), 0.0);
    }
}

#[test]
fn what_an_update_changes_on_the_way_is_not_read_later() {
    // The sum comes after an update of the weights that the GEMM reads, either directly or reshaped.
    for map in [1, 2] {
        let mut rng = Rng(94);
        let mut run = Run::new(KernelFamily::Direct);
        let x = input(&mut run, &mut rng, Shape::image(1, map, map, 4));
        let shape = Shape::filter(map, map, 4, 4);
        let content = rng.tensor(shape.dims()).v;
        let w = run.state(shape, &content);
        let more = run.input(shape, &content);
        let y = run.graph.linear(x, w, None).unwrap();
        run.graph.accumulate(more, w).unwrap();
        let z = run.graph.linear(x, more, None).unwrap();
        let sum = run.graph.add(y, z).unwrap();
        let session = run.session(&[sum]);
        session.run().unwrap();
        let got = session.output(sum).unwrap();
        assert_eq!(got[0], 2.0 * run.outputs(&[z])[0][0] as f32);
        let plain = run.session(&[y, sum]);
        plain.run().unwrap();
        assert_eq!(got, plain.output(sum).unwrap());
        let twice: Vec<f32> = content.iter().map(|v| 2.0 * *v as f32).collect();
        assert_eq!(session.read(w).unwrap(), twice);
    }
}
