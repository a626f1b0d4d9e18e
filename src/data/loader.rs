//! Batches, decoded on CPU threads ahead of the GPU. The order depends on the seed and the epoch alone.

use super::{Augment, Dataset, Picture, Preprocessing, fit};
use crate::error::{Error, Result};
use crate::random::permutation;
use rayon::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Batches that are made ahead of the one in use.
const AHEAD: usize = 2;

/// What becomes of the pictures that do not fill the last batch of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// They are left out: for training.
    Drop,
    /// They come in a batch whose other places are marked as not valid: for evaluation.
    Keep,
}

/// How pictures become batches.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// Pictures in a batch.
    pub batch_size: usize,
    /// Height and width that all pictures are brought to.
    pub size: [usize; 2],
    /// How they are brought to it. Normalising them is the network's part.
    pub preprocessing: Preprocessing,
    /// How they are varied.
    pub augment: Augment,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Decides order and variation.
    pub seed: u64,
    /// Use only so many pictures, spread over the data set evenly.
    pub limit: Option<usize>,
    /// What becomes of the rest of an epoch.
    pub last: Last,
}

/// A picture that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name in the data set.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What a step works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// RGBA, `batch_size * height * width * 4` bytes.
    pub pixels: Vec<u8>,
    /// Classes.
    pub labels: Vec<u32>,
    /// Which places hold a picture.
    pub valid: Vec<bool>,
    /// The pictures that could not be read.
    pub skipped: Vec<Skipped>,
}

/// Makes batches of a data set.
#[derive(Clone)]
pub struct Loader {
    set: Arc<dyn Dataset>,
    options: LoaderOptions,
    pictures: usize,
}

impl Loader {
    /// Checks that the data set fills at least one batch.
    ///
    /// # Errors
    /// [`Error::Usage`] for a batch of 0, [`Error::Data`] if there are no pictures or, with [`Last::Drop`], fewer than
    /// a batch.
    pub fn new(set: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        let pictures = options.limit.map_or(set.len(), |limit| limit.min(set.len()));
        if options.batch_size == 0 {
            return Err(Error::usage("a batch of 0 pictures").cure("give a batch at least 1 picture"));
        }
        if pictures == 0 {
            return Err(Error::data("there are no pictures"));
        }
        if options.last == Last::Drop && options.batch_size > pictures {
            return Err(Error::data(format!(
                "a batch of {} pictures, and the data has {pictures}",
                options.batch_size
            ))
            .cure(format!("give a batch at most {pictures}")));
        }
        Ok(Self { set, options, pictures })
    }

    /// Pictures in an epoch, those of an incomplete batch included.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        match self.options.last {
            Last::Drop => self.pictures / self.options.batch_size,
            Last::Keep => self.pictures.div_ceil(self.options.batch_size),
        }
    }

    /// The name of the picture at a place of the first epoch.
    pub fn name(&self, place: usize) -> String {
        self.order(0).get(place).map_or_else(String::new, |index| self.set.name(*index))
    }

    /// The batches of an epoch from step `first_step` on.
    pub fn epoch(&self, epoch: u32, first_step: usize) -> Epoch {
        let (send, receive) = sync_channel(AHEAD);
        let loader = self.clone();
        let worker = std::thread::spawn(move || loader.produce(epoch, first_step, &send));
        Epoch { receive: Some(receive), worker: Some(worker) }
    }

    fn produce(&self, epoch: u32, first_step: usize, send: &SyncSender<Result<Batch>>) {
        let order = self.order(epoch);
        for step in first_step..self.steps() {
            let made = catch_unwind(AssertUnwindSafe(|| self.batch(epoch, step, &order)));
            let batch = made.unwrap_or_else(|_| Err(Error::internal("reading a batch failed")));
            let failed = batch.is_err();
            // The receiver is gone when nobody wants more batches.
            if send.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// The pictures of an epoch in order, as positions in the data set.
    fn order(&self, epoch: u32) -> Vec<usize> {
        let spread = |i: usize| (i as u128 * self.set.len() as u128 / self.pictures as u128) as usize;
        if self.options.shuffle {
            permutation(self.options.seed, epoch, self.pictures)
                .into_iter()
                .map(|i| spread(i as usize))
                .collect()
        } else {
            (0..self.pictures).map(spread).collect()
        }
    }

    fn load(&self, epoch: u32, index: usize) -> Result<Picture> {
        let [h, w] = self.options.size;
        let picture = fit(self.set.load(index)?, &self.options.preprocessing, h, w)?;
        Ok(self.options.augment.apply(picture, self.options.seed, epoch, index as u32))
    }

    fn batch(&self, epoch: u32, step: usize, order: &[usize]) -> Result<Batch> {
        let LoaderOptions { batch_size, size: [h, w], last, .. } = self.options;
        let first = step * batch_size;
        let places: Vec<usize> = (first..order.len().min(first + batch_size)).collect();
        let loaded: Vec<(usize, Result<Picture>)> = places
            .into_par_iter()
            .filter_map(|place| order.get(place).map(|index| (place, *index)))
            .map(|(place, index)| (place, self.load(epoch, index)))
            .collect();
        let mut batch = Batch {
            pixels: vec![0; batch_size * h * w * 4],
            labels: vec![0; batch_size],
            valid: vec![false; batch_size],
            skipped: Vec::new(),
        };
        let targets = batch.pixels.chunks_exact_mut(h * w * 4).zip(&mut batch.labels).zip(&mut batch.valid);
        for (((pixels, label), valid), (place, result)) in targets.zip(loaded) {
            let mut found = order.get(place).copied().zip(Some(result));
            let mut tries = 0;
            while let Some((index, result)) = found.take() {
                match result {
                    Ok(picture) => {
                        pixels.copy_from_slice(picture.rgba());
                        (*label, *valid) = (self.set.label(index), true);
                    }
                    Err(error) => {
                        let name = self.set.name(index);
                        // A picture that stands in for the one before it in vain comes again in its own place.
                        if batch.skipped.iter().all(|s| s.name != name) {
                            batch.skipped.push(Skipped { name, reason: error.report().what.clone() });
                        }
                        tries += 1;
                        // In training the next picture of the epoch takes the place.
                        if last == Last::Drop && tries < order.len() {
                            let next = order.get((place + tries) % order.len()).copied();
                            found = next.map(|next| (next, self.load(epoch, next)));
                        }
                    }
                }
            }
        }
        match batch.skipped.first() {
            Some(Skipped { name, reason }) if last == Last::Drop && !batch.valid.contains(&true) => {
                Err(Error::data(format!("no picture of a whole batch can be read: {reason}"))
                    .at(name.clone())
                    .cure("check the files of the data set"))
            }
            _ => Ok(batch),
        }
    }
}

/// The batches of an epoch. Dropping it stops the threads behind it.
pub struct Epoch {
    receive: Option<Receiver<Result<Batch>>>,
    worker: Option<JoinHandle<()>>,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receive.as_ref()?.recv().ok()
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // First the channel, so that the worker does not wait for room in it.
        drop(self.receive.take());
        if let Some(worker) = self.worker.take() {
            // It catches its panics and has nothing to return.
            let _ = worker.join();
        }
    }
}
