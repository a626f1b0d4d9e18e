//! Waiting for the next batch, and the time that the GPU loses by it.

use super::disk::{Observe, keep_waiting};
use super::{Control, Event};
use crate::data::{Batch, Epoch, Waited};
use crate::error::Result;
use std::time::{Duration, Instant};

/// How often the GPU is asked whether it still computes while the next batch is not ready.
const LOOK: Duration = Duration::from_millis(2);

/// How often the observer is asked whether the run goes on, as in [`Epoch::wait`].
const ASK: Duration = Duration::from_millis(100);

/// A wait for the next batch while a step may be in flight. A batch that comes before the step is done costs nothing, so only the time
/// from the end of the step on counts.
pub(super) struct Waiting<'a> {
    /// Whether the GPU has nothing to do.
    pub(super) is_done: &'a dyn Fn() -> bool,
    /// Seconds in which the GPU had nothing to do.
    pub(super) idle: f64,
}

impl Waiting<'_> {
    /// Waits for the next batch; there is none at the end of an epoch, or if the caller wants to stop.
    ///
    /// # Errors
    /// Those of [`Epoch::wait`].
    pub(super) fn next_batch(
        &mut self,
        batches: &mut Epoch,
        stopped: &mut bool,
        observe: &mut Observe,
    ) -> Result<Option<Batch>> {
        let waited = self.wait(batches, observe)?;
        *stopped |= matches!(waited, Waited::Stopped);
        Ok(match waited {
            Waited::Batch(batch) => Some(batch),
            Waited::End | Waited::Stopped => None,
        })
    }

    fn wait(&mut self, batches: &mut Epoch, observe: &mut Observe) -> Result<Waited> {
        let mut asked = Instant::now();
        // A batch that is ready costs nothing, whatever the GPU does.
        let mut ready = batches.wait_for(Duration::ZERO)?;
        while ready.is_none() && !(self.is_done)() {
            ready = batches.wait_for(LOOK)?;
            if asked.elapsed() >= ASK {
                asked = Instant::now();
                if observe(Event::Waiting) == Control::Stop {
                    return Ok(Waited::Stopped);
                }
            }
        }
        if let Some(ready) = ready {
            return Ok(ready);
        }
        let start = Instant::now();
        let waited = batches.wait(&mut keep_waiting(observe));
        // The end of an epoch is no batch that was late.
        if !matches!(waited, Ok(Waited::End)) {
            self.idle += start.elapsed().as_secs_f64();
        }
        waited
    }
}
