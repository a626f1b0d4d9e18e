//! A training whose numbers are none any more.

use crate::error::Error;
use crate::infer::is_overflow;

/// The error of a run that has diverged; `what` says how that shows.
pub(super) fn diverged(what: &str) -> Error {
    Error::data(format!("{what}: the training has diverged"))
        .hint("start again in another folder with a smaller --lr; files of earlier epochs are as they were")
}

/// The error of a validation within a run: it is the run's own weights that overflow.
pub(super) fn in_validation(error: Error) -> Error {
    if is_overflow(&error) { diverged(&error.report().what).at(error.report().place.clone()) } else { error }
}
