//! A limit on the numbers that an import may compute. A small file may define constants with very many numbers.

use crate::error::{Error, Result};
use std::cell::Cell;

/// The numbers allowed in addition to those in the file: far more than the shapes and small vectors of the deepest network.
const ROOM: usize = 4 << 20;

/// The most numbers of a constant that repeats one number: more than twice the largest layer of VGG.
pub(super) const MOST_REPEATED: usize = 1 << 28;

#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// The budget for a file whose tensors have this many numbers.
    pub(super) fn new(numbers: usize) -> Self {
        Self(Cell::new(numbers.saturating_add(ROOM)))
    }

    /// Takes this many numbers from the budget.
    ///
    /// # Errors
    /// [`Error::Data`] if fewer are left.
    pub(super) fn take(&self, numbers: usize) -> Result<()> {
        let left = self.0.get().checked_sub(numbers).ok_or_else(|| {
            Error::data(format!("its constant of {numbers} numbers is more than a network computes"))
                .hint("the file was made to do harm, or is damaged")
        })?;
        self.0.set(left);
        Ok(())
    }
}
