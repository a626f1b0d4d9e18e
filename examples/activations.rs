//! The mean activation of every layer for a picture: `cargo run --release --example activations -- WEIGHTS IMAGE`

use ocelli::data::read_picture;
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::{Classifier, ClassifierOptions, Error, Result};
use std::sync::Arc;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, image] = &arguments[..] else { return Err(Error::usage("give WEIGHTS and IMAGE")) };
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let classifier = Classifier::open(&gpu, weights, ClassifierOptions::default())?;
    let picture = read_picture(image)?;
    for layer in classifier.layer_names() {
        let activations = classifier.activations(&picture, layer)?;
        let mean = activations.data.iter().sum::<f32>() / activations.data.len() as f32;
        println!("{layer:24} {:?} mean {mean:.4}", activations.shape);
    }
    Ok(())
}
