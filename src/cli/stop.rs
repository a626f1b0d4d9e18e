//! What a signal to stop asks for: the first one to save and stop, one that comes later to stop at once.

use super::terminal::tell;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A signal that comes so soon after the first is the first one again: GNU `timeout` sends one to the process and one to
/// its group, a terminal to the whole group what a parent also passes on.
const AGAIN: Duration = Duration::from_secs(1);

/// The exit code of a program that was interrupted, as shells have it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// For a checkpoint.
    Save,
    /// For what was asked for already.
    Nothing,
    /// To stop at once.
    Exit,
}

/// The signals so far.
#[derive(Default)]
struct Signals {
    first: Option<Instant>,
}

impl Signals {
    fn next(&mut self, now: Instant) -> Asked {
        match self.first {
            None => {
                self.first = Some(now);
                Asked::Save
            }
            Some(first) if now.duration_since(first) < AGAIN => Asked::Nothing,
            Some(_) => Asked::Exit,
        }
    }
}

/// What is set by the first signal: Ctrl-C, SIGTERM or SIGHUP. A second one, a second or more later, ends the program.
///
/// # Errors
/// [`Error::Io`] if the system does not let signals be caught.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, mut signals) = (stop.clone(), Signals::default());
    ctrlc::set_handler(move || match signals.next(Instant::now()) {
        Asked::Save => {
            flag.store(true, Ordering::SeqCst);
            // Behind the ^C that the terminal writes.
            tell("");
            tell("stopping after this step; press Ctrl-C again to stop at once");
        }
        Asked::Nothing => {}
        Asked::Exit => std::process::exit(INTERRUPTED),
    })
    .map_err(|e| Error::io(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_within_a_second_is_the_first_one_again() {
        let start = Instant::now();
        let mut signals = Signals::default();
        let answers = [0, 0, 1, 999, 1000, 5000].map(|ms| signals.next(start + Duration::from_millis(ms)));
        use Asked::{Exit, Nothing, Save};
        assert_eq!(answers, [Save, Nothing, Nothing, Nothing, Exit, Exit]);
    }
}
