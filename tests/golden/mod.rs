//! Whole networks against PyTorch in f64: `make.py` beside this file made `resnet20.json`.

pub mod families;
mod recipes;

use crate::ops::harness::gpu;
use crate::support::fixtures::{cifar10, shared, skipped};
use ocelli::data::{Augment, Batch, Last, Loader, LoaderOptions, Normalization, Preprocessing};
use ocelli::models::{Arch, Settings};
use ocelli::train::{Control, EvaluationStep, Hyper, TrainingOptions, TrainingStep, evaluate, transfer};
use ocelli::weights::{InMemory, Tensor, Weights, read};
use serde_json::Value as Json;
use std::collections::BTreeMap;

const BATCH_SIZE: usize = 32;

fn golden() -> Json {
    serde_json::from_str(include_str!("resnet20.json")).unwrap()
}

/// 1,000 pictures of CIFAR-10 in a fixed mixed order.
fn loader() -> Result<Loader, String> {
    let options = LoaderOptions {
        batch_size: BATCH_SIZE,
        size: [32, 32],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment: Augment::NONE,
        shuffle: true,
        balance: false,
        seed: 0,
        limit: Some(1000),
        last: Last::Keep,
    };
    Ok(Loader::new(cifar10()?, options).unwrap())
}

fn weights() -> Result<Weights, String> {
    Ok(read(&shared("cifar-resnets/resnet20-cifar10.safetensors")?).unwrap())
}

fn settings() -> (&'static Arch, Settings) {
    let arch = Arch::find("resnet20").unwrap();
    (arch, arch.settings(BATCH_SIZE))
}

/// The pictures, checked against those that PyTorch saw.
fn batches(golden: &Json) -> Result<Vec<Batch>, String> {
    let batches: Vec<Batch> = loader()?.epoch(0, 0).map(|b| b.unwrap()).collect();
    let pictures = batches.iter().flat_map(|b| {
        let valid = b.valid.iter().filter(|v| **v).count();
        b.pixels[..valid * 32 * 32 * 4].as_chunks::<4>().0
    });
    let pixels: Vec<u8> = pictures.flat_map(|rgba| rgba[..3].to_vec()).collect();
    let labels: Vec<u8> = batches
        .iter()
        .flat_map(|b| b.labels.iter().zip(&b.valid).filter(|(_, v)| **v).map(|(l, _)| *l as u8))
        .collect();
    if let Some(folder) = std::env::var_os("OCELLI_GOLDEN_PICTURES") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let n = labels.len() as u32;
        std::fs::write(folder.join("pixels.idx4-ubyte"), idx(&[n, 32, 32, 3], &pixels)).unwrap();
        std::fs::write(folder.join("labels.idx1-ubyte"), idx(&[n], &labels)).unwrap();
    }
    let fnv = pixels
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    assert_eq!(
        golden["pixels_fnv1a"].as_str().unwrap(),
        format!("{fnv:016x}"),
        "the pixels are decoded differently now: run tests/golden/make.py again"
    );
    Ok(batches)
}

/// An IDX file of bytes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
    file.extend_from_slice(bytes);
    file
}

fn relative(got: f64, want: f64) -> f64 {
    (got - want).abs() / want.abs()
}

#[test]
fn logits_and_accuracy_are_those_of_pytorch() {
    let golden = golden();
    let (batches, weights) = match batches(&golden).and_then(|b| Ok((b, weights()?))) {
        Ok(found) => found,
        Err(reason) => return skipped("logits_and_accuracy_are_those_of_pytorch", &reason),
    };
    let (arch, settings) = settings();
    let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
    transfer::load(step.session(), step.parameters().iter(), &InMemory::new(&weights.tensors)).unwrap();

    let rows = golden["eval"]["logits"].as_array().unwrap();
    let want: Vec<f64> =
        rows.iter().flat_map(|row| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap())).collect();
    let mut got = Vec::new();
    for batch in batches.iter().take(rows.len() / BATCH_SIZE) {
        step.run(&batch.pixels, &batch.labels).unwrap();
        got.extend(step.logits().unwrap().into_iter().map(f64::from));
    }
    assert_eq!(got.len(), want.len());
    let difference: f64 = got.iter().zip(&want).map(|(a, b)| (a - b).powi(2)).sum();
    let error = (difference / want.iter().map(|b| b * b).sum::<f64>()).sqrt();
    println!("logits: relative L2 error {error:.2e}");
    assert!(error <= 1e-5, "relative L2 error of the logits {error:.2e}");

    let result = evaluate(&step, &loader().unwrap(), &mut |_| Control::Continue).unwrap();
    let count = |key: &str| golden["eval"][key].as_u64().unwrap();
    println!("{result:?}");
    assert_eq!(result.images, count("images"));
    // A picture whose two best logits are equal to the last bits may go either way.
    assert!(result.correct_top1.abs_diff(count("correct_top1")) <= 1, "top-1 {}", result.correct_top1);
    assert!(result.correct_top5.abs_diff(count("correct_top5")) <= 1, "top-5 {}", result.correct_top5);
    assert!(relative(result.loss, golden["eval"]["loss"].as_f64().unwrap()) <= 1e-5);
}

#[test]
fn ten_steps_of_training_are_those_of_pytorch() {
    let golden = golden();
    let (batches, weights) = match batches(&golden).and_then(|b| Ok((b, weights()?))) {
        Ok(found) => found,
        Err(reason) => return skipped("ten_steps_of_training_are_those_of_pytorch", &reason),
    };
    let train = &golden["train"];
    let number = |key: &str| train[key].as_f64().unwrap();
    let hyper = Hyper {
        lr: number("lr") as f32,
        momentum: number("momentum") as f32,
        weight_decay: number("weight_decay") as f32,
        ..Hyper::default()
    };
    let (arch, settings) = settings();
    let step = TrainingStep::new(&gpu(), arch, &settings, TrainingOptions::default()).unwrap();
    let parameters = || step.parameters().iter().map(|t| &t.parameter);
    transfer::load(step.session(), parameters(), &InMemory::new(&weights.tensors)).unwrap();
    let losses = train["loss"].as_array().unwrap();
    assert_eq!(losses.len(), 10);
    let mut worst = 0.0f64;
    for (i, (batch, want)) in batches.iter().zip(losses).enumerate() {
        step.run(&batch.pixels, &batch.labels, &hyper).unwrap();
        let outcome = step.outcome().unwrap();
        let loss = outcome.loss.iter().map(|x| f64::from(*x)).sum::<f64>() / BATCH_SIZE as f64;
        let error = relative(loss, want.as_f64().unwrap());
        println!("step {}: loss {loss:.9}, relative error {error:.1e}", i + 1);
        assert!(error <= 1e-4, "step {}: loss {loss} instead of {want}, relative error {error:.1e}", i + 1);
        worst = worst.max(error);
        if (i + 1) as u64 == train["early"]["steps"].as_u64().unwrap() {
            let now = transfer::save(step.session(), parameters()).unwrap();
            println!("after {} steps: {:.1e}", i + 1, compare(&now, &train["early"]["parameters"], 1e-5));
        }
    }
    let now = transfer::save(step.session(), parameters()).unwrap();
    let error = compare(&now, &train["parameters"], 1e-4);
    println!("ten steps: largest relative error of a loss {worst:.1e}, of a parameter's norm {error:.1e}");
}

/// Compares norm and samples of every tensor; all may be off by `tolerance` times the norm.
fn compare(tensors: &BTreeMap<String, Tensor>, golden: &Json, tolerance: f64) -> f64 {
    let golden = golden.as_object().unwrap();
    let names: Vec<&String> = tensors.keys().collect();
    let theirs: std::collections::BTreeSet<&String> = golden.keys().collect();
    assert_eq!(names, theirs.into_iter().collect::<Vec<_>>());
    let mut worst = 0.0f64;
    for (name, tensor) in tensors {
        let want = &golden[name];
        let norm = want["norm"].as_f64().unwrap();
        let got = tensor.data.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut errors = vec![(got - norm).abs()];
        for sample in want["samples"].as_array().unwrap() {
            let index = sample[0].as_u64().unwrap() as usize;
            errors.push((f64::from(tensor.data[index]) - sample[1].as_f64().unwrap()).abs());
        }
        let error = errors.into_iter().fold(0.0, f64::max) / norm;
        assert!(error <= tolerance, "{name} is off by {error:.1e} of its norm");
        worst = worst.max(error);
    }
    worst
}
