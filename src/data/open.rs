//! Opens a data set by its name.

use super::{Dataset, Folder, Idx, Split};
use crate::error::Result;
use std::sync::Arc;

/// Opens a data set: `fashion-mnist`, or a folder `DIR` with `DIR/train/CLASS/*` and `DIR/val/CLASS/*`. Write `./fashion-mnist` for a
/// folder of that name.
///
/// # Errors
/// [`crate::Error::NotFound`] if it does not exist, [`crate::Error::Data`] if it cannot be used.
pub fn open(spec: &str, split: Split) -> Result<Arc<dyn Dataset>> {
    match spec {
        "fashion-mnist" => Ok(Arc::new(Idx::fashion_mnist(split)?)),
        _ => Ok(Arc::new(Folder::open(spec, split)?)),
    }
}
