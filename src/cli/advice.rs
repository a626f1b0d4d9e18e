//! What an error advises where that depends on the command.

use super::Command;
use crate::error::Error;
use crate::weights::onnx::is_unread;

/// An error with the flag that this command has for it.
pub(super) fn advised(error: Error, command: &Command) -> Error {
    if !is_unread(&error) {
        return error;
    }
    match command {
        // It starts from one of the networks here, of which one file can be made.
        Command::Train(_) => {
            error.cure("if you trust it, let `ocelli convert --external-data` make one file of it")
        }
        _ => error.cure("if you trust it, add --external-data"),
    }
}
