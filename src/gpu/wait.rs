//! Blocking calls. A browser must not block; `web.rs` has the asynchronous versions.

use super::device::Gpu;
use super::resource::{Buffer, Reading};
use super::submit::{CommandList, Submission};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// The longest wait for a callback that is due.
const CALLBACK_TIME: Duration = Duration::from_secs(60);

impl Gpu {
    /// Blocking form of [`Gpu::submit_timed_async`].
    ///
    /// # Errors
    /// As [`Gpu::submit_timed_async`].
    pub fn submit_timed(&self, pass: &CommandList) -> Result<Option<Vec<f64>>> {
        pollster::block_on(self.submit_timed_async(pass))
    }

    /// Waits until the GPU has done all submitted work.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device was lost.
    pub fn wait(&self) -> Result<()> {
        self.poll(wgpu::PollType::wait_indefinitely())
    }

    fn poll(&self, until: wgpu::PollType) -> Result<()> {
        // wgpu 30 panics in `poll` when the device is lost, before its callback can report an error.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        self.faults.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                // A device that is lost refuses submissions, so that there is nothing to wait for. The reason comes with its callback.
                let _ = catch_unwind(AssertUnwindSafe(|| self.device.poll(wgpu::PollType::Poll)));
                self.faults.check()?;
                Err(Error::gpu(format!("waiting for the GPU failed: {error}")))
            }
            Err(_) => Err(self.gone("it stopped answering")),
        }
    }

    /// Whether a submission is done. It does not wait. A device that failed counts as done: the read-back reports why.
    pub fn is_done(&self, submission: &Submission) -> bool {
        let until = wgpu::PollType::Wait {
            submission_index: Some(submission.0.clone()),
            timeout: Some(Duration::ZERO),
        };
        // It panics as in `poll` above.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        !matches!(polled, Ok(Err(wgpu::PollError::Timeout)))
    }

    /// Waits for the submission `filled`, but not for later ones, and returns the first `bytes` bytes of the staging
    /// buffer.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed, [`Error::Usage`] if another call is reading the buffer.
    pub fn read(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        let (send, receive) = mpsc::channel();
        let mut reading = Reading::begin(staging, bytes)?;
        reading.map(bytes, move |mapped| {
            // The receiver is gone only if the wait failed; that error is reported.
            let _ = send.send(mapped);
        });
        self.poll(wgpu::PollType::Wait { submission_index: Some(filled.0.clone()), timeout: None })?;
        // A `wait` in another thread may run the callback, and may not have run it yet.
        match receive.recv_timeout(CALLBACK_TIME) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                reading.failed();
                self.faults.check()?;
                return Err(Error::gpu(format!("reading from the GPU failed: {error}")));
            }
            Err(_) => return Err(self.gone("it gave no answer to a read")),
        }
        Self::mapped(staging, bytes)
    }

    /// Like [`Gpu::read`]. It blocks on native platforms and is awaited in a browser.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub async fn read_async(&self, staging: &Buffer, bytes: u64, filled: &Submission) -> Result<Vec<u8>> {
        self.read(staging, bytes, filled)
    }

    /// Waits until the GPU has done all submitted work. It blocks on native platforms and is awaited in a browser.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub async fn finished(&self) -> Result<()> {
        self.wait()
    }

    /// Blocking form of [`Gpu::download_async`]: copies the first `bytes` bytes of a buffer to the host.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub fn download(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>> {
        pollster::block_on(self.download_async(buffer, bytes))
    }
}
