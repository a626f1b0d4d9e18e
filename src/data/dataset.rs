//! The interface of data sets.

use super::{LeftOut, Normalization, Picture};
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// The pictures for training.
    Train,
    /// The pictures for validation.
    Val,
    /// The pictures for a test after all decisions have been made. Training never reads them.
    Test,
}

impl Split {
    /// All parts.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "train" => Ok(Self::Train),
            "val" => Ok(Self::Val),
            "test" => Ok(Self::Test),
            _ => Err(Error::usage(format!("there is no split \"{text}\"")).hint("say train, val or test")),
        }
    }
}

/// Labelled pictures in a fixed order.
///
/// A data set of one's own implements this trait, and is trained on by `TrainingRun::with_datasets` of the module `train`. Pictures
/// are loaded on several threads, a few batches ahead of the GPU. The loader resizes and augments them, and the network normalises
/// them.
///
/// - `len`, `label` and `name` must always return the same for the same picture, or a resumed run would see other data.
/// - A picture that `load` cannot read is skipped and reported. More than 1% of them end an epoch with an error.
/// - The training part and the validation part are two data sets with the same classes in the same order.
///
/// ```
/// use ocelli::Result;
/// use ocelli::data::{Dataset, Normalization, Picture};
///
/// /// Grey pictures: the brighter half of them are of the second class.
/// struct Greys {
///     classes: Vec<String>,
/// }
///
/// impl Dataset for Greys {
///     fn classes(&self) -> &[String] {
///         &self.classes
///     }
///
///     fn len(&self) -> usize {
///         256
///     }
///
///     fn label(&self, i: usize) -> u32 {
///         u32::from(i >= 128)
///     }
///
///     fn name(&self, i: usize) -> String {
///         format!("grey {i}")
///     }
///
///     fn load(&self, i: usize) -> Result<Picture> {
///         Picture::from_rgba(32, 32, vec![i as u8; 32 * 32 * 4])
///     }
///
///     fn native_size(&self) -> Option<[usize; 2]> {
///         Some([32, 32])
///     }
///
///     fn normalization(&self) -> Normalization {
///         Normalization::IMAGENET
///     }
/// }
///
/// let greys = Greys { classes: vec!["dark".to_owned(), "bright".to_owned()] };
/// assert_eq!(greys.load(200)?.rgba()[0], 200);
/// # Ok::<(), ocelli::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// Names of the classes, in the order of their labels.
    fn classes(&self) -> &[String];

    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of picture `i`: a position in [`Dataset::classes`].
    fn label(&self, i: usize) -> u32;

    /// The name of picture `i` in messages, e.g. its file.
    fn name(&self, i: usize) -> String;

    /// Files that lie beside the pictures and are not used, by reason. None unless overridden.
    fn left_out(&self) -> &[LeftOut] {
        &[]
    }

    /// Reads picture `i`, of any size. Several threads call it at the same time.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Io`] if it cannot be read.
    fn load(&self, i: usize) -> Result<Picture>;

    /// The bytes of the file of picture `i`, if the picture is what [`super::decode()`] makes of a file. `None` unless overridden.
    ///
    /// # Errors
    /// [`Error::Data`] or [`Error::Io`] if it cannot be read.
    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        let _ = i;
        Ok(None)
    }

    /// Height and width, if all pictures have the same size. It is the default size of the network's input.
    fn native_size(&self) -> Option<[usize; 2]>;

    /// The usual normalisation of these pictures. It is the default of a new network.
    fn normalization(&self) -> Normalization;
}
