//! A look inside a network: its layers are those of the graph, and hold what the graph computes where nothing is left out.

use crate::ops::harness::gpu;
use ocelli::graph::Source;
use ocelli::infer::{ActivationRecorder, Filters, InferenceStep};
use ocelli::models::{Arch, Init, Mode, Network, Settings};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Layout, Value};
use std::cell::Cell;

/// The future of something that does not wait here.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("a future that waits"),
    }
}

fn network(name: &str, size: usize) -> Network {
    batch(name, size, 1)
}

fn batch(name: &str, size: usize, pictures: usize) -> Network {
    let arch = Arch::find(name).unwrap();
    let settings = Settings { size: [size; 2], classes: 7, ..arch.settings(pictures) };
    arch.network(&settings, Mode::Inference).unwrap()
}

/// First weights, and running statistics that change something.
fn fill(sessions: &[&Session], network: &Network) {
    for (i, parameter) in network.parameters.iter().enumerate() {
        let mut numbers = parameter.initial(3, i, Some(Init::He));
        if !parameter.trained || parameter.torch_shape.len() == 1 {
            let wave = |(j, x): (usize, &mut f32)| *x += 0.3 * ((i + 3 * j) as f32).sin().abs();
            numbers.iter_mut().enumerate().for_each(wave);
        }
        for session in sessions.iter().filter(|session| session.has(parameter.value)) {
            session.write(parameter.value, &numbers).unwrap();
        }
    }
}

fn pixels(size: usize) -> Vec<u8> {
    (0..(size * size * 4) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn step(name: &str, size: usize) -> (Network, InferenceStep) {
    let network = network(name, size);
    let step = InferenceStep::new(&gpu(), network.clone(), &PlanOptions::for_gpu(&gpu())).unwrap();
    fill(&[step.session()], &network);
    (network, step)
}

/// Activations that an operation of the graph computes.
fn computed(network: &Network) -> Vec<Value> {
    let graph = &network.graph;
    let nodes = graph.values().zip(graph.nodes());
    nodes
        .filter(|(_, node)| match &node.source {
            Source::Op(op) => node.shape.layout() == Layout::Image && !op.traits().is_reshape(),
            _ => false,
        })
        .map(|(value, _)| value)
        .collect()
}

/// ||a - b|| / ||b||.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = a.iter().zip(b);
    norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)))
        / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-30)
}

#[test]
fn each_layer_holds_what_the_graph_computes_where_every_operation_is_one_of_its_own() {
    for (name, size) in [
        ("resnet20", 32),
        ("preresnet110", 16),
        ("googlenet", 32),
        ("googlenet-tv", 64),
        ("vgg11-bn", 32),
        ("alexnet", 67),
        ("zfnet", 64),
        ("resnet50", 32),
    ] {
        let network = network(name, size);
        let step = InferenceStep::new(&gpu(), network.clone(), &PlanOptions::for_gpu(&gpu())).unwrap();
        // The same graph with all values as outputs: nothing is done in the kernel of something else.
        let all = computed(&network);
        let plan = Plan::new(&network.graph, &all, &PlanOptions::for_gpu(&gpu())).unwrap();
        let apart = Session::new(gpu(), plan, None).unwrap();
        assert!(apart.plan().steps().iter().all(|step| step.members.len() == 1));
        fill(&[step.session(), &apart], &network);

        let logits = || at_once(step.logits(&step.start(&pixels(size)).unwrap())).unwrap();
        let before = logits();

        apart.write_stored(network.pixels, &pixels(size)).unwrap();
        apart.run().unwrap();

        let inside = at_once(ActivationRecorder::new(&step)).unwrap();
        inside.run(&pixels(size)).unwrap();
        let layers = step.layers();
        let mut worst = 0.0f64;
        for (i, layer) in layers.iter().enumerate() {
            let got = at_once(inside.activations(i)).unwrap();
            let [h, w, c] = layer.shape;
            assert_eq!(got.len(), h * w * c, "{name} {layer:?}");
            let named = |v: &&Value| network.graph.node(**v).unwrap().name == layer.output;
            let value = *all.iter().rfind(named).unwrap();
            assert_eq!(network.graph.shape(value).unwrap().dims(), [1, h, w, c], "{name} {layer:?}");
            assert!(got.iter().any(|x| *x != 0.0), "{name} {}: nothing but zeros", layer.name);
            let off = difference(&got, &apart.output(value).unwrap());
            assert!(off < 1e-5, "{name} {}: {off:e} off", layer.name);
            worst = worst.max(off);
        }
        println!("{name}: {} layers of {} operations, {worst:.1e} off", layers.len(), all.len());

        let last = layers.len() - 1;
        assert_eq!(
            at_once(inside.activations(last)).unwrap(),
            before,
            "{name}: the last layer is the logits"
        );
        assert_eq!(logits(), before, "{name}: a look changes nothing");
        assert_eq!([layers[0].operations[0], layers[0].name.as_str()], ["preprocess", "input"]);
        let trained = network.parameters.iter().filter(|p| p.trained);
        let trained: u64 = trained.map(|p| p.shape.elements().unwrap() as u64).sum();
        assert_eq!(layers.iter().map(|l| l.parameters).sum::<u64>(), trained, "{name}");
        assert_eq!(layers.iter().map(|l| l.macs).sum::<u64>(), step.session().plan().macs(), "{name}");
        assert!(at_once(inside.activations(layers.len())).is_err());
    }
}

#[test]
fn a_layer_whose_weights_are_kept_in_pieces_is_one() {
    let step = InferenceStep::new(&gpu(), network("vgg11", 224), &PlanOptions::for_gpu(&gpu())).unwrap();
    let layers = step.layers();
    let names: Vec<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(names, once);
    let first = layers.iter().find(|l| l.name == "classifier.0").unwrap();
    assert_eq!((first.shape, first.parameters), ([1, 1, 4096], 25_088 * 4096 + 4096));
    assert_eq!(first.macs, 25_088 * 4096);
}

#[test]
fn multiply_adds_are_those_of_one_picture() {
    let of = |pictures| {
        let options = PlanOptions::for_gpu(&gpu());
        let step = InferenceStep::new(&gpu(), batch("resnet20", 32, pictures), &options).unwrap();
        step.layers().iter().map(|l| l.macs).collect::<Vec<_>>()
    };
    let one = of(1);
    assert!(one.iter().sum::<u64>() > 0);
    assert_eq!(of(3), one);
}

#[test]
fn the_first_filters_are_those_of_the_first_convolution() {
    let (network, step) = step("resnet18", 32);
    let Filters { layer, shape, data } = at_once(step.filters()).unwrap().unwrap();
    assert_eq!((layer.as_str(), shape), ("conv1", [64, 7, 7, 3]));
    let parameter = &network.parameters[0];
    assert_eq!(parameter.name, "conv1.weight");
    let weights = parameter.initial(3, 0, Some(Init::He));
    for (k, r, s, c) in [(0, 0, 0, 0), (63, 6, 6, 2), (5, 1, 4, 2), (17, 3, 0, 1)] {
        assert_eq!(data[((k * 7 + r) * 7 + s) * 3 + c], weights[((r * 7 + s) * 3 + c) * 64 + k]);
    }
}

#[test]
fn the_time_of_each_call_is_that_of_one_layer() {
    let (network, step) = step("googlenet", 32);
    step.start(&pixels(32)).unwrap();
    // A clock that ticks whenever it is looked at: twice an operation that has a kernel.
    let ticks = Cell::new(0);
    let clock = || {
        ticks.set(ticks.get() + 1);
        f64::from(ticks.get())
    };
    let times = at_once(step.session().time_steps_waiting(&clock)).unwrap();
    let with_kernel = f64::from(ticks.get()) / 2.0;
    assert!((times.iter().sum::<f64>() - with_kernel).abs() < 1e-9);
    assert!(times.iter().all(|ms| *ms == 0.0 || (*ms - 1.0).abs() < 1e-9), "{times:?}");

    // One tick for each step that has a kernel: each counts for one layer and no other.
    let ticks: Vec<f64> = times.iter().map(|ms| ms.round()).collect();
    let by_layer = step.by_layer(&ticks);
    assert_eq!(by_layer.iter().sum::<f64>(), with_kernel);
    let steps = step.session().plan().steps();
    let alone = |i: usize| {
        let mut one = vec![0.0; steps.len()];
        one[i] = 1.0;
        step.by_layer(&one)
    };
    let mut convolutions = 0;
    for (i, tick) in ticks.iter().enumerate() {
        let owners: Vec<usize> = (0..).zip(alone(i)).filter(|(_, ms)| *ms > 0.0).map(|(at, _)| at).collect();
        assert!(owners.len() <= 1 && owners.len() >= *tick as usize, "step {i} is one of {owners:?}");
        let head = network.graph.node(steps[i].members[0]).unwrap();
        if matches!(&head.source, Source::Op(op) if op.name() == "conv2d") {
            let owner = owners[0];
            assert_eq!((step.layers()[owner].name.as_str(), by_layer[owner]), (head.name.as_str(), 1.0));
            convolutions += 1;
        }
    }
    assert!(convolutions > 50, "{convolutions} convolutions");

    let (_, times) = at_once(step.time_layers(&clock)).unwrap();
    assert_eq!(times.len(), step.layers().len());
    assert!(times.iter().all(|ms| ms.is_finite() && *ms >= 0.0), "{times:?}");
    let whole: f64 = times.iter().sum();
    assert!(whole > 0.0);
    // Every convolution takes some time.
    for (layer, ms) in step.layers().iter().zip(&times) {
        assert!(layer.macs == 0 || *ms > 0.0, "{}: {ms} ms", layer.name);
    }
}

#[test]
fn what_the_adapter_does_not_allow_is_an_error_and_the_device_goes_on() {
    let gpu = gpu();
    let failed = at_once(gpu.if_memory_suffices(|| gpu.buffer("too large", u64::MAX / 2)));
    assert!(failed.is_err());
    let made = at_once(gpu.if_memory_suffices(|| gpu.buffer("small", 64))).unwrap();
    gpu.write(&made, &[7; 64]).unwrap();
    assert_eq!(at_once(gpu.download_async(&made, 64)).unwrap(), [7; 64]);
}
