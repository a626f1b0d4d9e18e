//! A summary of a data set for people: the number of pictures of each class, and what was left out.

use super::{Dataset, Split};
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

/// The number of pictures of each class. Its `Display` has a few lines, however many classes there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// The split of the data set.
    pub split: Split,
    /// The name of each class and its number of pictures.
    pub classes: Vec<(String, usize)>,
    /// The files that are not used.
    pub left_out: Vec<LeftOut>,
}

impl Census {
    /// Counts the pictures of a data set by their labels. No picture is read.
    pub fn of(set: &dyn Dataset, split: Split) -> Self {
        let mut classes: Vec<(String, usize)> = set.classes().iter().map(|name| (name.clone(), 0)).collect();
        for i in 0..set.len() {
            if let Some((_, count)) = classes.get_mut(set.label(i) as usize) {
                *count += 1;
            }
        }
        Self { split, classes, left_out: set.left_out().to_vec() }
    }

    /// The number of pictures of all classes.
    pub fn pictures(&self) -> usize {
        self.classes.iter().map(|(_, count)| count).sum()
    }
}

/// The most classes that are listed one by one.
const LISTED: usize = 20;

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |classes: &[&(String, usize)]| {
            let each: Vec<_> =
                classes.iter().map(|(name, count)| format!("{} {count}", Untrusted::short(name))).collect();
            each.join(", ")
        };
        write!(f, "{}: {} pictures in {} classes: ", self.split, self.pictures(), self.classes.len())?;
        let mut classes: Vec<_> = self.classes.iter().collect();
        if classes.len() <= LISTED {
            f.write_str(&list(&classes))?;
        } else {
            classes.sort_by_key(|(_, count)| *count);
            let (fewest, most) = (&classes[..3], &classes[classes.len() - 3..]);
            write!(f, "fewest {}; most {}", list(fewest), list(most))?;
        }
        self.left_out.iter().try_for_each(|left| write!(f, "\n{}: {left}", self.split))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_classes_take_a_line() {
        let class = |i: usize| (format!("c{i}"), 500 + i);
        let mut census = Census { split: Split::Val, classes: vec![], left_out: vec![] };
        census.classes = (0..3).map(class).collect();
        assert_eq!(census.to_string(), "val: 1503 pictures in 3 classes: c0 500, c1 501, c2 502");
        census.classes = (0..1000).map(class).collect();
        let text = census.to_string();
        assert!(
            text.ends_with("fewest c0 500, c1 501, c2 502; most c997 1497, c998 1498, c999 1499"),
            "{text}"
        );
        let mut leaving = Leaving::default();
        (0..5).for_each(|i| leaving.add("no picture", || format!("\x1b[2J{i}")));
        census.left_out = leaving.list();
        let text = census.to_string();
        assert!(
            text.ends_with("val: 5 left out: no picture: \\u{1b}[2J0, \\u{1b}[2J1, \\u{1b}[2J2, ..."),
            "{text}"
        );
    }
}
