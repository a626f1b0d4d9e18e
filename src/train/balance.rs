//! What evens out classes of different size.

use serde::{Deserialize, Serialize};

/// What evens out classes of different size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Balance {
    /// Nothing: each picture counts the same.
    #[default]
    None,
    /// The loss of a picture is multiplied by the mean number of pictures of a class, divided by that of its class
    /// ([`crate::data::Loader::class_weights`]).
    Weights,
    /// Each class comes equally often in an epoch ([`crate::data::LoaderOptions::balance`]).
    Sampling,
}
