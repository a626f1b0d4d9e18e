//! Numbers that overflow: no kernel turns them into others that look fine, and nothing gives them away as a result.

use crate::activations::at_once;
use crate::cli::fails;
use crate::ops::harness::{each, gpu};
use crate::oracle::Rng;
use crate::support::fixtures::{folder, write_pictures};
use ocelli::data::{Augment, Folder, Last, Loader, LoaderOptions, Normalization, Preprocessing, Split};
use ocelli::graph::Graph;
use ocelli::infer::{ActivationRecorder, InferenceStep, check_logits};
use ocelli::kernels::ConvOptions;
use ocelli::models::{Arch, Init, Mode, Parameter, Settings};
use ocelli::ops::{PoolOptions, Running};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Precision, Shape, Value};
use ocelli::train::{Control, EvaluationStep, Evaluator, transfer};
use ocelli::weights::{Metadata, Weights, write};
use ocelli::{Classifier, ClassifierOptions, Error};
use std::path::Path;
use std::sync::Arc;

/// What an operation makes of numbers, one picture of 4x4 with one channel.
fn computed(
    precision: Precision,
    numbers: &[f32; 16],
    build: impl FnOnce(&mut Graph, Value) -> (Value, Vec<(Value, Vec<f32>)>),
) -> Vec<f32> {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 4, 4, 1).stored_as(precision));
    let (y, states) = build(&mut graph, x);
    let session =
        Session::new(gpu(), Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu())).unwrap(), None).unwrap();
    session.write(x, numbers).unwrap();
    for (state, content) in states {
        session.write(state, &content).unwrap();
    }
    session.run().unwrap();
    session.output(y).unwrap()
}

#[test]
fn nan_stays_nan_and_infinity_does_not_vanish() {
    let mut numbers = [-1.5, 2.0, 0.0, -0.0, 1.0, -3.0, 4.0, 0.5, -1.0, 7.0, 8.0, -9.0, 0.25, 6.0, -7.0, 3.0];
    (numbers[1], numbers[6], numbers[11]) = (f32::NAN, -f32::NAN, f32::INFINITY);
    numbers[12] = f32::NEG_INFINITY;
    let rectified = numbers.map(|x| if x > 0.0 || x.is_nan() { x } else { 0.0 });
    let same = |got: &[f32], want: &[f32], what: &str| {
        let kind = |x: &f32| if x.is_nan() { "NaN".to_owned() } else { format!("{}", x + 0.0) };
        let [got, want] = [got, want].map(|x| x.iter().map(kind).collect::<Vec<_>>());
        assert_eq!(got, want, "{what}");
    };
    for (precision, ()) in each([()]) {
        let relu = computed(precision, &numbers, |g, x| (g.relu(x).unwrap(), Vec::new()));
        same(&relu, &rectified, "relu");
        let one = ConvOptions { stride: [1, 1], pad: [0, 0], groups: 1 };
        let fused = computed(precision, &numbers, |g, x| {
            let w = g.state("w", Shape::filter(1, 1, 1, 1));
            let y = g.conv2d(x, w, None, one).unwrap();
            (g.relu(y).unwrap(), vec![(w, vec![1.0])])
        });
        same(&fused, &rectified, "relu in the kernel of a convolution");
        let fused = computed(precision, &numbers, |g, x| {
            let [scale, shift, mean, variance] = ["a", "b", "c", "d"].map(|n| g.state(n, Shape::vector(1)));
            let y = g.batch_norm_inference(x, [scale, shift], Running { mean, variance }, 0.0).unwrap();
            let states =
                vec![(scale, vec![1.0]), (shift, vec![0.0]), (mean, vec![0.0]), (variance, vec![1.0])];
            (g.relu(y).unwrap(), states)
        });
        same(&fused, &rectified, "relu in the kernel of batch norm");
        let pooled = computed(precision, &numbers, |g, x| {
            (g.max_pool(x, PoolOptions::square(2, 2)).unwrap(), Vec::new())
        });
        same(&pooled, &[f32::NAN, f32::NAN, 7.0, f32::INFINITY], "max_pool");
    }
}

/// First weights; those of layer `huge` are so many times as large, up to what f32 holds.
fn fill(session: &Session, parameters: &[Parameter], huge: Option<(usize, f32)>) {
    for (i, parameter) in parameters.iter().enumerate() {
        let mut numbers = parameter.initial(5, i, Some(Init::He));
        if let Some((layer, times)) = huge
            && layer == i
        {
            numbers.iter_mut().for_each(|x| *x = (*x * times).clamp(f32::MIN, f32::MAX));
        }
        session.write(parameter.value, &numbers).unwrap();
    }
}

/// Convolutions, ReLU and pooling without normalisation, where a maximum could turn NaN into 0.
#[test]
fn weights_that_overflow_in_any_layer_give_no_logits() {
    for (precision, ()) in each([()]) {
        let mut graph = Graph::new();
        let same = ConvOptions { stride: [1, 1], pad: [1, 1], groups: 1 };
        let x = graph.input("x", Shape::image(1, 8, 8, 4).stored_as(precision));
        let shapes = [Shape::filter(3, 3, 4, 8), Shape::filter(3, 3, 8, 8), Shape::filter(3, 3, 8, 8)];
        let mut weights: Vec<Value> = Vec::new();
        let mut y = x;
        for (i, shape) in shapes.into_iter().enumerate() {
            weights.push(graph.state(format!("w{i}"), shape));
            y = graph.conv2d(y, weights[i], None, same).unwrap();
            y = graph.relu(y).unwrap();
            if i < 2 {
                y = graph.max_pool(y, PoolOptions::square(2, 2)).unwrap();
            }
        }
        let pooled = graph.global_average_pool(y).unwrap();
        weights.push(graph.state("fc", Shape::filter(1, 1, 8, 5)));
        let logits = graph.logits(pooled, weights[3], None).unwrap();
        let plan = Plan::new(&graph, &[logits], &PlanOptions::for_gpu(&gpu())).unwrap();
        let session = Session::new(gpu(), plan, None).unwrap();
        let mut rng = Rng(77);
        session.write(x, &rng.tensor([1, 8, 8, 4]).v.iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap();
        let said = |huge: Option<usize>| {
            let mut rng = Rng(78);
            for (i, weight) in weights.iter().enumerate() {
                let scale = if huge == Some(i) { f32::MAX } else { 0.5 };
                let numbers = rng.tensor(graph.shape(*weight).unwrap().dims()).v;
                let numbers: Vec<f32> =
                    numbers.iter().map(|x| (*x as f32).clamp(-1.0, 1.0) * scale).collect();
                session.write(*weight, &numbers).unwrap();
            }
            session.run().unwrap();
            check_logits(&session.output(logits).unwrap(), 5)
        };
        said(None).unwrap();
        for layer in 0..weights.len() {
            let error = said(Some(layer)).expect_err(&format!("layer {layer}, {precision:?}"));
            assert!(matches!(error, Error::Data(_)) && error.to_string().contains("overflow"), "{error}");
        }
    }
}

#[test]
fn a_look_inside_shows_no_numbers_that_overflow() {
    let arch = Arch::find("resnet20").unwrap();
    let network = arch.network(&arch.settings(1), Mode::Inference).unwrap();
    let step = InferenceStep::new(&gpu(), network, &PlanOptions::for_gpu(&gpu())).unwrap();
    fill(step.session(), step.parameters(), Some((0, f32::MAX)));
    let inside = at_once(ActivationRecorder::new(&step)).unwrap();
    let pixels = [99; 32 * 32 * 4];
    inside.run(&pixels).unwrap();
    let error = at_once(inside.activations(step.layers().len() - 1)).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("layer "), "{error}");
    assert!(at_once(inside.activations(0)).is_ok(), "the prepared picture");
    let error = at_once(step.logits(&step.start(&pixels).unwrap())).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error}");
}

/// A file of resnet20 whose first layer overflows for everything but black, which normalisation makes 0.
fn overflowing(path: &Path) {
    let arch = Arch::find("resnet20").unwrap();
    let settings = Settings { classes: 3, ..arch.settings(1) };
    let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
    fill(step.session(), step.parameters(), Some((0, f32::MAX)));
    let metadata = Metadata {
        arch: "resnet20".to_owned(),
        classes: ["class0", "class1", "class2"].map(str::to_owned).to_vec(),
        input: [32, 32, 3],
        preprocessing: Preprocessing::covering(Normalization { mean: [0.0; 3], std: [1.0 / 64.0; 3] }),
    };
    let tensors = transfer::save(step.session(), step.parameters().iter()).unwrap();
    write(path, &Weights { tensors, metadata: Some(metadata) }).unwrap();
}

#[test]
fn the_program_prints_no_class_of_numbers_that_overflow_and_names_the_picture() {
    let folder = folder();
    let here = folder.path();
    overflowing(&here.join("huge.safetensors"));
    write_pictures(&here.join("data"), 3, 1, 2, 32);
    let picture = std::fs::read_dir(here.join("data/val")).unwrap().map(|e| e.unwrap().path()).min().unwrap();
    let picture = std::fs::read_dir(picture).unwrap().next().unwrap().unwrap().path();
    let picture = picture.strip_prefix(here).unwrap().to_str().unwrap();
    let weights = ["--weights", "huge.safetensors", "--quiet"];
    for more in [&[][..], &["--json"], &["--json", "--logits"]] {
        let arguments = [&["predict", picture][..], &weights, more].concat();
        fails(here, &arguments, 65, &[picture, "overflow", "ocelli inspect"]);
    }
    let arguments = [&["eval", "--data", "data", "--batch-size", "4"][..], &weights].concat();
    fails(here, &arguments, 65, &["class0", "overflow"]);
}

#[test]
fn places_of_a_batch_without_a_picture_do_not_count() {
    let folder = folder();
    let file = folder.path().join("huge.safetensors");
    overflowing(&file);
    let four = || ClassifierOptions { batch_size: 4, ..ClassifierOptions::default() };
    let classifier = Classifier::open(&gpu(), &file, four()).unwrap();
    let black = ocelli::data::Picture::from_rgba(32, 32, vec![0; 32 * 32 * 4]).unwrap();
    let grey = ocelli::data::Picture::from_rgba(32, 32, vec![99; 32 * 32 * 4]).unwrap();
    let good = classifier.logits(std::slice::from_ref(&black)).unwrap();
    assert!(good[0].iter().all(|x| x.is_finite()));
    let error = classifier.logits(&[black.clone(), grey.clone(), black.clone()]).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().starts_with("picture 1: "), "{error}");
    let error = classifier.logits(&[&vec![black.clone(); 5][..], &[grey]].concat()).unwrap_err();
    assert!(error.to_string().starts_with("picture 5: "), "counted over all batches: {error}");
    assert_eq!(classifier.logits(&[black]).unwrap(), good, "an overflow breaks nothing");

    // The last batch of an evaluation has two pictures of four.
    write_pictures(&folder.path().join("data"), 3, 1, 2, 32);
    let set = Arc::new(Folder::open(folder.path().join("data"), Split::Val).unwrap());
    let options = LoaderOptions {
        batch_size: 4,
        size: [32, 32],
        preprocessing: classifier.metadata().preprocessing,
        augment: Augment::NONE,
        shuffle: false,
        balance: false,
        seed: 0,
        limit: None,
        last: Last::Keep,
    };
    let loader = Loader::new(set, options).unwrap();
    let evaluator = Evaluator::open(&gpu(), &file, four()).unwrap();
    let error = evaluator.evaluate(&loader, &mut |_| Control::Continue).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("class0"), "{error}");
}
