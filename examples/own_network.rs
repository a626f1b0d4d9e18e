//! Trains a network of one's own on pictures in memory, saves it, loads it and classifies pictures that it has not seen:
//! `cargo run --release --example own_network`

use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::infer::InferenceStep;
use ocelli::models::{Conv, Init, Mode, Network, Settings};
use ocelli::ops::PoolOptions;
use ocelli::plan::PlanOptions;
use ocelli::tensor::Precision;
use ocelli::train::{Hyper, TrainingOptions, TrainingStep};
use ocelli::weights::{Safetensors, write_tensors};
use ocelli::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

const BATCH: usize = 32;
const SIZE: usize = 16;
const CLASSES: usize = 3;

/// A residual block, and a branch that is concatenated to it.
fn network(mode: Mode) -> Result<Network> {
    let (mean, std, precision) = ([0.5; 3], [0.25; 3], Precision::F32);
    let settings = Settings { batch_size: BATCH, size: [SIZE; 2], classes: CLASSES, mean, std, precision };
    let conv = Conv { filters: 16, kernel: 3, pad: 1, ..Conv::default() };
    Network::build(&settings, mode, |b, x| {
        let x = b.conv_relu("stem", x, conv)?;
        let y = b.conv("body", x, conv)?;
        let y = b.batch_norm("norm", y, 1e-5)?;
        let x = b.graph.layer("sum").add(x, y)?;
        let x = b.max_pool("pool", x, PoolOptions::square(2, 2))?;
        let y = b.conv_relu("branch", x, Conv { filters: 16, ..Conv::default() })?;
        let x = b.graph.layer("join").concat(&[x, y])?;
        let x = b.graph.layer("mean").global_average_pool(x)?;
        b.logits("head", x, Init::Xavier, 0.0)
    })
}

/// Noisy pictures in which the colour of the label is a little brighter.
fn batch(seed: usize) -> (Vec<u8>, Vec<u32>) {
    let labels: Vec<u32> = (0..BATCH).map(|i| ((i * i + seed) % CLASSES) as u32).collect();
    let noise = |i: usize| ((i + seed * 7919).wrapping_mul(2_654_435_761) >> 9) as u8 / 2;
    let bright = |i: usize| 20 * u8::from(i % 4 == labels[i / (SIZE * SIZE * 4)] as usize);
    ((0..BATCH * SIZE * SIZE * 4).map(|i| noise(i) + bright(i)).collect(), labels)
}

fn main() -> Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let step = TrainingStep::of_network(&gpu, network(Mode::Training)?, TrainingOptions::default())?;
    step.initialize(7, None)?;
    for i in 0..60 {
        let (pixels, labels) = batch(i);
        let outcome = step.step(&pixels, &labels, &Hyper::default())?;
        println!("step {i}: loss {:.4}", outcome.loss.iter().sum::<f32>() / BATCH as f32);
    }
    let path = std::env::temp_dir().join("ocelli-own-network.safetensors");
    write_tensors(&path, &step.weights()?, &BTreeMap::new())?;

    let trained = InferenceStep::new(&gpu, network(Mode::Inference)?, &PlanOptions::for_gpu(&gpu))?;
    let file = std::fs::read(&path).map_err(|e| Error::from_io(e, "read", &path))?;
    trained.load(&Safetensors::parse(file)?)?;
    let (pixels, labels) = batch(1000);
    let logits = pollster::block_on(trained.logits(&trained.start(&pixels)?))?;
    let largest = |row: &[f32]| (0..CLASSES).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let rows = logits.chunks(CLASSES).zip(&labels);
    let right = rows.filter(|(row, label)| largest(row) == Some(**label as usize)).count();
    println!("{right} of {BATCH} new pictures classified correctly");
    Ok(())
}
