//! The families at work: at full size under the limits that WebGPU grants everywhere, and learning real pictures.

use crate::ops::harness::gpu;
use crate::support::fixtures::{cifar10, skipped};
use ocelli::data::{Augment, Batch, Last, Loader, LoaderOptions, Normalization, Preprocessing};
use ocelli::gpu::{Gpu, GpuOptions, LimitChoice, Limits};
use ocelli::models::{Arch, Init, Parameter, Settings};
use ocelli::plan::PlanOptions;
use ocelli::train::{EvaluationStep, Hyper, TrainingGraph, TrainingOptions, TrainingStep};
use std::sync::Arc;

fn initialise(step: &TrainingStep, init: Option<Init>) {
    for (i, t) in step.parameters().iter().enumerate() {
        let p: &Parameter = &t.parameter;
        step.session().write(p.value, &p.initial(1, i, init)).unwrap();
    }
}

#[test]
fn a_full_size_step_of_each_family_runs_under_the_limits_of_webgpu() {
    println!("network batch predicted measured essential (MiB)");
    for (name, batch_size) in [("alexnet", 2), ("zfnet", 2), ("vgg16", 1), ("googlenet", 2), ("resnet50", 2)]
    {
        // A device of its own, so that what it makes can be counted.
        let options = GpuOptions { limits: LimitChoice::WebGpu, ..GpuOptions::default() };
        let gpu = Arc::new(Gpu::open(&options).unwrap());
        assert_eq!(gpu.limits(), Limits::WEBGPU);
        let arch = Arch::find(name).unwrap();
        let settings = arch.settings(batch_size);
        let graph = TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap();
        let predicted = graph.memory(&PlanOptions::for_gpu(&gpu)).unwrap();
        let step = TrainingStep::new(&gpu, arch, &settings, TrainingOptions::default()).unwrap();
        initialise(&step, None);
        let [h, w] = settings.size;
        let count = (batch_size * h * w * 4) as u32;
        let pixels: Vec<u8> = (0..count).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let labels: Vec<u32> = (0..batch_size as u32).collect();
        let hyper =
            Hyper { lr: 1e-3, momentum: 0.9, weight_decay: 5e-4, average_share: 1e-3, noise: [1, 2, 3, 4] };
        let outcome = step.step(&pixels, &labels, &hyper).unwrap();
        assert!(outcome.loss.iter().all(|x| x.is_finite()), "{name}: {:?}", outcome.loss);
        let (_, measured) = gpu.allocated();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let bound = graph.essential_bytes();
        println!("{name} {batch_size} {:.0} {:.0} {:.0}", mib(predicted.total()), mib(measured), mib(bound));
        assert!(predicted.total().abs_diff(measured) * 10 < measured, "{name}: {predicted}, took {measured}");
        assert!(predicted.total() * 4 <= bound * 5, "{name}: {predicted} for {:.0} MiB", mib(bound));
    }
}

/// Four pictures of four classes.
fn batch(size: usize) -> Result<Batch, String> {
    let options = LoaderOptions {
        batch_size: 4,
        size: [size; 2],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment: Augment::NONE,
        shuffle: false,
        balance: false,
        seed: 0,
        limit: Some(4),
        last: Last::Keep,
    };
    let mut batch = Loader::new(cifar10()?, options).unwrap().epoch(0, 0).next().unwrap().unwrap();
    assert!(batch.valid.iter().all(|v| *v));
    batch.labels = vec![0, 1, 2, 3];
    Ok(batch)
}

#[test]
fn each_family_learns_four_real_pictures_in_sixty_steps() {
    // Variant, input, rate, first weights: the deviation of 0.01 of the first papers is meant for layers of thousands of
    // inputs; a small input leaves hundreds, and a signal that takes thousands of steps to grow.
    let he = Some(Init::He);
    for (name, size, lr, init) in [
        ("alexnet", 67, 2e-3, he),
        ("zfnet", 67, 2e-3, he),
        ("googlenet", 32, 0.005, he),
        ("resnet18", 32, 0.02, None),
        ("vgg11", 32, 0.003, None),
    ] {
        let batch = match batch(size) {
            Ok(batch) => batch,
            Err(reason) => return skipped("each_family_learns_four_real_pictures_in_sixty_steps", &reason),
        };
        let arch = Arch::find(name).unwrap();
        let settings = Settings { size: [size; 2], classes: 4, ..arch.settings(4) };
        let step = TrainingStep::new(&gpu(), arch, &settings, TrainingOptions::default()).unwrap();
        initialise(&step, init);
        // Dropout makes the loss of a step noisy: what is compared is that of the network as it is used.
        let evaluation = EvaluationStep::new(&gpu(), arch, &settings, Some(&step)).unwrap();
        let mean = |loss: &[f32]| loss.iter().map(|x| f64::from(*x)).sum::<f64>() / loss.len() as f64;
        let mut first = 0.0;
        let (mut last, mut steps) = (f64::INFINITY, 0);
        for i in 0..60 {
            let hyper =
                Hyper { lr, momentum: 0.9, weight_decay: 0.0, average_share: 1e-3, noise: [i, 7, 7, 7] };
            let loss = mean(&step.step(&batch.pixels, &batch.labels, &hyper).unwrap().loss);
            first = if i == 0 { loss } else { first };
            if i % 10 == 9 {
                evaluation.run(&batch.pixels, &batch.labels).unwrap();
                (last, steps) = (mean(&evaluation.outcome().unwrap().loss), i + 1);
                // A large first loss is no excuse: chance is 1.4.
                if last < 0.1 * first.min(1.4) {
                    break;
                }
            }
        }
        println!("{name} at {size}x{size}: loss {first:.3}, after {steps} steps {last:.4}");
        assert!(last < 0.1 * first.min(1.4), "{name}: loss {first} and after {steps} steps {last}");
    }
}
