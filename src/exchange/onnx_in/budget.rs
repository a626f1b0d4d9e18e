//! How many numbers an import may compute: those of constants that stand for many are not there in the file.

use crate::error::{Error, Result};
use std::cell::Cell;

/// Beside what the file itself holds: far more than the shapes and small vectors of the deepest network.
const ROOM: usize = 4 << 20;

/// The most numbers of one constant that is a number repeated: more than twice the largest layer of VGG.
pub(super) const MOST_REPEATED: usize = 1 << 28;

#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// For a file whose tensors have so many numbers.
    pub(super) fn new(numbers: usize) -> Self {
        Self(Cell::new(numbers.saturating_add(ROOM)))
    }

    /// Takes so many.
    ///
    /// # Errors
    /// [`Error::Data`] if they are not left.
    pub(super) fn take(&self, numbers: usize) -> Result<()> {
        let left = self.0.get().checked_sub(numbers).ok_or_else(|| {
            Error::data(format!("its constant of {numbers} numbers is more than a network computes"))
                .hint("the file was made to do harm, or is damaged")
        })?;
        self.0.set(left);
        Ok(())
    }
}
