//! Reading and writing the files of a run. A disk may never answer, so both happen in a thread, and the caller can stop the run
//! meanwhile.

use super::folder::Files;
use super::{Control, Event};
use crate::data::{Hung, aside};
use crate::error::{Error, Result};
use std::sync::Arc;

/// The observer of a run: it hears its events and answers whether the run goes on.
pub(super) type Observe<'a> = dyn FnMut(Event) -> Control + 'a;

const NOTHING_CHANGED: &str = "nothing was changed; the same command begins again";

/// Reports an event of a run that has nothing to save yet.
///
/// # Errors
/// [`Error::Stopped`] if the caller wants to stop.
pub(super) fn report(observe: &mut Observe, event: Event) -> Result<()> {
    match observe(event) {
        Control::Continue => Ok(()),
        Control::Stop => Err(Error::stopped("stopped before a step was done").hint(NOTHING_CHANGED)),
    }
}

/// Asks for as long as something is waited for whether to wait on.
pub(super) fn keep_waiting(observe: &mut Observe) -> impl FnMut(Option<&Hung>) -> bool {
    move |hung| observe(hung.map_or(Event::Waiting, Event::Hung)) == Control::Continue
}

/// Reads at a place, for a run that has nothing to save yet.
///
/// # Errors
/// Those of `work`; [`Error::Stopped`] if the caller wants to stop.
pub(super) fn read<T: Send + 'static>(
    place: impl Into<String>,
    observe: &mut Observe,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let read = aside(&place.into(), &mut keep_waiting(observe), work);
    read.map_err(|e| if matches!(e, Error::Stopped(_)) { e.hint(NOTHING_CHANGED) } else { e })
}

/// Writes to the folder of a run. A request to stop takes effect only after the caller was told that the disk hangs: a disk that
/// answers finishes the file.
///
/// # Errors
/// Those of `work`; [`Error::Stopped`] if the disk hangs and the caller wants to stop.
pub(super) fn write(
    files: &Arc<Files>,
    observe: &mut Observe,
    work: impl FnOnce(&Files) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (place, files, mut told) = (files.place(), files.clone(), false);
    let mut go_on = |hung: Option<&Hung>| {
        told |= hung.is_some();
        observe(hung.map_or(Event::Waiting, Event::Hung)) == Control::Continue || !told
    };
    aside(&place, &mut go_on, move || work(&files)).map_err(|e| match e {
        Error::Stopped(_) => e.hint("what was saved before is whole; the same command with --resume goes on"),
        other => other,
    })
}
