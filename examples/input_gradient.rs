//! What a class depends on: the gradient of its logit with respect to the pixels, of a network for inference.
//! `cargo run --example input_gradient -- WEIGHTS`

use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::infer::transfer;
use ocelli::models::Mode;
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::{Error, Result};
use std::sync::Arc;

/// Runs it.
pub fn main() -> Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let path = std::env::args().nth(1).ok_or_else(|| Error::usage("name a file of weights"))?;
    let file = ModelFile::open(&path, OpenOptions::default())?;
    let settings = file.settings(1);
    let mut network = file.model.trainable()?.network(&settings, Mode::Inference)?;
    let (pixels, logits) = (network.pixels, network.logits);
    let seed = network.graph.input("seed", network.graph.shape(logits)?);
    let gradient = network.graph.gradients(logits, seed, &[pixels])?[0];
    let gradient = gradient.ok_or_else(|| Error::internal("the logits depend on the pixels"))?;
    let plan = Plan::new(&network.graph, &[logits, gradient], &PlanOptions::for_gpu(&gpu))?;
    let session = Session::new(gpu, plan, None)?;
    transfer::load(&session, network.parameters.iter(), file.tensors.as_ref())?;
    let [h, w] = settings.size;
    let picture: Vec<u8> = (0..h * w).flat_map(|i| [i as u8, (i / w * 7) as u8, 90, 255]).collect();
    session.write_stored(pixels, &picture)?;
    let class = |of: usize| (0..settings.classes).map(|i| f32::from(u8::from(i == of))).collect::<Vec<_>>();
    for of in 0..settings.classes.min(3) {
        session.write(seed, &class(of))?;
        session.run()?;
        let gradient = session.output(gradient)?;
        let norm = gradient.iter().map(|x| x * x).sum::<f32>().sqrt();
        println!("class {of}: {} numbers, norm {norm:.6}", gradient.len());
    }
    Ok(())
}
