//! The interface of data sets.

use super::{Folder, Idx, LeftOut, Normalization, Picture};
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// The pictures for training.
    Train,
    /// The pictures for validation.
    Val,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "train" => Ok(Self::Train),
            "val" => Ok(Self::Val),
            _ => Err(Error::usage(format!("there is no split \"{text}\"")).hint("say train or val")),
        }
    }
}

/// Labelled pictures in a fixed order.
pub trait Dataset: Send + Sync {
    /// Names of the classes in the order of their labels.
    fn classes(&self) -> &[String];

    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of picture `i`.
    fn label(&self, i: usize) -> u32;

    /// The name of picture `i` for messages, for example its file.
    fn name(&self, i: usize) -> String;

    /// Files beside the pictures that are not used, by reason.
    fn left_out(&self) -> &[LeftOut] {
        &[]
    }

    /// Reads picture `i`.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Io`] if it cannot be read.
    fn load(&self, i: usize) -> Result<Picture>;

    /// Height and width, if all pictures have the same.
    fn native_size(&self) -> Option<[usize; 2]>;

    /// The normalisation that is usual for these pictures.
    fn normalization(&self) -> Normalization;
}

/// Opens a data set: `fashion-mnist`, or a folder `DIR` with `DIR/train/CLASS/*` and `DIR/val/CLASS/*`. Write `./fashion-mnist` for a
/// folder of that name.
///
/// # Errors
/// [`Error::NotFound`] if it does not exist, [`Error::Data`] if it cannot be used.
pub fn open(spec: &str, split: Split) -> Result<Arc<dyn Dataset>> {
    match spec {
        "fashion-mnist" => Ok(Arc::new(Idx::fashion_mnist(split)?)),
        _ => Ok(Arc::new(Folder::open(spec, split)?)),
    }
}
