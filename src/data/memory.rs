//! A limit on the memory that all threads together take for pictures while they read them.

use super::reading::paused;
use std::cell::RefCell;
use std::sync::{Condvar, Mutex, PoisonError};

/// The pool for decoders and decoded pictures, until these are scaled to the size of the input: 2 GiB.
pub(super) static DECODERS: Pool = Pool::new(2 << 30);

/// The pool for the bytes of files: 512 MiB, the size of the largest file that is read.
pub(super) static FILES: Pool = Pool::new(512 << 20);

/// A number of bytes that several threads share.
pub(super) struct Pool {
    most: u64,
    used: Mutex<u64>,
    freed: Condvar,
}

/// A part of a pool. It is given back when it is dropped.
pub(super) struct Taken {
    pool: &'static Pool,
    bytes: u64,
}

thread_local! {
        /// The parts that this thread keeps until the end of `hold`.
    static HELD: RefCell<Option<Vec<Taken>>> = const { RefCell::new(None) };
}

impl Pool {
    const fn new(most: u64) -> Self {
        Self { most, used: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until this many bytes are free. A request for more than the whole pool waits for the whole pool. A thread that already keeps
    /// a part does not wait: that could be a deadlock.
    pub(super) fn take(&'static self, bytes: u64) -> Taken {
        let bytes = bytes.min(self.most);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let keeps = HELD.with_borrow(|held| held.as_ref().is_some_and(|held| !held.is_empty()));
        if !keeps && *used + bytes > self.most {
            used = paused(|| {
                let full = |used: &mut u64| *used + bytes > self.most;
                self.freed.wait_while(used, full).unwrap_or_else(PoisonError::into_inner)
            });
        }
        *used += bytes;
        Taken { pool: self, bytes }
    }
}

impl Taken {
    /// Gives the part back at the end of the enclosing [`hold`], if there is one: the picture lives until then.
    pub(super) fn release(self) {
        HELD.with_borrow_mut(|held| {
            if let Some(held) = held {
                held.push(self);
            }
        });
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.pool.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.pool.freed.notify_all();
    }
}

/// Does the work on one picture. The memory that its decoder has taken counts until the end. The work must not wait for another thread
/// that decodes.
pub(super) fn hold<T>(work: impl FnOnce() -> T) -> T {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            let held = HELD.take();
            drop(held);
        }
    }
    HELD.set(Some(Vec::new()));
    let _end = End;
    work()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    static SMALL: Pool = Pool::new(100);

    #[test]
    fn a_thread_does_not_wait_for_itself() {
        static FULL: Pool = Pool::new(100);
        static OTHER: Pool = Pool::new(100);
        let (send, receive) = std::sync::mpsc::channel();
        let elsewhere = OTHER.take(80);
        std::thread::spawn(move || {
            hold(|| {
                FULL.take(80).release();
                FULL.take(80).release();
                OTHER.take(80).release();
            });
            send.send(*FULL.used.lock().unwrap()).unwrap();
        });
        assert_eq!(receive.recv_timeout(Duration::from_secs(20)), Ok(0));
        drop(elsewhere);
        assert_eq!(*OTHER.used.lock().unwrap(), 0);
    }

    #[test]
    fn threads_wait_for_memory_and_get_it() {
        let used = || *SMALL.used.lock().unwrap();
        let first = SMALL.take(60);
        let (send, receive) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            hold(|| {
                SMALL.take(60).release();
                send.send(()).unwrap();
                assert_eq!(*SMALL.used.lock().unwrap(), 60, "held until the end of the work");
            });
        });
        assert!(receive.recv_timeout(Duration::from_millis(200)).is_err(), "120 of 100 bytes");
        first.release();
        receive.recv_timeout(Duration::from_secs(20)).unwrap();
        other.join().unwrap();
        assert_eq!(used(), 0);
        // A request for too much waits for the whole pool, and a panic gives it back.
        let caught = std::panic::catch_unwind(|| {
            hold(|| {
                SMALL.take(1000).release();
                let whole = used();
                assert!(whole != 100, "this panic is meant: all {whole} bytes are taken");
            })
        });
        assert!(caught.is_err());
        assert_eq!(used(), 0);
    }
}
