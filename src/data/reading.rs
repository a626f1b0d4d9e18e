//! The pictures that are being read, and for how long. A network disk may never answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that takes very long to read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    /// The name of a picture in the data set, a file or a folder.
    pub name: String,
    /// For how long it has been read or written.
    pub since: Duration,
}

struct Read {
    /// `None` while the thread waits for memory, not for the disk.
    start: Option<Instant>,
    told: bool,
}

type Shared = Arc<Mutex<Read>>;

thread_local! {
        /// The picture that this thread reads.
    static CURRENT: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for something other than the disk. This time does not count: the clock of the picture starts again afterwards.
pub(super) fn paused<T>(wait: impl FnOnce() -> T) -> T {
    let start_at = |start: Option<Instant>| {
        CURRENT.with_borrow(|read| read.iter().for_each(|read| lock(read).start = start));
    };
    start_at(None);
    let waited = wait();
    start_at(Some(Instant::now()));
    waited
}

/// The pictures that the threads of an epoch are reading.
#[derive(Default)]
pub(super) struct Reading {
    now: Mutex<HashMap<usize, Shared>>,
    stopped: AtomicBool,
}

impl Reading {
    /// Reads picture `index`; `None` if it is no longer wanted.
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

    /// A picture that takes longer than `patience` to read and was not reported before.
    pub(super) fn hung(&self, patience: Duration) -> Option<(usize, Duration)> {
        lock(&self.now).iter().find_map(|(index, read)| {
            let mut read = lock(read);
            let since = read.start?.elapsed();
            let tells = !read.told && since >= patience;
            read.told |= tells;
            tells.then_some((*index, since))
        })
    }

    /// Lets all later calls of [`Reading::read`] return `None`.
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
