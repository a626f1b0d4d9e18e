//! A device that is lost during a run, because its driver was reset: another one is opened.

use super::disk::Observe;
use super::{Control, Event};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many devices are opened within [`WITHIN`].
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(600);

/// How long a driver gets to start again before it is asked for a device. The wait grows with each loss.
const PAUSE: Duration = Duration::from_secs(1);

/// The losses of a run.
#[derive(Default)]
pub(super) struct Losses(Vec<Instant>);

impl Losses {
    /// Counts a loss at this time; `None` if there were too many in a short time.
    fn count(&mut self, now: Instant) -> Option<usize> {
        self.0.retain(|then| now.duration_since(*then) < WITHIN);
        self.0.push(now);
        (self.0.len() <= MOST).then_some(self.0.len())
    }

    /// Another device for the one that was lost with this error.
    ///
    /// # Errors
    /// The error of the loss, if that happens too often or the adapter does not come back; [`Error::Stopped`] if the caller asked for it.
    pub(super) fn another(&mut self, gpu: &Gpu, why: Error, observe: &mut Observe) -> Result<Arc<Gpu>> {
        let mut why = why;
        loop {
            let Some(time) = self.count(Instant::now()) else {
                return Err(why.hint(format!(
                    "it was opened again {MOST} times within {} minutes; look for what resets it (the driver, heat, power, other \
                     programs), then the same command with --resume goes on from the last checkpoint",
                    WITHIN.as_secs() / 60
                )));
            };
            told(observe(Event::DeviceLost { why: &why, time, most: MOST }))?;
            let start = Instant::now();
            while start.elapsed() < PAUSE * time as u32 {
                std::thread::sleep(Duration::from_millis(50));
                told(observe(Event::Waiting))?;
            }
            match gpu.replacement() {
                Ok(gpu) => return Ok(Arc::new(gpu)),
                Err(error) => why = error,
            }
        }
    }
}

fn told(control: Control) -> Result<()> {
    match control {
        Control::Continue => Ok(()),
        Control::Stop => Err(Error::stopped("stopped after the GPU was lost")
            .hint("the last checkpoint is whole; the same command with --resume goes on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_losses_in_ten_minutes_are_borne() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let mut at = |seconds| losses.count(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(590), at(599)], [Some(1), Some(2), Some(3), None]);
        // The first two are ten minutes ago.
        assert_eq!([at(602), at(1300)], [Some(3), Some(1)]);
    }
}
