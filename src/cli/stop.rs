//! Signals to stop: the first one saves a checkpoint and stops, a later one exits at once.

use super::terminal::tell;
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A signal within this time after the first one is a duplicate of it. GNU `timeout` signals both the process and its
/// group. A terminal signals the whole group, and a parent may pass the signal on as well.
const AGAIN: Duration = Duration::from_secs(1);

/// The exit code of an interrupted program, as in shells: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Save a checkpoint and stop.
    Save,
    /// A duplicate of the first signal.
    Nothing,
    /// Exit at once.
    Exit,
}

/// The time of the first signal, if there was one.
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

/// A flag that the first signal sets: Ctrl-C, SIGTERM or SIGHUP. A signal that comes a second or more later ends the
/// program.
///
/// # Errors
/// [`Error::Io`] if the signal handler cannot be installed.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, mut signals) = (stop.clone(), Signals::default());
    ctrlc::set_handler(move || match signals.next(Instant::now()) {
        Asked::Save => {
            flag.store(true, Ordering::SeqCst);
            // Starts a new line after the ^C that the terminal echoes.
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
