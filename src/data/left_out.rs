//! Files that a data set does not use.

use crate::error::Untrusted;
use std::collections::BTreeMap;
use std::fmt;

/// Files that a data set does not use, for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Why they are not used.
    pub reason: &'static str,
    /// How many files there are.
    pub count: usize,
    /// The names of the first of them.
    pub examples: Vec<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, count, examples } = self;
        let names: Vec<_> = examples.iter().map(|name| Untrusted::new(name).to_string()).collect();
        let more = if *count > examples.len() { ", ..." } else { "" };
        write!(f, "{count} left out: {reason}: {}{more}", names.join(", "))
    }
}

/// Collects the files that are left out, by reason.
#[derive(Default)]
pub(super) struct Leaving(BTreeMap<&'static str, LeftOut>);

impl Leaving {
    const EXAMPLES: usize = 3;

    pub(super) fn add(&mut self, reason: &'static str, name: impl FnOnce() -> String) {
        let entry = self.0.entry(reason).or_insert(LeftOut { reason, count: 0, examples: Vec::new() });
        entry.count += 1;
        if entry.examples.len() < Self::EXAMPLES {
            entry.examples.push(name());
        }
    }

    /// Adds what another list has.
    pub(super) fn join(&mut self, other: Self) {
        for (reason, left) in other.0 {
            let entry = self.0.entry(reason).or_insert(LeftOut { reason, count: 0, examples: Vec::new() });
            entry.count += left.count;
            entry.examples.extend(left.examples);
            entry.examples.truncate(Self::EXAMPLES);
        }
    }

    pub(super) fn list(self) -> Vec<LeftOut> {
        self.0.into_values().collect()
    }
}
