//! Classifies pictures: `cargo run --release --example classify -- WEIGHTS IMAGE...`

use ocelli::data::read_picture;
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::{Classifier, ClassifierOptions, Error, Result};
use std::sync::Arc;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let weights = arguments.next().ok_or_else(|| Error::usage("give WEIGHTS and IMAGE..."))?;
    let images: Vec<String> = arguments.collect();
    if images.is_empty() {
        return Err(Error::usage("there is no image to classify").hint("give WEIGHTS and IMAGE..."));
    }
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let classifier = Classifier::open(&gpu, weights, ClassifierOptions::default())?;
    for path in images {
        for best in classifier.classify(&read_picture(&path)?, 3)? {
            println!("{path}: {:.1}% {}", 100.0 * best.probability, best.label);
        }
    }
    Ok(())
}
