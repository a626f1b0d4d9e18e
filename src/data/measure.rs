//! The speed of the loader alone.

use super::fast::decode_for;
use super::memory::hold;
use super::{Dataset, Loader, LoaderOptions, Waited, decode};
use crate::error::{Error, Result};
use crate::random::{Draw, Stream};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pictures whose stages are timed one after the other before the clock is read.
const AT_ONCE: usize = 32;

/// The speed of the loader. A stage has the time that a picture spends in it on one thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoaderSpeed {
    /// The threads that read pictures.
    pub workers: usize,
    /// The pictures of the measurement.
    pub pictures: u64,
    /// Pictures in a second.
    pub pictures_per_s: f64,
    /// Megabytes (10^6 bytes) of files in a second; absent for data that does not consist of files.
    pub mb_per_s: Option<f64>,
    /// Pictures in a second of processor time, all threads together; absent where the system does not say it (Linux does).
    pub pictures_per_cpu_s: Option<f64>,
    /// Microseconds to read a picture's file.
    pub read_us: f64,
    /// Microseconds to decode it.
    pub decode_us: f64,
    /// Microseconds to crop, scale and vary it.
    pub augment_us: f64,
    /// Pictures that could not be read.
    pub skipped: u64,
}

/// Sets the number of threads that read pictures, once, before the first is read. The default is one for each processor core.
/// The batches have the same bits with any number.
///
/// # Errors
/// [`Error::Usage`] if they have started already, or the system gives no threads.
pub fn use_threads(count: usize) -> Result<()> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
    built.map_err(|e| {
        Error::usage(format!("{count} threads cannot be used to read pictures: {e}"))
            .with_source(e)
            .hint("choose the number before the first picture is read, and not above what the system allows")
    })
}

/// Measures batches of a data set for `time`, and the stages of reading for half of that.
///
/// # Errors
/// Those of [`Loader`]; [`Error::Stopped`] if `go_on` says so.
pub fn measure_loader(
    set: Arc<dyn Dataset>,
    options: &LoaderOptions,
    fast_jpeg: bool,
    time: Duration,
    go_on: &dyn Fn() -> bool,
) -> Result<LoaderSpeed> {
    let loader = Loader::new(set.clone(), options.clone())?.fast_jpeg(fast_jpeg).allow_unreadable(true);
    let stopped = || Error::stopped("stopped");
    let (mut pictures, mut skipped) = (0, 0);
    let mut first: Option<(Instant, Option<f64>)> = None;
    let (mut wall, mut cpu) = (Duration::ZERO, None);
    'epochs: for epoch in 0.. {
        let mut batches = loader.epoch(epoch, 0);
        loop {
            match batches.wait(&mut |_| go_on())? {
                Waited::End => break,
                Waited::Stopped => return Err(stopped()),
                Waited::Batch(batch) => {
                    skipped += batch.skipped.len() as u64;
                    // The clock starts with the first batch: threads have started, and a few batches are under way.
                    let Some((start, cpu_start)) = first else {
                        first = Some((Instant::now(), cpu_seconds()));
                        continue;
                    };
                    pictures += batch.valid.iter().filter(|valid| **valid).count() as u64;
                    wall = start.elapsed();
                    if wall >= time {
                        cpu = cpu_start.zip(cpu_seconds()).map(|(start, end)| end - start);
                        break 'epochs;
                    }
                }
            }
        }
    }
    let stages = stages(set.as_ref(), options, fast_jpeg, time / 2, go_on)?;
    let per_picture = |sum: f64| 1e6 * sum / stages.pictures.max(1) as f64;
    let pictures_per_s = pictures as f64 / wall.as_secs_f64().max(1e-9);
    let bytes = stages.bytes as f64 / stages.pictures.max(1) as f64;
    Ok(LoaderSpeed {
        workers: rayon::current_num_threads(),
        pictures,
        pictures_per_s,
        mb_per_s: (bytes > 0.0).then_some(pictures_per_s * bytes / 1e6),
        pictures_per_cpu_s: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| pictures as f64 / cpu),
        read_us: per_picture(stages.read),
        decode_us: per_picture(stages.decode),
        augment_us: per_picture(stages.augment),
        skipped,
    })
}

/// Sums over pictures: seconds in each stage, and bytes of files.
#[derive(Default)]
struct Stages {
    pictures: u64,
    bytes: u64,
    read: f64,
    decode: f64,
    augment: f64,
}

impl Stages {
    fn and(self, other: Self) -> Self {
        Self {
            pictures: self.pictures + other.pictures,
            bytes: self.bytes + other.bytes,
            read: self.read + other.read,
            decode: self.decode + other.decode,
            augment: self.augment + other.augment,
        }
    }
}

fn stages(
    set: &dyn Dataset,
    options: &LoaderOptions,
    fast: bool,
    time: Duration,
    go_on: &dyn Fn() -> bool,
) -> Result<Stages> {
    let start = Instant::now();
    let mut sum = Stages::default();
    let count = set.len();
    // A step that shares no factor with the usual sizes of classes: every class is measured.
    let order: Vec<usize> = (0..count).map(|i| (i as u128 * 7919 % count as u128) as usize).collect();
    for chunk in order.chunks(AT_ONCE).cycle() {
        let of_picture = |i: &usize| hold(|| stages_of(set, *i, options, fast)).unwrap_or_default();
        sum = sum.and(chunk.par_iter().map(of_picture).reduce(Stages::default, Stages::and));
        if !go_on() {
            return Err(Error::stopped("stopped"));
        }
        if start.elapsed() >= time {
            break;
        }
    }
    Ok(sum)
}

fn stages_of(set: &dyn Dataset, i: usize, options: &LoaderOptions, fast: bool) -> Result<Stages> {
    let LoaderOptions { size, preprocessing, augment, seed, .. } = options;
    let draw = Draw::new(*seed, Stream::Augment, 0, i as u32);
    let start = Instant::now();
    let encoded = set.encoded(i)?;
    let (bytes, read) = (encoded.as_ref().map_or(0, |bytes| bytes.len() as u64), start.elapsed());
    let decoded;
    match encoded {
        Some(bytes) if fast => {
            let cut = decode_for(&bytes, augment, *size, draw)?;
            decoded = start.elapsed();
            cut.vary(augment, *size, preprocessing)?;
        }
        encoded => {
            let picture = encoded.map_or_else(|| set.load(i), |bytes| decode(&bytes))?;
            decoded = start.elapsed();
            augment.apply(picture, *size, preprocessing, draw)?;
        }
    }
    let all = start.elapsed();
    Ok(Stages {
        pictures: 1,
        bytes,
        read: read.as_secs_f64(),
        decode: (decoded - read).as_secs_f64(),
        augment: (all - decoded).as_secs_f64(),
    })
}

/// The processor time of this process, in hundredths of a second: fields 14 and 15 of `/proc/self/stat` (proc(5)).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may have blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}
