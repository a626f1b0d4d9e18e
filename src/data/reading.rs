//! Which pictures are being read, and for how long: a disk at the other end of a dead network never answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What takes very long to be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    /// The name of a picture in the data set, a file or a folder.
    pub name: String,
    /// For how long that has been going on.
    pub since: Duration,
}

struct Read {
    start: Instant,
    told: bool,
}

/// The pictures that the threads of an epoch read.
#[derive(Default)]
pub(super) struct Reading {
    now: Mutex<HashMap<usize, Read>>,
    stopped: AtomicBool,
}

impl Reading {
    /// Reads picture `index`; `None` if nobody wants it any more.
    pub(super) fn read<T>(&self, index: usize, work: impl FnOnce() -> T) -> Option<T> {
        struct End<'a>(&'a Reading, usize);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.now.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
            }
        }
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let read = Read { start: Instant::now(), told: false };
        self.now.lock().unwrap_or_else(PoisonError::into_inner).insert(index, read);
        let _end = End(self, index);
        Some(work())
    }

    /// A picture that has been read for longer than `patience` and was not told before.
    pub(super) fn hung(&self, patience: Duration) -> Option<(usize, Duration)> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, read) =
            now.iter_mut().find(|(_, read)| !read.told && read.start.elapsed() >= patience)?;
        read.told = true;
        Some((*index, read.start.elapsed()))
    }

    /// No further picture is wanted.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
