//! A variant of each family against PyTorch in f64: logits, loss, gradients. `families.py` made `families.json`.

use crate::ops::harness::gpu;
use crate::support::fixtures::skipped;
use ocelli::models::{Arch, Mode, Parameter, Settings};
use ocelli::tensor::Precision;
use ocelli::train::{EvaluationStep, Hyper, TrainingOptions, TrainingStep, transfer};
use ocelli::weights::{InMemory, Tensor};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

const CLASSES: usize = 100;
const BATCH_SIZE: usize = 2;
const LABELS: [u32; 2] = [3, 77];
/// Relative L2 error of logits, relative error of the loss, relative L2 error of a gradient.
const ALLOWED: [f64; 3] = [2e-5, 1e-5, 1e-3];
/// The same for activations in half precision, of which each is rounded to 2^-11 of itself.
const ALLOWED_IN_HALF: [f64; 3] = [2e-3, 1.5e-3, 5e-2];
/// A gradient in f64 below this part of the network's largest one is 0 without rounding.
const NOTHING: f64 = 1e-12;

/// The hash of `families.py`: the finaliser of MurmurHash3 over the places, seeded by the name.
pub fn hash(name: &str) -> impl Fn(u32) -> u32 {
    let seed = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    move |place| {
        let mut h = place.wrapping_mul(0x9e37_79b9).wrapping_add(seed);
        h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
        h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
        h ^ (h >> 16)
    }
}

/// Layers with batch norm whose activations are sparse: see `families.py`.
fn sparse(network: &str, layer: &str) -> bool {
    match network {
        "vgg16-bn" => true,
        "googlenet-tv" => {
            let dense = ["conv2", "aux", "inception5b"];
            !layer.contains(".0.") && !dense.iter().any(|d| layer.starts_with(d))
        }
        _ => false,
    }
}

/// `norm` for a parameter of a batch norm, `sparse` if few of its activations are to be positive: see `families.py`.
fn tensor(name: &str, shape: &[usize], norm: bool, sparse: bool) -> Tensor {
    let count: usize = shape.iter().product();
    let (_, kind) = name.rsplit_once('.').unwrap();
    let (low, high) = match kind {
        _ if shape.len() > 1 => {
            let bound = (6.0 / (count / shape[0]) as f64).sqrt();
            (-bound, bound)
        }
        "weight" if norm && sparse => (1.9, 2.1),
        "bias" if norm && sparse => (-5.2, -4.8),
        "running_mean" if norm && sparse => (-4.0, -1.0),
        "running_var" => (0.5, 1.5),
        "weight" => (0.15, 0.25),
        _ => (-0.1, 0.1),
    };
    let shift = norm && !sparse && kind == "bias";
    let hash = hash(name);
    let positive = !name.contains("layer") || name.contains("bn1");
    let value = |i: u32| {
        let unit = f64::from(hash(i) >> 8) / f64::from(1 << 24);
        let value = match shift {
            // What a residual is added to stays positive.
            true if unit < 0.25 && positive => -1.0 - unit,
            true => 1.0 + unit,
            false => low + (high - low) * unit,
        };
        value as f32
    };
    Tensor { shape: shape.to_vec(), data: (0..count as u32).map(value).collect() }
}

/// The weights of a network: as they are trained, which are all.
pub fn tensors(arch: &Arch, settings: &Settings) -> BTreeMap<String, Tensor> {
    let parameters = arch.network(settings, Mode::Training).unwrap().parameters;
    let names: BTreeSet<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    let mut tensors = BTreeMap::new();
    for p in &parameters {
        let (layer, _) = p.name.rsplit_once('.').unwrap();
        let norm = names.contains(format!("{layer}.running_mean").as_str());
        let make = || tensor(&p.name, &p.torch_shape, norm, sparse(arch.name, layer));
        tensors.entry(p.name.clone()).or_insert_with(make);
    }
    tensors
}

fn pixels(size: usize, draw: &str) -> Vec<u8> {
    let hash = hash(draw);
    let rgb = |place: usize| (hash(place as u32) >> 24) as u8;
    (0..BATCH_SIZE * size * size).flat_map(|i| [rgb(3 * i), rgb(3 * i + 1), rgb(3 * i + 2), 255]).collect()
}

fn l2(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest errors of logits, loss and gradients in units of what is allowed.
fn errors(name: &str, golden: &Json, precision: Precision) -> [f64; 3] {
    let allowed = match precision {
        Precision::F32 => ALLOWED,
        Precision::F16 => ALLOWED_IN_HALF,
    };
    let arch = Arch::find(name).unwrap();
    let size = golden["size"].as_u64().unwrap() as usize;
    let settings = Settings { size: [size; 2], classes: CLASSES, precision, ..arch.settings(BATCH_SIZE) };
    let pixels = pixels(size, golden["draw"].as_str().unwrap());

    let tensors = tensors(arch, &settings);
    let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
    transfer::load(step.session(), step.parameters().iter(), &InMemory::new(&tensors)).unwrap();
    step.run(&pixels, &LABELS).unwrap();
    let want: Vec<f64> = golden["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let got = step.logits().unwrap();
    assert_eq!(got.len(), want.len());
    let off = l2(got.iter().zip(&want).map(|(a, b)| f64::from(*a) - b));
    let logits = off / l2(want.iter().copied());
    drop(step);

    let step = TrainingStep::new(&gpu(), arch, &settings, TrainingOptions::default()).unwrap();
    let parameters = || step.parameters().iter().map(|t| &t.parameter);
    transfer::load(step.session(), parameters(), &InMemory::new(&tensors)).unwrap();
    // Without momentum and decay the velocity is the gradient; without a rate the weights stay.
    let hyper = Hyper { lr: 0.0, momentum: 0.0, weight_decay: 0.0, average_share: 1e-3, noise: [1, 2, 3, 4] };
    let mut outcome = step.step(&pixels, &LABELS, &hyper).unwrap();
    while outcome.loss_scale.is_some_and(|scale| scale.has_skipped()) {
        outcome = step.step(&pixels, &LABELS, &hyper).unwrap();
    }
    let want = golden["loss"].as_f64().unwrap();
    let got = outcome.loss.iter().map(|x| f64::from(*x)).sum::<f64>() / BATCH_SIZE as f64;
    let loss = (got - want).abs() / want.abs();

    let velocities: Vec<Parameter> = step
        .parameters()
        .iter()
        .filter_map(|t| Some(Parameter { value: t.velocity?, ..t.parameter.clone() }))
        .collect();
    let gradients = transfer::save(step.session(), velocities.iter()).unwrap();
    let golden = golden["gradients"].as_object().unwrap();
    assert_eq!(gradients.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>(), "{name}");
    let norm_of = |v: &Json| v[0].as_f64().unwrap();
    let largest = golden.values().map(norm_of).fold(0.0, f64::max);
    let mut worst = 0.0f64;
    for (key, gradient) in &gradients {
        let want = golden[key].as_array().unwrap();
        let norm = norm_of(&golden[key]);
        let got = l2(gradient.data.iter().map(|x| f64::from(*x)));
        let mut off = (got - norm).abs();
        for entry in &want[2..] {
            let place = entry[0].as_u64().unwrap() as usize;
            off = off.max((f64::from(gradient.data[place]) - entry[1].as_f64().unwrap()).abs());
        }
        // What cancels to nothing, as a shift that the next batch norm takes away, has no gradient but rounding: it is
        // measured by the weights of its layer, over which the same numbers are summed up.
        let layer = key.strip_suffix("bias").filter(|_| norm < NOTHING * largest);
        let weights = layer.map_or(0.0, |layer| norm_of(&golden[&format!("{layer}weight")]));
        let scale = norm.max(1e-5 * largest).max(weights);
        let error = off / scale;
        if error > allowed[2] {
            println!(
                "{name} {precision:?}: the gradient of {key} is off by {error:.1e} of its norm {norm:.1e}, in PyTorch's f32 by {}",
                want[1]
            );
        }
        worst = worst.max(error);
    }
    println!("{name} {precision:?}: logits {logits:.1e}, loss {loss:.1e}, gradients {worst:.1e}");
    [logits / allowed[0], loss / allowed[1], worst / allowed[2]]
}

/// One VGG after the other, for each needs some gigabytes.
static ONE: Mutex<()> = Mutex::new(());

fn agree(names: &[&str]) {
    agree_in(Precision::F32, names);
}

fn agree_in(precision: Precision, names: &[&str]) {
    let golden: Json = serde_json::from_str(include_str!("families.json")).unwrap();
    for name in names {
        let _one = name.starts_with("vgg").then(|| ONE.lock().unwrap_or_else(PoisonError::into_inner));
        let errors = errors(name, &golden[name], precision);
        assert!(errors.iter().all(|e| *e <= 1.0), "{name}: {errors:?} of what is allowed");
    }
}

#[test]
fn alexnet_and_zfnet_are_those_of_pytorch() {
    agree(&["alexnet", "caffenet", "alexnet-tv", "zfnet", "zfnet512"]);
}

#[test]
fn vgg_is_that_of_pytorch() {
    agree(&["vgg11", "vgg11-lrn", "vgg16-1x1", "vgg16-bn"]);
}

#[test]
fn googlenet_is_that_of_pytorch() {
    agree(&["googlenet", "googlenet-tv"]);
}

#[test]
fn resnet_is_that_of_pytorch() {
    agree(&["resnet18", "resnet50", "resnet50-v1", "preresnet110", "preresnet164"]);
}

#[test]
fn a_variant_of_each_family_in_half_precision_is_near_that_of_pytorch() {
    if let Err(reason) = gpu().check_half() {
        return skipped(
            "a_variant_of_each_family_in_half_precision_is_near_that_of_pytorch",
            &reason.to_string(),
        );
    }
    agree_in(Precision::F16, &["alexnet", "zfnet", "vgg11", "googlenet", "resnet50"]);
}
