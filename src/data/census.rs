//! A summary of a data set for people: the number of pictures of each class, and what was left out.

use super::{Dataset, LeftOut, Split};
use crate::error::Untrusted;
use std::fmt;

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
    use crate::data::left_out::Leaving;

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
