//! Reading back in a browser, where nothing may block: the page goes on while the GPU computes.

use super::device::Gpu;
use super::run::{Buffer, Submission, seen};
use crate::error::{Error, Result};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// What a callback and the one who waits for it share.
#[derive(Default)]
struct Mapping {
    done: Option<std::result::Result<(), wgpu::BufferAsyncError>>,
    waiting: Option<Waker>,
}

impl Gpu {
    /// Waits for what was submitted to fill a staging buffer, and returns its first `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way.
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, _filled: &Submission) -> Result<Vec<u8>> {
        self.faults.check()?;
        let mapping = Arc::new(Mutex::new(Mapping::default()));
        let ours = mapping.clone();
        // A browser maps a buffer after all that was submitted before.
        seen(staging, bytes).map_async(wgpu::MapMode::Read, move |mapped| {
            let mut mapping = ours.lock().unwrap_or_else(PoisonError::into_inner);
            mapping.done = Some(mapped);
            if let Some(waker) = mapping.waiting.take() {
                waker.wake();
            }
        });
        let mapped = poll_fn(|context| {
            let mut mapping = mapping.lock().unwrap_or_else(PoisonError::into_inner);
            match mapping.done.take() {
                Some(mapped) => Poll::Ready(mapped),
                None => {
                    mapping.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        // The cause of a failed read is what went wrong before it.
        self.faults.check()?;
        mapped.map_err(|e| Error::gpu(format!("reading from the GPU failed: {e}")))?;
        Self::mapped(staging, bytes)
    }
}
