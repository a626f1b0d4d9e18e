//! The kernels that compute wrongly on an adapter.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The kernels that compute wrongly on an adapter, by name. Plans for the adapter do not use them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded(BTreeSet<String>);

impl Excluded {
    /// Whether no kernel is excluded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the kernel with this name is excluded.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromIterator<String> for Excluded {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}
