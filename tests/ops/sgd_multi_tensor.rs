//! Multi-tensor SGD: steps of several small tensors in one dispatch, and the state arenas.

use super::harness::{Run, U, close, gpu};
use crate::oracle::{self, Rng};
use ocelli::kernels::KernelFamily;
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Shape, Value};

struct Tensor {
    shape: Shape,
    states: [Value; 2],
    content: [Vec<f64>; 2],
    gradient: Vec<f64>,
}

const HYPER: [f64; 4] = [0.1f32 as f64, 0.9f32 as f64, 1e-2f32 as f64, 0.25];

/// Tensors of many sizes. The gradients of some are rows of one buffer.
fn tensors(run: &mut Run, rng: &mut Rng, count: usize) -> Vec<Tensor> {
    let step = run.input(Shape::vector(4), &HYPER);
    let mut all = Vec::new();
    while all.len() < count {
        let c = 1 + 7 * all.len() % 90;
        let shape = match all.len() % 3 {
            0 => Shape::vector(c),
            1 => Shape::filter(3, 3, 3, c),
            _ => Shape::vector(4 * c),
        };
        let rows = if shape == Shape::vector(c) { 3 } else { 1 };
        let mut gradients = Vec::new();
        if rows == 1 {
            let content = rng.tensor(shape.dims()).v;
            gradients.push((run.input(shape, &content), content));
        } else {
            let content = rng.tensor([1, 1, rows, c]).v;
            let matrix = run.input(Shape::image(1, 1, rows, c), &content);
            for row in 0..rows {
                let gradient = run.graph.slice(matrix, row).unwrap();
                gradients.push((gradient, content[row * c..(row + 1) * c].to_vec()));
            }
        }
        for (dw, gradient) in gradients {
            let content = [0; 2].map(|_| rng.tensor(shape.dims()).v);
            let states = [run.state(shape, &content[0]), run.state(shape, &content[1])];
            run.graph.sgd(step, dw, states[0], states[1]).unwrap();
            all.push(Tensor { shape, states, content, gradient });
        }
    }
    all
}

#[test]
fn each_takes_its_own_step() {
    for count in [2, 5, 11, 90] {
        let mut rng = Rng(191);
        let mut run = Run::new(KernelFamily::Direct);
        let all = tensors(&mut run, &mut rng, count);
        let session = run.session(&[]);
        let entries: Vec<&str> = session.plan().dispatches().iter().map(|d| d.kernel.entry).collect();
        let calls = entries.iter().filter(|entry| **entry == "together").count();
        assert!(calls > 0 && entries.len() <= 1 + all.len() / 4, "{} tensors: {entries:?}", all.len());
        for _ in 0..2 {
            session.run().unwrap();
        }
        for Tensor { shape, states, content, gradient } in all {
            let gradient: Vec<f64> = gradient.iter().map(|g| g * HYPER[3]).collect();
            let hyper = [HYPER[0], HYPER[1], HYPER[2]];
            let [mut w, mut v] = content;
            for _ in 0..2 {
                (w, v) = oracle::sgd(&w, &v, &gradient, hyper);
            }
            for (state, want) in states.into_iter().zip([w, v]) {
                let got: Vec<f64> = session.read(state).unwrap().into_iter().map(f64::from).collect();
                close(&got, &want, 12.0 * U);
                let stored = session.read_stored(state).unwrap();
                assert_eq!(
                    stored,
                    shape.pad(&shape.unpad(&stored).unwrap()).unwrap(),
                    "the padding stays zero"
                );
            }
        }
    }
}

#[test]
fn what_is_read_behind_a_step_is_what_the_step_has_made() {
    // A step, a reader of its result, and steps of other tensors. Joining the steps must not move the first one behind
    // its reader.
    let mut run = Run::new(KernelFamily::Direct);
    let shape = Shape::vector(8);
    let step = run.input(Shape::vector(4), &[1.0, 0.0, 0.0, 1.0]);
    let one = run.input(shape, &[1.0; 8]);
    let mut state = |value: f64| run.state(shape, &[value; 8]);
    let [a, va, copy] = [state(10.0), state(0.0), state(0.0)];
    let others = [20.0, 30.0].map(|value| [state(value), state(0.0)]);
    run.graph.sgd(step, one, a, va).unwrap();
    run.graph.accumulate(a, copy).unwrap();
    for [w, v] in others {
        run.graph.sgd(step, one, w, v).unwrap();
    }
    let session = run.session(&[]);
    session.run().unwrap();
    let entries: Vec<&str> = session.plan().dispatches().iter().map(|d| d.kernel.entry).collect();
    assert!(entries.len() == 3 && entries[0] == "sgd" && entries[2] == "together", "{entries:?}");
    assert_eq!(session.read(copy).unwrap(), [9.0; 8]);
    assert_eq!(others.map(|[w, _]| session.read(w).unwrap()[0]), [19.0, 29.0]);
}

#[test]
fn what_takes_two_steps_takes_both() {
    let mut run = Run::new(KernelFamily::Direct);
    let shape = Shape::vector(8);
    let step = run.input(Shape::vector(4), &[1.0, 0.0, 0.0, 1.0]);
    let slow = run.input(Shape::vector(4), &[0.5, 0.0, 0.0, 1.0]);
    let one = run.input(shape, &[1.0; 8]);
    let mut pair = |value: f64| [value, 0.0].map(|value| run.state(shape, &[value; 8]));
    let [twice, once, last] = [10.0, 30.0, 50.0].map(|value| [pair(value), pair(value + 10.0)]);
    for [w, v] in [twice, twice, once].concat() {
        run.graph.sgd(step, one, w, v).unwrap();
    }
    // Steps with other hyper-parameters are in another dispatch.
    for [w, v] in last {
        run.graph.sgd(slow, one, w, v).unwrap();
    }
    let session = run.session(&[]);
    session.run().unwrap();
    let got: Vec<f32> =
        [twice, once, last].concat().into_iter().map(|[w, _]| session.read(w).unwrap()[7]).collect();
    assert_eq!(got, [8.0, 18.0, 29.0, 39.0, 49.5, 59.5]);
    let joined = session.plan().dispatches().iter().filter(|d| d.kernel.entry == "together").count();
    assert_eq!(joined, 2);
}

#[test]
fn a_second_plan_that_takes_steps_of_the_same_states_says_how() {
    let mut run = Run::new(KernelFamily::Direct);
    let all = tensors(&mut run, &mut Rng(193), 6);
    let first = run.session(&[]);
    let options = PlanOptions::new(KernelFamily::Direct, gpu().limits());
    let again = |options: &PlanOptions| {
        Session::new(gpu(), Plan::new(&run.graph, &[], options).unwrap(), Some(&first))
    };
    let error = again(&options).err().unwrap().to_string();
    assert!(error.contains("with_separate_sgd"), "{error}");
    let second = again(&options.with_separate_sgd()).unwrap();
    assert!(second.plan().dispatches().iter().all(|d| d.kernel.entry != "together"));
    let content = vec![3.0; all[0].shape.elements().unwrap()];
    second.write(all[0].states[0], &content).unwrap();
    assert_eq!(first.read(all[0].states[0]).unwrap(), content);
}

#[test]
fn another_session_shares_multi_tensor_states() {
    let mut rng = Rng(192);
    let mut run = Run::new(KernelFamily::Direct);
    let all = tensors(&mut run, &mut rng, 12);
    let training = run.session(&[]);
    training.run().unwrap();
    // A graph that reads some of them.
    let mut graph = ocelli::graph::Graph::new();
    let mut sums = Vec::new();
    for (i, tensor) in all.iter().enumerate().filter(|(_, t)| t.shape.dims()[0] == 1) {
        let name = run.graph.node(tensor.states[0]).unwrap().name.clone();
        let state = graph.state(name, tensor.shape);
        let sum = graph.state(format!("copy {i}"), tensor.shape);
        graph.accumulate(state, sum).unwrap();
        sums.push((tensor, sum));
    }
    assert!(sums.len() > 5);
    let plan = Plan::new(&graph, &[], &PlanOptions::new(KernelFamily::Direct, gpu().limits())).unwrap();
    let reading = Session::new(gpu(), plan, Some(&training)).unwrap();
    reading.run().unwrap();
    for (tensor, sum) in sums {
        assert_eq!(reading.read(sum).unwrap(), training.read(tensor.states[0]).unwrap());
    }
}

/// Biases and filters come in turns, each with hyperparameters of their own: each kind shares its dispatches nevertheless.
#[test]
fn steps_of_two_groups_share_a_dispatch_each() {
    let mut rng = Rng(193);
    let mut run = Run::new(KernelFamily::Direct);
    let step = run.input(Shape::vector(4), &HYPER);
    let bare = run.graph.param_group(step, 0.5, 0.0).unwrap();
    let mut all = Vec::new();
    for i in 0..20 {
        let shape = if i % 2 == 0 { Shape::filter(3, 3, 3, 5 + i) } else { Shape::vector(5 + i) };
        let [w, v, dw] = [0; 3].map(|_| rng.tensor(shape.dims()).v);
        // Five buffers of gradients at most share a dispatch.
        let gradient = run.input(shape, &dw);
        let states = [run.state(shape, &w), run.state(shape, &v)];
        run.graph.sgd(if i % 2 == 0 { step } else { bare }, gradient, states[0], states[1]).unwrap();
        all.push((states[0], w, v, dw, i % 2 == 0));
    }
    let session = run.session(&[]);
    let calls = session.plan().dispatches().iter().filter(|d| d.kernel.entry == "together").count();
    assert_eq!(calls, 4, "two groups of ten tensors, five gradients each");
    session.run().unwrap();
    for (state, w, v, dw, is_filter) in all {
        let dw: Vec<f64> = dw.iter().map(|g| g * HYPER[3]).collect();
        let hyper = if is_filter { [HYPER[0], HYPER[1], HYPER[2]] } else { [0.5 * HYPER[0], HYPER[1], 0.0] };
        let got: Vec<f64> = session.read(state).unwrap().into_iter().map(f64::from).collect();
        close(&got, &oracle::sgd(&w, &v, &dw, hyper).0, 12.0 * U);
    }
}
