//! Which pictures are being read, and for how long: a disk at the other end of a dead network never answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// `None` while its thread waits for memory, not for the disk.
    start: Option<Instant>,
    told: bool,
}

type Shared = Arc<Mutex<Read>>;

thread_local! {
    /// What this thread reads.
    static CURRENT: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for something else than the disk: the time does not count, and the reading begins behind it.
pub(super) fn paused<T>(wait: impl FnOnce() -> T) -> T {
    let start_at = |start: Option<Instant>| {
        CURRENT.with_borrow(|read| read.iter().for_each(|read| lock(read).start = start));
    };
    start_at(None);
    let waited = wait();
    start_at(Some(Instant::now()));
    waited
}

/// The pictures that the threads of an epoch read.
#[derive(Default)]
pub(super) struct Reading {
    now: Mutex<HashMap<usize, Shared>>,
    stopped: AtomicBool,
}

impl Reading {
    /// Reads picture `index`; `None` if nobody wants it any more.
    pub(super) fn read<T>(&self, index: usize, work: impl FnOnce() -> T) -> Option<T> {
        struct End<'a>(&'a Reading, usize);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                CURRENT.set(None);
                lock(&self.0.now).remove(&self.1);
            }
        }
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let read = Arc::new(Mutex::new(Read { start: Some(Instant::now()), told: false }));
        CURRENT.set(Some(read.clone()));
        lock(&self.now).insert(index, read);
        let _end = End(self, index);
        Some(work())
    }

    /// A picture that has been read for longer than `patience` and was not told before.
    pub(super) fn hung(&self, patience: Duration) -> Option<(usize, Duration)> {
        lock(&self.now).iter().find_map(|(index, read)| {
            let mut read = lock(read);
            let since = read.start?.elapsed();
            let tells = !read.told && since >= patience;
            read.told |= tells;
            tells.then_some((*index, since))
        })
    }

    /// No further picture is wanted.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_memory_is_no_reading() {
        let reading = Reading::default();
        let patience = Duration::from_millis(50);
        let nap = || std::thread::sleep(2 * patience);
        reading.read(3, || {
            paused(|| {
                nap();
                assert_eq!(reading.hung(patience), None, "it waits for memory");
            });
            assert_eq!(reading.hung(Duration::from_secs(20)), None, "it has begun");
            nap();
            let (index, since) = reading.hung(patience).unwrap();
            assert!(index == 3 && since >= 2 * patience, "{since:?}");
            assert_eq!(reading.hung(patience), None, "it is told once");
        });
        paused(|| assert_eq!(reading.hung(Duration::ZERO), None));
    }
}
