//! Whole networks whose activations lie in memory in half precision.

use crate::cli::fails;
use crate::ops::harness::gpu;
use crate::support::fixtures::{cifar10, folder, run, shared, skipped, write_pictures};
use ocelli::data::{Augment, Last, Loader, LoaderOptions, Normalization, Preprocessing};
use ocelli::gpu::Limits;
use ocelli::kernels::KernelFamily;
use ocelli::models::{Arch, Settings};
use ocelli::plan::PlanOptions;
use ocelli::tensor::Precision;
use ocelli::train::{
    Config, Control, EvaluationStep, Hyper, Length, LossScale, Outcome, Schedule, TrainingGraph,
    TrainingOptions, TrainingStep, train, transfer,
};
use ocelli::weights::{InMemory, read, read_tensors, write_tensors};
use std::fs;

/// Whether the adapter under test has f16; a test that needs it says so where it has not.
fn has_half(test: &str) -> bool {
    match gpu().check_half() {
        Ok(()) => true,
        Err(reason) => {
            skipped(test, &reason.to_string());
            false
        }
    }
}

fn settings(arch: &Arch, size: usize, batch_size: usize, precision: Precision) -> Settings {
    Settings { size: [size; 2], classes: 10, precision, ..arch.settings(batch_size) }
}

/// A training step from the seeded first weights.
fn training(name: &str, settings: &Settings, options: TrainingOptions) -> TrainingStep {
    let step = TrainingStep::new(&gpu(), Arch::find(name).unwrap(), settings, options).unwrap();
    for (i, t) in step.parameters().iter().enumerate() {
        step.session().write(t.parameter.value, &t.parameter.initial(3, i, None)).unwrap();
    }
    step
}

/// A batch of colours with noise, a class each.
fn batch(settings: &Settings) -> (Vec<u8>, Vec<u32>) {
    let mut rng = crate::oracle::Rng(17);
    let [h, w] = settings.size;
    let labels: Vec<u32> = (0..settings.batch_size as u32).map(|i| i % 10).collect();
    let colour = |label: u32, channel: u32| f64::from((label * 37 + channel * 91) % 200);
    let mut pixels = Vec::new();
    for label in &labels {
        for _ in 0..h * w {
            let mut rgb = |channel| (colour(*label, channel) + 50.0 * (1.0 + rng.unit()) / 2.0) as u8;
            pixels.extend([rgb(0), rgb(1), rgb(2), 255]);
        }
    }
    (pixels, labels)
}

/// The bits of all weights and velocities.
fn bits(step: &TrainingStep) -> Vec<Vec<u32>> {
    let read = |stored: Vec<f32>| stored.into_iter().map(f32::to_bits).collect();
    let trained = || step.parameters().iter().filter_map(|t| Some((t.parameter.value, t.velocity?)));
    let weights = trained().map(|(w, _)| read(step.session().read_stored(w).unwrap()));
    weights.chain(trained().map(|(_, v)| read(step.optimizer().read_stored(v).unwrap()))).collect()
}

fn hyper(lr: f32, i: u32) -> Hyper {
    Hyper { lr, momentum: 0.9, weight_decay: 1e-4, average_share: 1e-3, noise: [i, 1, 2, 3] }
}

fn skipped_of(outcome: &Outcome) -> bool {
    outcome.loss_scale.unwrap().has_skipped()
}

fn mean(list: &[f32]) -> f64 {
    list.iter().map(|x| f64::from(*x)).sum::<f64>() / list.len() as f64
}

#[test]
fn resnet20_learns_a_batch_as_it_does_in_single_precision() {
    if !has_half("resnet20_learns_a_batch_as_it_does_in_single_precision") {
        return;
    }
    let curves = [Precision::F32, Precision::F16].map(|precision| {
        let settings = settings(Arch::find("resnet20").unwrap(), 16, 16, precision);
        let step = training("resnet20", &settings, TrainingOptions::default());
        let (pixels, labels) = batch(&settings);
        let losses: Vec<f64> =
            (0..25).map(|i| mean(&step.step(&pixels, &labels, &hyper(0.02, i)).unwrap().loss)).collect();
        println!(
            "{precision:?}: first {:.4}, last {:.5}, {:?}",
            losses[0],
            losses[24],
            step.loss_scale().unwrap()
        );
        losses
    });
    for losses in &curves {
        assert!(losses[24] < 0.1 * losses[0], "{losses:?}");
    }
    let [single, half] = curves;
    let first = (single[0] - half[0]).abs() / single[0];
    println!("first loss off by {first:.1e}");
    assert!(first < 5e-4, "the first losses are {} and {}", single[0], half[0]);
}

#[test]
fn a_step_whose_gradients_overflow_changes_nothing_and_the_scale_recovers() {
    if !has_half("a_step_whose_gradients_overflow_changes_nothing_and_the_scale_recovers") {
        return;
    }
    for accumulate in [1, 2] {
        let settings = settings(Arch::find("resnet20").unwrap(), 8, 4, Precision::F16);
        let step = training("resnet20", &settings, TrainingOptions::default().with_accumulate(accumulate));
        let (pixels, labels) = batch(&Settings { batch_size: 4 * accumulate, ..settings });
        assert_eq!(step.loss_scale().unwrap(), Some(LossScale::default()));
        let first = step.step(&pixels, &labels, &hyper(0.01, 0)).unwrap();
        assert!(!skipped_of(&first), "the default scale fits");
        let huge = LossScale { exponent: 40, steps: 7, skipped: 5, skipped_in_a_row: 0 };
        step.set_loss_scale(huge).unwrap();
        let before = bits(&step);
        let outcome = step.step(&pixels, &labels, &hyper(0.01, 1)).unwrap();
        assert!(skipped_of(&outcome) && outcome.loss.iter().all(|x| x.is_finite()));
        assert_eq!(bits(&step), before, "accumulate {accumulate}");
        let after = LossScale { exponent: 39, steps: 0, skipped: 6, skipped_in_a_row: 1 };
        assert_eq!((outcome.loss_scale, step.loss_scale().unwrap()), (Some(after), Some(after)));
        let mut steps = 0;
        while skipped_of(&step.step(&pixels, &labels, &hyper(0.01, 2)).unwrap()) {
            assert_eq!(bits(&step), before);
            steps += 1;
            assert!(steps < 39, "{:?}", step.loss_scale());
        }
        assert_ne!(bits(&step), before);
        let scale = step.loss_scale().unwrap().unwrap();
        println!("accumulate {accumulate}: went on at a scale of 2^{}", scale.exponent);
        assert_eq!((scale.steps, scale.skipped, scale.exponent), (1, 6 + steps, 39 - steps as i32));
        assert!(scale.exponent > 0);
    }
}

#[test]
fn the_scale_of_the_loss_rounds_nothing_but_what_f16_cannot_hold() {
    if !has_half("the_scale_of_the_loss_rounds_nothing_but_what_f16_cannot_hold") {
        return;
    }
    // Scales at which all gradients are in the middle of the range give the same bits: they are powers of two.
    let settings = settings(Arch::find("resnet20").unwrap(), 8, 4, Precision::F16);
    let (pixels, labels) = batch(&settings);
    let after = |exponent: i32| {
        let step = training("resnet20", &settings, TrainingOptions::default());
        step.set_loss_scale(LossScale { exponent, ..LossScale::default() }).unwrap();
        assert!(!skipped_of(&step.step(&pixels, &labels, &hyper(0.01, 0)).unwrap()));
        step.parameters()
            .iter()
            .filter_map(|t| t.velocity)
            .flat_map(|v| step.optimizer().read(v).unwrap())
            .map(f64::from)
            .collect::<Vec<_>>()
    };
    let distance = |a: &[f64], b: &[f64]| {
        let off: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
        (off / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
    };
    let (a, b, tiny) = (after(12), after(14), after(-12));
    println!("two scales {:.1e} apart, far too small a scale {:.1e}", distance(&a, &b), distance(&tiny, &b));
    assert!(distance(&a, &b) < 1e-5);
    assert!(distance(&tiny, &b) > 1e-2, "without a scale small gradients are lost");
}

#[test]
fn a_run_in_half_precision_goes_on_to_the_same_bits_and_scale() {
    if !has_half("a_run_in_half_precision_goes_on_to_the_same_bits_and_scale") {
        return;
    }
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = Config {
        length: Length::Epochs(2),
        batch_size: 4.into(),
        lr: 0.05,
        schedule: Schedule::Cosine,
        seed: 7,
        size: Some([8, 8]),
        precision: Precision::F16,
        ..Config::new(Arch::find("resnet20").unwrap(), data.display().to_string())
    };
    let [whole, parts] = ["whole", "parts"].map(|n| folder.path().join(n));
    let checkpoint = |out: &std::path::Path| out.join("checkpoint.safetensors");
    let go = |config: &Config, out: &std::path::Path, stop: u64| {
        train(&gpu(), config, out, true, &mut |event| match event {
            ocelli::train::Event::Step { step, .. } if step == stop => Control::Stop,
            _ => Control::Continue,
        })
    };
    // Both begin alike, and then with a scale at which some steps overflow.
    for out in [&whole, &parts] {
        assert!(matches!(go(&config, out, 2), Err(ocelli::Error::Stopped(_))));
        let (mut tensors, metadata) = read_tensors(checkpoint(out)).unwrap();
        let scale = &mut tensors.get_mut("loss scale").unwrap().data;
        assert_eq!(*scale, [16.0, 3.0, 0.0, 0.0], "the step under way is finished");
        scale[0] = 21.0;
        write_tensors(checkpoint(out), &tensors, &metadata).unwrap();
    }
    let finished = go(&config, &whole, 0).unwrap();
    for step in [6, 8] {
        assert!(matches!(go(&config, &parts, step), Err(ocelli::Error::Stopped(_))));
    }
    let again = go(&config, &parts, 0).unwrap();
    assert_eq!((again.best, again.skipped_steps), (finished.best, finished.skipped_steps));
    println!("{} of 10 steps were skipped", finished.skipped_steps);
    assert!((1..7).contains(&finished.skipped_steps));
    for name in ["last.safetensors", "best.safetensors", "config.json"] {
        assert_eq!(fs::read(whole.join(name)).unwrap(), fs::read(parts.join(name)).unwrap(), "{name}");
    }
    let state = |out: &std::path::Path| {
        let (tensors, _) = read_tensors(checkpoint(out)).unwrap();
        tensors["loss scale"].data.clone()
    };
    assert_eq!(state(&whole)[2], f64::from(finished.skipped_steps) as f32);
    assert_eq!(state(&whole), state(&parts));
    let other = Config { precision: Precision::F32, ..config };
    let error = go(&other, &parts, 0).unwrap_err().to_string();
    assert!(error.contains("another --precision"), "{error}");
}

#[test]
fn the_program_trains_evaluates_and_predicts_in_half_precision() {
    let name = "the_program_trains_evaluates_and_predicts_in_half_precision";
    let folder = folder();
    let here = folder.path();
    let bench = [
        "bench",
        "--seconds",
        "0",
        "--arch",
        "resnet20",
        "--mode",
        "infer",
        "--batch-size",
        "1",
        "--precision",
        "f16",
    ];
    fails(here, &[&["--limits", "webgpu"], &bench[..]].concat(), 69, &["half precision", "shader-f16"]);
    if !has_half(name) {
        return;
    }
    write_pictures(&here.join("data"), 3, 4, 2, 8);
    let train = [
        "train",
        "--arch",
        "resnet20",
        "--data",
        "data",
        "--out",
        "run",
        "--batch-size",
        "4",
        "--steps",
        "4",
    ];
    let refused = [&["--limits", "webgpu"], &train[..], &["--precision", "f16"]].concat();
    fails(here, &refused, 69, &["half precision"]);
    assert!(!here.join("run").exists(), "nothing is written before that is known");
    let (code, stdout, stderr) = run(here, &[&train[..], &["--precision", "f16"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("best validation top-1: "), "{stdout}");
    let weights = ["--weights", "run/last.safetensors", "--json", "--precision"];
    let loss = |precision| {
        let (code, stdout, stderr) =
            run(here, &[&["eval", "--data", "data"], &weights[..], &[precision]].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["loss"].as_f64().unwrap()
    };
    let (single, half) = (loss("f32"), loss("f16"));
    assert!(single != half && (single - half).abs() < 0.01 * single, "{single} and {half}");
    let picture = "data/val/class1/000.png";
    let (code, stdout, stderr) = run(here, &[&["predict", picture], &weights[..], &["f16"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("\"probability\""), "{stdout}");
}

#[test]
fn a_training_step_takes_less_memory_and_keeps_no_gradient_of_a_large_fully_connected_layer() {
    let options = PlanOptions::new(KernelFamily::Direct, Limits::WEBGPU);
    let mut plans = Vec::new();
    for (name, batch_size) in [("resnet50", 8), ("vgg16", 2), ("alexnet", 16), ("googlenet", 8), ("zfnet", 8)]
    {
        let arch = Arch::find(name).unwrap();
        let memory = [Precision::F32, Precision::F16].map(|precision| {
            let settings = Settings { precision, ..arch.settings(batch_size) };
            let graph = TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap();
            plans.push(graph.plan(&options).unwrap());
            graph.memory(&options).unwrap()
        });
        println!("{name} batch {batch_size}: f32 {}, f16 {}", memory[0], memory[1]);
        assert!(memory[1].total() < memory[0].total(), "{name}: {} and {}", memory[0], memory[1]);
        let both = |m: &ocelli::plan::Memory| m.activations + m.gradients;
        assert!(both(&memory[1]) < both(&memory[0]), "{name}");
    }
}

/// ResNet-20 with trained weights on real pictures, in f32 and in f16.
#[test]
fn trained_weights_classify_real_pictures_the_same() {
    let name = "trained_weights_classify_real_pictures_the_same";
    if !has_half(name) {
        return;
    }
    let found = shared("cifar-resnets/resnet20-cifar10.safetensors").and_then(|w| Ok((w, cifar10()?)));
    let (weights, pictures) = match found {
        Ok((weights, pictures)) => (read(&weights).unwrap(), pictures),
        Err(reason) => return skipped(name, &reason),
    };
    let options = LoaderOptions {
        batch_size: 32,
        size: [32, 32],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment: Augment::NONE,
        shuffle: true,
        balance: false,
        seed: 0,
        limit: Some(512),
        last: Last::Keep,
    };
    let batches: Vec<_> =
        Loader::new(pictures, options).unwrap().epoch(0, 0).map(|batch| batch.unwrap()).collect();
    let arch = Arch::find("resnet20").unwrap();
    let [single, half] = [Precision::F32, Precision::F16].map(|precision| {
        let settings = settings(arch, 32, 32, precision);
        let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
        transfer::load(step.session(), step.parameters().iter(), &InMemory::new(&weights.tensors)).unwrap();
        let logits = batches.iter().flat_map(|batch| {
            step.run(&batch.pixels, &batch.labels).unwrap();
            step.logits().unwrap()
        });
        logits.map(f64::from).collect::<Vec<_>>()
    });
    let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
    let off: Vec<f64> = single.iter().zip(&half).map(|(a, b)| a - b).collect();
    let error = (squares(&off) / squares(&single)).sqrt();
    let largest = off.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let best = |row: &[f64]| (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let mut others = 0;
    for (single, half) in single.chunks(10).zip(half.chunks(10)) {
        if best(single) != best(half) {
            others += 1;
            // Only where two logits are closer than what rounding may move both of them.
            let margin = single[best(single)] - single[best(half)];
            assert!(margin <= 2.0 * largest, "{single:?} became {half:?}");
        }
    }
    println!("f16: logits off by {error:.1e}, at most {largest:.3}; {others} of 512 pictures another class");
    assert!(error < 3e-3 && others <= 3, "{error:.1e}, {others}");
}
