//! Fifty steps with every option of optimiser, loss and fine-tuning, against PyTorch in double precision. `recipes.py` made the
//! numbers.

use crate::ops::harness::gpu;
use ocelli::models::{Arch, Conv, Frozen, Init, Mode, Network, Settings};
use ocelli::tensor::Precision;
use ocelli::train::{EvaluationStep, Hyper, Target, TrainingOptions, TrainingStep, transfer};
use ocelli::weights::{InMemory, Tensor};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const BATCH: usize = 16;
const SIZE: usize = 8;
const CLASSES: usize = 5;
const BATCHES: usize = 4;

fn settings() -> Settings {
    let arch = Arch::find("resnet20").unwrap();
    let settings = arch.settings(BATCH);
    Settings {
        size: [SIZE; 2],
        classes: CLASSES,
        mean: [0.5; 3],
        std: [0.25; 3],
        precision: Precision::F32,
        ..settings
    }
}

fn network(mode: Mode, frozen: &Frozen) -> Network {
    Network::build_with_frozen(&settings(), mode, frozen, |b, x| {
        let x = b.conv("conv1", x, Conv { filters: 8, kernel: 3, pad: 1, ..Conv::default() })?;
        let x = b.batch_norm("bn1", x, 1e-5)?;
        let x = b.relu("relu1", x)?;
        let x = b.conv("conv2", x, Conv { filters: 12, kernel: 3, stride: 2, pad: 1, ..Conv::default() })?;
        let x = b.batch_norm("bn2", x, 1e-5)?;
        let x = b.relu("relu2", x)?;
        let x = b.graph.layer("pool").global_average_pool(x)?;
        b.logits("fc", x, Init::He, 0.0)
    })
    .unwrap()
}

/// The pixels of `recipes.py` as RGBA.
fn pixels(batch: usize) -> Vec<u8> {
    let mut state = 1 + batch as u64;
    let mut rgba = Vec::new();
    for _ in 0..BATCH * SIZE * SIZE {
        for _ in 0..3 {
            state = (state * 1_103_515_245 + 12345) % (1 << 31);
            rgba.push((state >> 16 & 255) as u8);
        }
        rgba.push(255);
    }
    rgba
}

fn labels(batch: usize) -> Vec<u32> {
    (0..BATCH).map(|i| ((3 * i * i + i / 3 + batch) % CLASSES) as u32).collect()
}

fn targets(batch: usize, case: &Value) -> Vec<Target> {
    let labels = labels(batch);
    let weight = |label: u32| case["weights"][label as usize].as_f64().unwrap_or(1.0) as f32;
    (0..BATCH)
        .map(|i| {
            let share = if case["mixed"] == true { (i % 5) as f32 / 10.0 } else { 0.0 };
            let (label, second) = (labels[i], labels[(i + BATCH - 1) % BATCH]);
            let weight = (1.0 - share) * weight(label) + share * weight(second);
            Target { label, second, share, weight }
        })
        .collect()
}

fn frozen(case: &Value) -> Frozen {
    let mut tensors = BTreeSet::new();
    for layer in case["frozen"].as_array().into_iter().flatten() {
        let layer = layer.as_str().unwrap();
        tensors.extend(["weight", "bias"].map(|part| format!("{layer}.{part}")));
    }
    Frozen { tensors, statistics: case["statistics"] == true }
}

fn options(case: &Value) -> TrainingOptions {
    let number = |key: &str| case[key].as_f64().map(|x| x as f32);
    TrainingOptions::default()
        .with_nesterov(case["nesterov"] == true)
        .with_bias_decay(case["bias_decay"] != false)
        .with_label_smoothing(number("smoothing").unwrap_or(0.0))
        .with_soft_targets(case["mixed"] == true || case["weights"].is_array())
        .with_clip_norm(number("clip"))
        .with_averages(number("average").is_some())
        .with_body_rate(number("body").unwrap_or(1.0))
        .with_frozen(frozen(case))
}

fn weights(golden: &Value) -> BTreeMap<String, Tensor> {
    let tensor = |value: &Value| {
        let list = |key: &str| value[key].as_array().unwrap().clone();
        let shape = list("shape").iter().map(|x| x.as_u64().unwrap() as usize).collect();
        let data = list("values").iter().map(|x| x.as_f64().unwrap() as f32).collect();
        Tensor { shape, data }
    };
    golden["weights"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), tensor(value))).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Bits of all weights, by name.
fn bits(step: &TrainingStep) -> BTreeMap<String, Vec<u32>> {
    let bits = |tensor: Tensor| tensor.data.into_iter().map(f32::to_bits).collect();
    step.weights().unwrap().into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// Runs a case and returns the largest relative error of a loss.
fn run(golden: &Value, name: &str) -> f64 {
    let case = &golden["cases"][name]["options"];
    let number = |key: &str| golden[key].as_f64().unwrap() as f32;
    let frozen = frozen(case);
    let step = TrainingStep::of_network(&gpu(), network(Mode::Training, &frozen), options(case)).unwrap();
    let first = weights(golden);
    step.load(&InMemory::new(&first), 0).unwrap();
    let before = bits(&step);
    let mut worst = 0.0f64;
    for (i, want) in numbers(&golden["cases"][name]["loss"]).into_iter().enumerate() {
        let decay = case["average"].as_f64().unwrap_or(0.0).min((1 + i) as f64 / (10 + i) as f64);
        let hyper = Hyper {
            lr: number("lr"),
            momentum: number("momentum"),
            weight_decay: number("weight_decay"),
            average_share: (1.0 - decay) as f32,
            ..Hyper::default()
        };
        let started = step.start_with(&pixels(i % BATCHES), &targets(i % BATCHES, case), &hyper).unwrap();
        let outcome = step.finish(started).unwrap();
        let loss = outcome.loss.iter().map(|x| f64::from(*x)).sum::<f64>() / BATCH as f64;
        worst = worst.max((loss - want).abs() / want);
    }
    for (name, after) in bits(&step) {
        let layer = name.rsplit_once('.').unwrap().0;
        let keeps = frozen.tensors.contains(&format!("{layer}.weight"));
        let is_statistic = name.contains("running");
        let kept = keeps || (is_statistic && frozen.statistics);
        assert_eq!(before[&name] == after, kept, "{name}");
    }
    if golden["cases"][name]["average"].is_array() {
        let want = numbers(&golden["cases"][name]["average"]);
        let averaged = step.averaged_weights().unwrap();
        let evaluation = EvaluationStep::of(
            &gpu(),
            network(Mode::Inference, &Frozen::default()),
            BATCH,
            None,
            &ocelli::plan::PlanOptions::for_gpu(&gpu()),
        )
        .unwrap();
        transfer::load(evaluation.session(), evaluation.parameters().iter(), &InMemory::new(&averaged))
            .unwrap();
        evaluation.run(&pixels(0), &labels(0)).unwrap();
        let logits = evaluation.logits().unwrap();
        let norm = want.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error = logits.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
        println!("{name}: logits of the averages, relative error {:.1e}", error / norm);
        assert!(error / norm <= 1e-4, "{name}: the averages are wrong by {:.1e}", error / norm);
    }
    worst
}

#[test]
fn fifty_steps_of_each_option_are_those_of_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("recipes.json")).unwrap();
    let cases: Vec<&String> = golden["cases"].as_object().unwrap().keys().collect();
    assert!(cases.len() >= 14);
    for name in cases {
        let error = run(&golden, name);
        println!("{name}: largest relative error of a loss {error:.1e}");
        assert!(error <= 1e-4, "{name}: relative error {error:.1e}");
    }
}
