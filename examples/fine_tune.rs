//! Fine-tunes weights for three other classes: `cargo run --release --example fine_tune -- [WEIGHTS]`.
//! Without a file it starts from a network that has not been trained.

use ocelli::Result;
use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::models::{Arch, Settings};
use ocelli::train::{Hyper, TrainingOptions, TrainingStep};
use ocelli::weights::{InMemory, Source};
use std::path::Path;
use std::sync::Arc;

const BATCH: usize = 16;

/// Trains everything from `source` but its classifier, which starts new, for as many classes as the settings say.
fn fine_tune(gpu: &Arc<Gpu>, arch: &Arch, settings: &Settings, source: &dyn Source) -> Result<()> {
    let step = TrainingStep::new(gpu, arch, settings, TrainingOptions::default())?;
    step.load_except_classifier(source, 1)?;
    let picture = settings.size[0] * settings.size[1] * 4;
    for s in 0..12 {
        let labels: Vec<u32> = (0..BATCH).map(|i| ((i + s) % settings.classes) as u32).collect();
        // Pictures in which the colour of the label is bright.
        let noise = |i: usize| ((i + s * 7919).wrapping_mul(2_654_435_761) >> 9) as u8 / 2;
        let bright = |i: usize| 50 * u8::from(i % 4 == labels[i / picture] as usize);
        let pixels: Vec<u8> = (0..BATCH * picture).map(|i| noise(i) + bright(i)).collect();
        let outcome = step.step(&pixels, &labels, &Hyper::default().with_noise(1, s as u64))?;
        println!("step {s}: loss {:.4}", outcome.loss.iter().sum::<f32>() / BATCH as f32);
    }
    Ok(())
}

fn main() -> Result<()> {
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    if let Some(path) = std::env::args().nth(1) {
        let file = ModelFile::open(Path::new(&path), OpenOptions::default())?;
        let settings = Settings { classes: 3, ..file.settings(BATCH) };
        return fine_tune(&gpu, file.model.trainable()?, &settings, file.tensors.as_ref());
    }
    let arch = Arch::find("resnet20")?;
    let untrained = TrainingStep::new(&gpu, arch, &arch.settings(BATCH), TrainingOptions::default())?;
    untrained.initialize(0, None)?;
    fine_tune(
        &gpu,
        arch,
        &Settings { classes: 3, ..arch.settings(BATCH) },
        &InMemory::new(&untrained.weights()?),
    )
}
