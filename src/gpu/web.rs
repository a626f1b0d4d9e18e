//! Reading back in a browser, where nothing may block: the page goes on while the GPU computes.

use super::device::Gpu;
use super::run::{Buffer, Submission, seen};
use crate::error::{Error, Result};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// What a callback and the one who waits for it share.
struct Shared<T> {
    done: Option<T>,
    waiting: Option<Waker>,
}

/// What the callback that is handed to `begin` is called with.
async fn called_back<T: Send + 'static>(begin: impl FnOnce(Box<dyn FnOnce(T) + Send>)) -> T {
    let shared = Arc::new(Mutex::new(Shared { done: None, waiting: None }));
    let ours = shared.clone();
    begin(Box::new(move |done| {
        let mut shared = ours.lock().unwrap_or_else(PoisonError::into_inner);
        shared.done = Some(done);
        if let Some(waker) = shared.waiting.take() {
            waker.wake();
        }
    }));
    poll_fn(|context| {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared.done.take() {
            Some(done) => Poll::Ready(done),
            None => {
                shared.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

impl Gpu {
    /// Waits for what was submitted to fill a staging buffer, and returns its first `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, _filled: &Submission) -> Result<Vec<u8>> {
        self.faults.check()?;
        // A browser maps a buffer after all that was submitted before.
        let mapped = called_back(|done| seen(staging, bytes).map_async(wgpu::MapMode::Read, done)).await;
        // The cause of a failed read is what went wrong before it, though that may be told after it.
        if mapped.is_err() {
            self.finished().await?;
        }
        self.faults.check()?;
        mapped.map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        Self::mapped(staging, bytes)
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn finished(&self) -> Result<()> {
        called_back(|done| self.queue.on_submitted_work_done(move || done(()))).await;
        self.faults.check()
    }
}
