//! Times burn for `run.py`: one network, one mode, in a process of its own.
//!
//!     burn-peer train|infer resnet18|alexnet SIZE BATCH SECONDS
//!
//! Prints `first` when the first step is finished, then one line of JSON.

mod networks;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::{DeviceKind, Distribution, Int, TensorData};
use networks::{AlexNet, Network, ResNet18};
use std::time::{Duration, Instant};

const CLASSES: usize = 1000;

/// Milliseconds of the first step and of the later ones.
struct Times {
    first: f64,
    later: Vec<f64>,
}

fn time(seconds: f64, mut step: impl FnMut()) -> Times {
    let mut once = || {
        let start = Instant::now();
        step();
        start.elapsed().as_secs_f64() * 1e3
    };
    let first = once();
    println!("first");
    // The second step may still compile something.
    once();
    let (start, mut later) = (Instant::now(), Vec::new());
    while later.len() < 5 || start.elapsed() < Duration::from_secs_f64(seconds) {
        later.push(once());
    }
    later.sort_by(f64::total_cmp);
    Times { first, later }
}

/// Wrong numbers are fast, so they end the run.
fn check(logits: TensorData, batch: usize) {
    assert_eq!(logits.shape().to_vec(), [batch, CLASSES]);
    let values: Vec<f32> = logits.iter::<f32>().collect();
    assert!(values.iter().all(|x| x.is_finite()), "logits are not finite");
    assert!(values.iter().any(|x| *x != values[0]), "all logits are equal");
}

fn infer<N: Network>(device: &Device, input: [usize; 4], seconds: f64) -> Times {
    let network = N::new(CLASSES, device);
    let x = Tensor::<4>::random(input, Distribution::Normal(0.0, 1.0), device);
    check(network.forward(x.clone()).into_data(), input[0]);
    // Reading the logits waits for them.
    time(seconds, || drop(network.forward(x.clone()).into_data()))
}

fn train<N: Network>(device: &Device, input: [usize; 4], seconds: f64) -> Times {
    let device = &device.clone().autodiff();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimizer = SgdConfig::new().with_momentum(Some(momentum)).init();
    let mut network = Some(N::new(CLASSES, device));
    let x = Tensor::<4>::random(input, Distribution::Normal(0.0, 1.0), device);
    let labels: Vec<i64> = (0..input[0]).map(|i| (37 * i % CLASSES) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [input[0]]), device);
    let loss = CrossEntropyLossConfig::new().init(device);
    let mut losses = Vec::new();
    let times = time(seconds, || {
        let Some(now) = network.take() else { return };
        let loss = loss.forward(now.forward(x.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &now);
        network = Some(optimizer.step(0.001, now, gradients));
        losses.push(loss.into_scalar::<f32>());
        device.sync().expect("the step does not finish");
    });
    assert!(losses.iter().all(|l| l.is_finite()), "losses {losses:?}");
    assert!(losses[losses.len() - 1] < losses[0], "the loss of one batch does not fall: {losses:?}");
    times
}

fn run<N: Network>(mode: &str, input: [usize; 4], seconds: f64) -> Times {
    // The first adapter of the system, as ocelli takes it: `CUBECL_WGPU_DEFAULT_DEVICE` picks another.
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    match mode {
        "train" => train::<N>(&device, input, seconds),
        "infer" => infer::<N>(&device, input, seconds),
        _ => panic!("train or infer, not {mode}"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, network, size, batch, seconds] = &arguments[..] else {
        panic!("burn-peer train|infer resnet18|alexnet SIZE BATCH SECONDS");
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let input = [number(batch), 3, number(size), number(size)];
    let seconds = number(seconds) as f64;
    let times = match network.as_str() {
        "resnet18" => run::<ResNet18>(mode, input, seconds),
        "alexnet" => run::<AlexNet>(mode, input, seconds),
        _ => panic!("resnet18 or alexnet, not {network}"),
    };
    println!(
        "{{\"first_ms\": {:.1}, \"ms_median\": {:.2}, \"ms_min\": {:.2}, \"steps\": {}}}",
        times.first,
        times.later[times.later.len() / 2],
        times.later[0],
        times.later.len()
    );
}
