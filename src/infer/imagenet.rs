//! Names of classes for files that have none.

use crate::error::Note;
use crate::weights::numbered;

/// The 1000 classes of ImageNet (Russakovsky et al., 2015) in the order of their WordNet numbers, in which all published weights have them.
/// Each has one name, and no two the same, as in torchvision.
const NAMES: &str = include_str!("imagenet_classes.txt");

/// The number of classes of ImageNet.
const COUNT: usize = 1000;

/// The names of ImageNet's classes for a file whose classes are 1000 without names, and a sentence that says so. They still count as
/// classes without names: nothing that is written says that these are theirs.
pub(super) fn names_of(classes: &[String], named: bool) -> Option<(Vec<String>, Note)> {
    if named || classes != numbered(COUNT) {
        return None;
    }
    let note = "the file does not name its 1000 classes: they are taken for those of ImageNet";
    Some((NAMES.lines().map(str::to_owned).collect(), note.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn there_are_a_thousand_names_each_once_in_the_usual_order() {
        let (names, _) = names_of(&numbered(COUNT), false).unwrap();
        assert_eq!((names.len(), names.iter().collect::<HashSet<_>>().len()), (COUNT, COUNT));
        // The first and the last, and some that everybody knows.
        assert_eq!(
            [0, 281, 817, 999].map(|i: usize| names[i].as_str()),
            ["tench", "tabby", "sports car", "toilet tissue"]
        );
        assert!(names.iter().all(|name| !name.is_empty() && name.trim() == *name && name.is_ascii()));
    }

    #[test]
    fn other_classes_keep_their_names() {
        assert_eq!(names_of(&numbered(999), false), None);
        assert_eq!(names_of(&numbered(COUNT), true), None);
        let mut own = numbered(COUNT);
        own[7] = "cat".to_owned();
        assert_eq!(names_of(&own, false), None);
    }
}
