//! Batches of pictures, decoded on CPU threads ahead of the GPU. The order depends on the seed and the epoch alone.

use super::aside::{PATIENCE, POLL};
use super::fast::decode_for;
use super::memory::hold;
use super::mixing::{Mixed, mix};
use super::reading::{Hung, Reading};
use super::{Augment, Dataset, Picture, Preprocessing};
use crate::error::{Choice, Error, Result};
use crate::random::{Draw, Stream, permutation, spread_draw};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many batches are prepared ahead of the one in use.
const AHEAD: usize = 2;

/// How long dropping an epoch waits for its threads. A thread that hangs in a system call is left running.
const FAREWELL: Duration = Duration::from_secs(1);

/// An epoch ends with an error if more than one in this many pictures cannot be read.
const READABLE: usize = 100;

/// How the pictures are treated that do not fill the last batch of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// They are left out, as in training.
    Drop,
    /// They form a batch whose other places are marked as not valid, as in evaluation.
    Keep,
}

/// How pictures are put into batches.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// The number of pictures in a batch.
    pub batch_size: usize,
    /// The height and width of all pictures in a batch.
    pub size: [usize; 2],
    /// How pictures are scaled to this size. The network normalises them.
    pub preprocessing: Preprocessing,
    /// The random variation of pictures.
    pub augment: Augment,
    /// Whether each epoch has a random order.
    pub shuffle: bool,
    /// Whether each class comes as often as any other, in a random order. Pictures of small classes then come several times in an
    /// epoch, and not all of a large class.
    pub balance: bool,
    /// The seed of order and variation.
    pub seed: u64,
    /// Use only this many pictures, spread evenly over the data set.
    pub limit: Option<usize>,
    /// How an incomplete last batch is treated.
    pub last: Last,
}

/// A picture that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The name in the data set.
    pub name: String,
    /// Why it could not be read.
    pub reason: String,
}

/// A batch of pictures and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The pixels: `batch_size * height * width * 4` bytes of RGBA.
    pub pixels: Vec<u8>,
    /// The class of each picture.
    pub labels: Vec<u32>,
    /// Whether each place holds a picture.
    pub valid: Vec<bool>,
    /// The pictures that could not be read.
    pub skipped: Vec<Skipped>,
    /// The second class of each place, if pictures were mixed; otherwise empty.
    pub mixed: Vec<Mixed>,
}

/// Makes batches of a data set.
#[derive(Clone)]
pub struct Loader {
    set: Arc<dyn Dataset>,
    options: LoaderOptions,
    pictures: usize,
    patience: Duration,
    unreadable: bool,
    fast_jpeg: bool,
    /// The epoch that [`Loader::prefetch`] has started, with its number and first step.
    begun: Arc<Mutex<Option<(u32, usize, Epoch)>>>,
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
            return Err(Error::usage("a batch of 0 pictures").hint("give a batch at least 1 picture"));
        }
        if pictures == 0 {
            return Err(Error::data("there are no pictures"));
        }
        if options.last == Last::Drop && options.batch_size > pictures {
            return Err(Error::data(format!(
                "a batch of {} pictures, and the data has {pictures}",
                options.batch_size
            ))
            .hint(format!("give a batch at most {pictures}")));
        }
        Ok(Self {
            set,
            options,
            pictures,
            patience: PATIENCE,
            unreadable: false,
            fast_jpeg: false,
            begun: Arc::default(),
        })
    }

    /// Sets whether an epoch goes on if more than 1% of its pictures cannot be read. By default it ends with [`Error::Data`].
    #[must_use]
    pub fn allow_unreadable(self, unreadable: bool) -> Self {
        Self { unreadable, ..self }
    }

    /// Sets whether a JPEG that is much larger than the input is decoded at a reduced scale if the augmentation crops it at random. The
    /// crop is the same, and at least twice as large as the input; pixels differ by a few levels. By default it is decoded in full.
    #[must_use]
    pub fn fast_jpeg(self, fast_jpeg: bool) -> Self {
        Self { fast_jpeg, ..self }
    }

    /// Sets how long reading a picture may take before [`Epoch::wait`] reports it. The default is 30 seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The number of pictures in an epoch, with those of an incomplete batch.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// The number of batches in an epoch.
    pub fn steps(&self) -> usize {
        match self.options.last {
            Last::Drop => self.pictures / self.options.batch_size,
            Last::Keep => self.pictures.div_ceil(self.options.batch_size),
        }
    }

    /// For each class the weight with which all classes count the same: the mean number of pictures of a class, divided by that of the
    /// class. The mean over all pictures is 1. A class without pictures has weight 0.
    pub fn class_weights(&self) -> Vec<f32> {
        let mut counts = vec![0usize; self.set.classes().len()];
        for index in self.order(0) {
            if let Some(count) = counts.get_mut(self.set.label(index) as usize) {
                *count += 1;
            }
        }
        let present = counts.iter().filter(|count| **count > 0).count().max(1);
        let mean = self.pictures as f64 / present as f64;
        counts.iter().map(|count| if *count == 0 { 0.0 } else { (mean / *count as f64) as f32 }).collect()
    }

    /// The name of the picture at a position of the first epoch.
    pub fn name(&self, place: usize) -> String {
        self.order(0).get(place).map_or_else(String::new, |index| self.set.name(*index))
    }

    /// Starts to prepare the first batches of an epoch, which the next call of [`Loader::epoch`] with the same arguments returns. No more
    /// of them are prepared than ahead of any other batch. It changes no bit.
    pub fn prefetch(&self, epoch: u32, first_step: usize) {
        let begun = Some((epoch, first_step, self.begin(epoch, first_step)));
        // An earlier one is dropped after the lock has been given back: that may wait for its threads.
        let earlier =
            std::mem::replace(&mut *self.begun.lock().unwrap_or_else(PoisonError::into_inner), begun);
        drop(earlier);
    }

    /// The pictures of the first epoch in order, as positions in the data set.
    pub fn positions(&self) -> Vec<usize> {
        self.order(0)
    }

    /// The picture at a position of the data set, as it is there, and its name.
    ///
    /// # Errors
    /// Those of the data set; [`Error::Usage`] if there is no such position.
    pub fn picture(&self, position: usize) -> Result<(String, Picture)> {
        if position >= self.set.len() {
            return Err(Error::usage(format!("there is no picture {position}")));
        }
        Ok((self.set.name(position), hold(|| self.set.load(position))?))
    }

    /// The batches of an epoch from step `first_step` on.
    pub fn epoch(&self, epoch: u32, first_step: usize) -> Epoch {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some((of, from, batches)) if (of, from) == (epoch, first_step) => batches,
            _ => self.begin(epoch, first_step),
        }
    }

    fn begin(&self, epoch: u32, first_step: usize) -> Epoch {
        let (send, receive) = sync_channel(AHEAD);
        // The thread must not keep the epoch that keeps the thread.
        let loader = Self { begun: Arc::default(), ..self.clone() };
        let reading = Arc::new(Reading::default());
        let shared = reading.clone();
        let worker = std::thread::spawn(move || loader.produce(epoch, first_step, &shared, &send));
        let (set, patience) = (self.set.clone(), self.patience);
        Epoch { receive: Some(receive), worker: Some(worker), reading, set, patience }
    }

    fn produce(&self, epoch: u32, first_step: usize, reading: &Reading, send: &SyncSender<Result<Batch>>) {
        let order = self.order(epoch);
        let mut unreadable = BTreeSet::new();
        for step in first_step..self.steps() {
            let made = catch_unwind(AssertUnwindSafe(|| self.batch(epoch, step, &order, reading)));
            let batch = made.unwrap_or_else(|_| Err(Error::internal("reading a batch failed")));
            let batch = batch.and_then(|batch| {
                self.check(&batch.skipped, &mut unreadable)?;
                Ok(batch)
            });
            let failed = batch.is_err();
            // The receiver is gone if no more batches are wanted.
            if send.send(batch).is_err() || failed {
                return;
            }
        }
    }

    /// The pictures of an epoch in order, as positions in the data set.
    fn order(&self, epoch: u32) -> Vec<usize> {
        let spread = |i: usize| (i as u128 * self.set.len() as u128 / self.pictures as u128) as usize;
        if self.options.balance {
            self.balanced((0..self.pictures).map(spread), epoch)
        } else if self.options.shuffle {
            permutation(self.options.seed, epoch, self.pictures)
                .into_iter()
                .map(|i| spread(i as usize))
                .collect()
        } else {
            (0..self.pictures).map(spread).collect()
        }
    }

    /// As many pictures as `all` has, of which each class has the same number or one more.
    fn balanced(&self, all: impl Iterator<Item = usize>, epoch: u32) -> Vec<usize> {
        let seed = self.options.seed;
        let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for index in all {
            classes.entry(self.set.label(index)).or_default().push(index);
        }
        let (count, total) = (classes.len().max(1), self.pictures);
        let mut drawn = Vec::with_capacity(total);
        for (place, (class, members)) in classes.iter().enumerate() {
            // The classes that get one more change from epoch to epoch.
            let turn = (place + epoch as usize) % count;
            let share = (turn + 1) * total / count - turn * total / count;
            let of_class = spread_draw(seed, epoch, *class, members.len(), share);
            drawn.extend(of_class.into_iter().filter_map(|i| members.get(i)));
        }
        let order = permutation(seed, epoch, drawn.len()).into_iter();
        order.filter_map(|i| drawn.get(i as usize).copied()).collect()
    }

    /// Counts the pictures that cannot be read, and ends the epoch if there are too many.
    pub(crate) fn check(&self, skipped: &[Skipped], unreadable: &mut BTreeSet<String>) -> Result<()> {
        unreadable.extend(skipped.iter().map(|skipped| skipped.name.clone()));
        let count = unreadable.len();
        match skipped.last() {
            Some(Skipped { name, reason }) if !self.unreadable && count * READABLE > self.pictures => {
                let few: Vec<_> = unreadable.iter().filter(|other| *other != name).take(2).cloned().collect();
                let others =
                    if few.is_empty() { String::new() } else { format!("; also {}", few.join(", ")) };
                Err(Error::data(format!(
                    "{reason}; {count} of {} pictures cannot be read, more than 1%{others}",
                    self.pictures
                ))
                .at(name.clone())
                .hint(Choice::SkipUnreadable.after("mend or remove them, or ")))
            }
            _ => Ok(()),
        }
    }

    /// Loads the picture `index` of the data set for a place of an epoch.
    fn load(&self, epoch: u32, place: usize, index: usize, reading: &Reading) -> Result<Picture> {
        let LoaderOptions { size, preprocessing, augment, seed, balance, .. } = &self.options;
        // A picture that comes several times in an epoch is varied each time.
        let element = if *balance { place } else { index };
        let draw = || Draw::new(*seed, Stream::Augment, epoch, element as u32);
        let vary = || {
            if self.fast_jpeg
                && let Some(bytes) = self.set.encoded(index)?
            {
                return decode_for(&bytes, augment, *size, draw())?.vary(augment, *size, preprocessing);
            }
            augment.apply(self.set.load(index)?, *size, preprocessing, draw())
        };
        let read = || hold(vary);
        reading.read(index, read).unwrap_or_else(|| Err(Error::stopped("not wanted any more")))
    }

    fn batch(&self, epoch: u32, step: usize, order: &[usize], reading: &Reading) -> Result<Batch> {
        let LoaderOptions { batch_size, size: [h, w], last, .. } = self.options;
        let first = step * batch_size;
        let places: Vec<usize> = (first..order.len().min(first + batch_size)).collect();
        let loaded: Vec<(usize, Result<Picture>)> = places
            .into_par_iter()
            .filter_map(|place| order.get(place).map(|index| (place, *index)))
            .map(|(place, index)| (place, self.load(epoch, place, index, reading)))
            .collect();
        let mut batch = Batch {
            pixels: vec![0; batch_size * h * w * 4],
            labels: vec![0; batch_size],
            valid: vec![false; batch_size],
            skipped: Vec::new(),
            mixed: Vec::new(),
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
                    // This batch is no longer wanted.
                    Err(error @ Error::Stopped(_)) => return Err(error),
                    Err(error) => {
                        let name = self.set.name(index);
                        // A picture that was tried as a replacement comes again in its own place.
                        if batch.skipped.iter().all(|s| s.name != name) {
                            batch.skipped.push(Skipped { name, reason: error.report().what.clone() });
                        }
                        tries += 1;
                        // In training, the next picture of the epoch replaces it.
                        if last == Last::Drop && tries < order.len() {
                            let next = order.get((place + tries) % order.len()).copied();
                            found = next.map(|next| (next, self.load(epoch, place, next, reading)));
                        }
                    }
                }
            }
        }
        match batch.skipped.first() {
            Some(Skipped { name, reason }) if last == Last::Drop && !batch.valid.contains(&true) => {
                Err(Error::data(format!("no picture of a whole batch can be read: {reason}"))
                    .at(name.clone())
                    .hint("check the files of the data set"))
            }
            _ => {
                let draw = Draw::new(self.options.seed, Stream::Mix, epoch, step as u32);
                mix(&mut batch, &self.options.augment, self.options.size, draw);
                Ok(batch)
            }
        }
    }
}

/// The batches of an epoch. Dropping it stops its threads. A thread that hangs in a system call is left running.
pub struct Epoch {
    receive: Option<Receiver<Result<Batch>>>,
    worker: Option<JoinHandle<()>>,
    reading: Arc<Reading>,
    set: Arc<dyn Dataset>,
    patience: Duration,
}

/// The result of waiting for a batch.
#[derive(Debug)]
pub enum Waited {
    /// A batch.
    Batch(Batch),
    /// The epoch has no more batches.
    End,
    /// `go_on` ended the wait.
    Stopped,
}

impl Epoch {
    /// Waits for the next batch. Until it is ready, `go_on` is called some times a second and says whether to keep waiting. It is told once
    /// of each picture whose reading takes longer than the patience of the loader.
    ///
    /// # Errors
    /// The errors of the data set, if all pictures of a batch or more than 1% of an epoch cannot be read.
    pub fn wait(&mut self, go_on: &mut dyn FnMut(Option<&Hung>) -> bool) -> Result<Waited> {
        let Some(receive) = &self.receive else { return Ok(Waited::End) };
        loop {
            match receive.recv_timeout(POLL) {
                Ok(batch) => return batch.map(Waited::Batch),
                Err(RecvTimeoutError::Disconnected) => return Ok(Waited::End),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let hung = self.reading.hung(self.patience);
            let hung = hung.map(|(index, since)| Hung { name: self.set.name(index), since });
            if !go_on(hung.as_ref()) {
                return Ok(Waited::Stopped);
            }
        }
    }
}

impl Epoch {
    /// Waits at most this long for the next batch; `None` if it is not ready by then.
    ///
    /// # Errors
    /// As [`Epoch::wait`].
    pub fn wait_for(&mut self, time: Duration) -> Result<Option<Waited>> {
        let Some(receive) = &self.receive else { return Ok(Some(Waited::End)) };
        match receive.recv_timeout(time) {
            Ok(batch) => batch.map(|batch| Some(Waited::Batch(batch))),
            Err(RecvTimeoutError::Disconnected) => Ok(Some(Waited::End)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
        }
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.receive.as_ref()?.recv().ok()
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // The channel is closed first, so that the worker does not wait for room in it.
        drop(self.receive.take());
        self.reading.stop();
        let Some(worker) = self.worker.take() else { return };
        let start = Instant::now();
        while !worker.is_finished() {
            if start.elapsed() > FAREWELL {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The worker catches panics and returns nothing.
        let _ = worker.join();
    }
}
