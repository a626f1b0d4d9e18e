//! Which classes are taken for which others.

use super::html::Text;
use std::collections::{BTreeMap, BTreeSet};

/// The most classes of a heat map. Of more, the most confused ones are shown.
const SHOWN: usize = 30;

/// The most classes of the list of accuracies.
const LISTED: usize = 40;

/// The side of a cell, and the room for names.
const CELL: f64 = 17.0;
const NAMES: f64 = 130.0;
const NAME: usize = 18;

/// How often pictures of a class were taken for a class. Only pairs that occur take memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    classes: Vec<String>,
    /// By the class that is right and the predicted one.
    counts: BTreeMap<(usize, usize), u64>,
    /// Pictures of each class.
    pictures: Vec<u64>,
}

impl Confusion {
    /// For these classes; no picture has been counted.
    pub fn new(classes: Vec<String>) -> Self {
        let pictures = vec![0; classes.len()];
        Self { classes, counts: BTreeMap::new(), pictures }
    }

    /// Counts a picture. Classes that there are not are ignored.
    pub fn add(&mut self, right: usize, predicted: usize) {
        if let Some(pictures) = self.pictures.get_mut(right)
            && predicted < self.classes.len()
        {
            *pictures += 1;
            *self.counts.entry((right, predicted)).or_default() += 1;
        }
    }

    /// How often pictures of the class `right` were taken for `predicted`.
    pub fn count(&self, right: usize, predicted: usize) -> u64 {
        self.counts.get(&(right, predicted)).copied().unwrap_or(0)
    }

    /// The names of the classes that have pictures and for which no picture was taken.
    pub fn never_predicted(&self) -> Vec<String> {
        let predicted: BTreeSet<usize> = self.counts.keys().map(|(_, predicted)| *predicted).collect();
        let classes = self.classes.iter().zip(&self.pictures).enumerate();
        let never = classes.filter(|(i, (_, pictures))| **pictures > 0 && !predicted.contains(i));
        never.map(|(_, (name, _))| name.clone()).collect()
    }

    /// The pictures of a class.
    fn pictures(&self, class: usize) -> u64 {
        self.pictures.get(class).copied().unwrap_or(0)
    }

    /// The share of a class's pictures that were taken for `predicted`.
    fn share(&self, right: usize, predicted: usize) -> f64 {
        self.count(right, predicted) as f64 / self.pictures(right).max(1) as f64
    }

    fn name(&self, class: usize, most: usize) -> Text {
        Text::first(self.classes.get(class).map_or("", String::as_str), most)
    }

    /// The classes with pictures, the least accurate first.
    fn by_accuracy(&self) -> Vec<usize> {
        let mut classes: Vec<usize> =
            (0..self.classes.len()).filter(|class| self.pictures(*class) > 0).collect();
        classes.sort_by(|a, b| self.share(*a, *a).total_cmp(&self.share(*b, *b)));
        classes
    }

    /// A card with the accuracy of each class.
    pub(super) fn accuracies(&self) -> String {
        let classes = self.by_accuracy();
        if classes.is_empty() {
            return String::new();
        }
        let note = match classes.len() > LISTED {
            true => format!("the {LISTED} least accurate of {} classes", classes.len()),
            false => "the least accurate first".to_owned(),
        };
        let rows = classes.iter().take(LISTED).map(|class| {
            let (share, count) = (100.0 * self.share(*class, *class), self.pictures(*class));
            format!(
                "<span>{0}</span><i style=\"width:{share:.1}%\"></i><span>{share:.1}% of {count}</span>\n",
                self.name(*class, 60)
            )
        });
        format!(
            "<div class=\"card\"><h3>Accuracy of each class</h3><p>{note}</p><div class=\"bars\">\n{}</div></div>\n",
            rows.collect::<String>()
        )
    }

    /// The classes of the heat map in their order: all, or those with the most mistakes in and out.
    fn shown(&self) -> Vec<usize> {
        let n = self.classes.len();
        if n <= SHOWN {
            return (0..n).collect();
        }
        let mut mistakes = vec![0_u64; n];
        for ((right, predicted), count) in
            self.counts.iter().filter(|((right, predicted), _)| right != predicted)
        {
            for class in [right, predicted] {
                if let Some(sum) = mistakes.get_mut(*class) {
                    *sum += count;
                }
            }
        }
        let mut order: Vec<(u64, usize)> = mistakes.into_iter().zip(0..).collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut shown: Vec<usize> = order.into_iter().take(SHOWN).map(|(_, class)| class).collect();
        shown.sort_unstable();
        shown
    }

    /// A card with the heat map.
    pub(super) fn heat_map(&self) -> String {
        let (shown, n) = (self.shown(), self.classes.len());
        if n < 2 || self.counts.is_empty() {
            return String::new();
        }
        let mut svg = String::new();
        for (row, right) in shown.iter().enumerate() {
            let y = NAMES + CELL * row as f64;
            svg += &format!(
                "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                NAMES - 5.0,
                y + 0.75 * CELL,
                self.name(*right, NAME)
            );
            svg += &format!(
                "<text transform=\"translate({:.1} {:.0}) rotate(-90)\">{}</text>\n",
                y + 0.75 * CELL,
                NAMES - 5.0,
                self.name(*right, NAME)
            );
            for (column, predicted) in shown.iter().enumerate() {
                let count = self.count(*right, *predicted);
                if count == 0 {
                    continue;
                }
                let colour = if right == predicted { 0 } else { 1 };
                svg += &format!(
                    "<rect x=\"{:.0}\" y=\"{y:.0}\" width=\"{side:.0}\" height=\"{side:.0}\" \
                     style=\"fill:var(--c{colour});fill-opacity:{:.2}\"><title>{} taken for {}: {count} of {}</title></rect>\n",
                    NAMES + CELL * column as f64,
                    // A single mistake can be seen.
                    0.08 + 0.92 * self.share(*right, *predicted),
                    self.name(*right, 40),
                    self.name(*predicted, 40),
                    self.pictures(*right),
                    side = CELL - 1.0,
                );
            }
        }
        let side = NAMES + CELL * shown.len() as f64;
        let note = match n > SHOWN {
            true => format!("; the {SHOWN} most confused of {n} classes"),
            false => String::new(),
        };
        format!(
            "<div class=\"card\"><h3>Confusion</h3><p>rows: the right class, columns: the prediction{note}</p>\n\
             <svg viewBox=\"0 0 {side:.0} {side:.0}\" style=\"max-width:{:.0}px\" role=\"img\" aria-label=\"confusion matrix\">\n\
             <rect class=\"axis\" x=\"{NAMES}\" y=\"{NAMES}\" width=\"{cells:.0}\" height=\"{cells:.0}\" fill=\"none\"/>\n{svg}</svg></div>\n",
            1.2 * side,
            cells = side - NAMES
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(classes: usize, pairs: &[(usize, usize, u32)]) -> Confusion {
        let mut confusion = Confusion::new((0..classes).map(|i| format!("c{i}")).collect());
        for (right, predicted, times) in pairs {
            (0..*times).for_each(|_| confusion.add(*right, *predicted));
        }
        confusion
    }

    #[test]
    fn a_class_is_never_predicted_only_if_it_has_pictures() {
        let confusion = counted(4, &[(0, 0, 3), (1, 0, 2), (2, 2, 1)]);
        assert_eq!(confusion.never_predicted(), ["c1"]);
        let mut beyond = confusion.clone();
        beyond.add(4, 0);
        beyond.add(0, usize::MAX);
        assert_eq!(beyond, confusion);
        assert_eq!(counted(0, &[]).never_predicted(), Vec::<String>::new());
    }

    #[test]
    fn of_many_classes_the_most_confused_are_shown() {
        let pairs: Vec<_> = (0..1000).map(|i| (i, i, 50)).chain([(700, 900, 9), (3, 701, 4)]).collect();
        let map = counted(1000, &pairs).heat_map();
        for name in ["c700 taken for c900: 9 of 59", "c3 taken for c701: 4 of 54", "30 most confused of 1000"]
        {
            assert!(map.contains(name), "{name}");
        }
        assert!(map.len() < 60_000, "{}", map.len());
        let list = counted(1000, &pairs).accuracies();
        assert!(list.find("c700").unwrap() < list.find("c3<").unwrap() && list.matches("<i ").count() == 40);
    }

    #[test]
    fn names_are_text() {
        let mut confusion =
            Confusion::new(vec!["<script>alert(1)</script>".to_owned(), "b\u{1b}[31m".to_owned()]);
        confusion.add(0, 1);
        for part in [confusion.heat_map(), confusion.accuracies()] {
            assert!(
                !part.contains("<script") && !part.contains('\u{1b}') && part.contains("&lt;script"),
                "{part}"
            );
        }
    }
}
