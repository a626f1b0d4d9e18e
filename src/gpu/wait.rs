//! Whatever waits for the GPU. A browser must not be kept waiting, see `web.rs`.

use super::device::{Gpu, lost};
use super::resource::{Buffer, Reading};
use super::submit::{CommandList, Submission};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// How long a callback may take that is due.
const CALLBACK_TIME: Duration = Duration::from_secs(60);

impl Gpu {
    /// As [`Gpu::submit_timed_async`], blocking.
    ///
    /// # Errors
    /// As [`Gpu::submit_timed_async`].
    pub fn submit_timed(&self, pass: &CommandList) -> Result<Option<Vec<f64>>> {
        pollster::block_on(self.submit_timed_async(pass))
    }

    /// Waits until the GPU has done everything submitted.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device was lost on the way.
    pub fn wait(&self) -> Result<()> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    fn poll(&self, until: wgpu::PollType) -> Result<()> {
        // wgpu 30 panics in `poll` when the device is lost, before its callback could turn it into an error.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        self.faults.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::gpu(format!("waiting for the GPU failed: {error}"))),
            Err(_) => Err(lost("it stopped answering")),
        }
    }

    /// Waits for what was submitted last to fill a staging buffer, not for what came after that, and returns its first `bytes`
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed on the way, [`Error::Usage`] if another call reads it.
    pub fn read(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        let (send, receive) = mpsc::channel();
        let mut reading = Reading::begin(staging, bytes)?;
        reading.map(bytes, move |mapped| {
            // The receiver is gone only if waiting failed, and then that error is the one to report.
            let _ = send.send(mapped);
        });
        self.poll(wgpu::PollType::Wait { submission_index: Some(filled.0.clone()), timeout: None })?;
        // Another thread's `wait` may be the one that runs the callback, and may not have come to it yet.
        match receive.recv_timeout(CALLBACK_TIME) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                reading.failed();
                return Err(Error::gpu(format!("reading from the GPU failed: {error}")));
            }
            Err(_) => return Err(lost("it gave no answer to a read")),
        }
        Self::mapped(staging, bytes)
    }

    /// As [`Gpu::read`], which it is here; a browser awaits it.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        self.read(staging, bytes, filled)
    }

    /// Waits for everything submitted, which it does blocking here; a browser awaits it.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub async fn finished(&self) -> Result<()> {
        self.wait()
    }

    /// Copies a buffer's first `bytes` bytes to the host, waiting for what was submitted before.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn download(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        pollster::block_on(self.download_async(buffer, bytes))
    }
}
