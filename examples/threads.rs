//! One classifier for several threads, pictures as RGB in memory, batches of 8: `cargo run --release --example threads -- WEIGHTS`

use ocelli::data::Picture;
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::{Classifier, ClassifierOptions, Error, Result};
use std::sync::Arc;

/// A picture of 48 x 40 pixels.
fn picture(seed: usize) -> Result<Picture> {
    let rgb: Vec<u8> = (0..40 * 48 * 3).map(|i| ((i * (seed * 7 + 3)) >> (seed % 5)) as u8).collect();
    Picture::from_rgb(40, 48, &rgb)
}

fn main() -> Result<()> {
    let weights = std::env::args().nth(1).ok_or_else(|| Error::usage("give WEIGHTS"))?;
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let options = ClassifierOptions { batch_size: 8, ..ClassifierOptions::default() };
    let classifier = Classifier::open(&gpu, weights, options)?;
    std::thread::scope(|scope| {
        let work = |thread: usize| {
            // Any number of pictures: the classifier makes batches of them.
            let pictures = (20 * thread..20 * (thread + 1)).map(picture).collect::<Result<Vec<_>>>()?;
            classifier.logits(&pictures)
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        for (number, thread) in threads.into_iter().enumerate() {
            let logits = thread.join().map_err(|_| Error::internal("a thread panicked"))??;
            println!("thread {number}: {} pictures, the first {:?}", logits.len(), logits.first());
        }
        Ok(())
    })
}
