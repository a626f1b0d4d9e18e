//! Errors of a training that has diverged.

use crate::error::Error;
use crate::infer::is_overflow;

/// The error of a run that has diverged. `what` names the symptom.
pub(super) fn diverged(what: &str) -> Error {
    Error::data(format!("{what}: the training has diverged"))
        .hint("start again in another folder with a smaller --lr; files of earlier epochs are as they were")
}

/// The error of a validation. Logits that overflow mean that the training has diverged.
pub(super) fn in_validation(error: Error) -> Error {
    if is_overflow(&error) { diverged(&error.report().what).at(error.report().place.clone()) } else { error }
}
