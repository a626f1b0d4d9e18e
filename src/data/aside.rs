//! Reading and writing in a separate thread. A network disk may never answer; the caller can then report that and stop waiting.

use super::Hung;
use crate::error::{Error, Result};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Work that takes longer is reported.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two calls of `go_on`.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// Does `work`, which reads or writes at `place`, in a separate thread. Until it is done, `go_on` is called some times a second and says
/// whether to keep waiting. If the work takes longer than 30 seconds, `go_on` is told once.
///
/// # Errors
/// The errors of `work`; [`Error::Stopped`] if `go_on` ends the wait. The thread then goes on alone, and its result is dropped.
pub fn aside<T: Send + 'static>(
    place: &str,
    go_on: &mut dyn FnMut(Option<&Hung>) -> bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    with_patience(PATIENCE, place, go_on, work)
}

fn with_patience<T: Send + 'static>(
    patience: Duration,
    place: &str,
    go_on: &mut dyn FnMut(Option<&Hung>) -> bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = sync_channel(1);
    // The receiver is gone if the caller has stopped waiting.
    let thread = Builder::new().spawn(move || drop(send.send(work())));
    thread.map_err(|e| {
        let error =
            Error::io(format!("the system gives no thread to read or write with: {e}")).with_source(e);
        error.at(place).hint("close other programs, or raise the limit of processes (ulimit -u)")
    })?;
    let (start, mut told) = (Instant::now(), false);
    loop {
        match receive.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::internal("the thread that reads or writes has panicked").at(place));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let since = start.elapsed();
        let hung = (!told && since >= patience).then(|| Hung { name: place.to_owned(), since });
        told |= hung.is_some();
        if !go_on(hung.as_ref()) {
            return Err(Error::stopped("stopped while the disk did not answer").at(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_disk_that_does_not_answer_is_named_once_and_can_be_stopped() {
        let (answer, disk) = channel::<()>();
        let (start, mut asked, mut names) = (Instant::now(), 0, Vec::new());
        let mut go_on = |hung: Option<&Hung>| {
            asked += 1;
            names.extend(hung.map(|hung| (hung.name.clone(), hung.since)));
            start.elapsed() < Duration::from_secs(1)
        };
        let work = move || disk.recv().map_err(|_| Error::internal("nobody answers"));
        let result = with_patience(Duration::from_millis(300), "/net/data", &mut go_on, work);
        assert!(matches!(&result, Err(Error::Stopped(report)) if report.place == "/net/data"), "{result:?}");
        assert!(asked > 3, "asked {asked} times in a second");
        assert!(names.len() == 1 && names[0].0 == "/net/data" && names[0].1.as_millis() >= 300, "{names:?}");
        // The thread that was left behind ends.
        answer.send(()).unwrap();
    }

    #[test]
    fn what_is_read_comes_back_and_so_do_errors_and_panics() {
        let mut go_on = |_: Option<&Hung>| true;
        assert_eq!(aside("here", &mut go_on, || Ok(7)), Ok(7));
        let slow = || {
            std::thread::sleep(2 * POLL);
            Ok(8)
        };
        assert_eq!(aside("here", &mut go_on, slow), Ok(8));
        let fails = aside::<()>("here", &mut go_on, || Err(Error::data("damaged")));
        assert!(matches!(fails, Err(Error::Data(_))));
        let panics = aside::<()>("here", &mut go_on, || std::panic::resume_unwind(Box::new("lost")));
        assert!(matches!(panics, Err(Error::Internal(_))));
    }
}
