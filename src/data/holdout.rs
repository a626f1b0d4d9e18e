//! A validation part that is split off the training pictures.

use super::{Dataset, LeftOut, Normalization, Picture};
use crate::error::{Error, Result, Untrusted};
use crate::random::{Draw, Stream};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Some pictures of a data set.
struct Subset {
    set: Arc<dyn Dataset>,
    pictures: Vec<usize>,
    left_out: Vec<LeftOut>,
}

/// Splits a data set into a training part and a validation part. The latter gets this share of the pictures of each class, rounded, at
/// least one, drawn at random. The draw depends on the seed and on the position of the class and of the picture in it alone. The
/// order of the pictures stays.
///
/// # Errors
/// [`Error::Usage`] if the share is not between 0 and 1; [`Error::Data`] if a class has fewer than two pictures.
pub fn hold_out(set: &Arc<dyn Dataset>, share: f64, seed: u64) -> Result<[Arc<dyn Dataset>; 2]> {
    if !(share > 0.0 && share < 1.0) {
        return Err(Error::usage(format!("a validation part of {share} of the pictures"))
            .hint("give a share between 0 and 1, as in 0.2"));
    }
    let mut classes = vec![Vec::new(); set.classes().len()];
    for i in 0..set.len() {
        if let Some(class) = classes.get_mut(set.label(i) as usize) {
            class.push(i);
        }
    }
    let mut val = Vec::new();
    for (label, (class, name)) in (0..).zip(classes.iter_mut().zip(set.classes())) {
        if class.len() < 2 {
            let name = Untrusted::short(name);
            let what = format!("the class {name} has {} pictures, too few to split one off", class.len());
            return Err(
                Error::data(what).hint("add some, or put pictures for validation into val/CLASS/* yourself")
            );
        }
        let wanted = ((class.len() as f64 * share).round() as usize).clamp(1, class.len() - 1);
        // The first places of a random permutation (Fisher and Yates).
        for i in 0..wanted {
            let rest = (class.len() - i) as u32;
            class.swap(i, i + Draw::new(seed, Stream::HoldOut, label, i as u32).below(rest) as usize);
        }
        val.extend_from_slice(&class[..wanted]);
    }
    val.sort_unstable();
    let train = (0..set.len()).filter(|i| val.binary_search(i).is_err()).collect();
    let part = |pictures, left_out: &[LeftOut]| -> Arc<dyn Dataset> {
        Arc::new(Subset { set: set.clone(), pictures, left_out: left_out.to_vec() })
    };
    Ok([part(train, set.left_out()), part(val, &[])])
}

/// The pictures of a data set whose names are in a list, one a line. The list may have been written for the same folder under another
/// path: a picture counts as listed if the end of a line, from some folder on, is its path below `root`.
///
/// # Errors
/// [`Error::Data`] if none of the pictures is listed.
pub fn listed(set: &Arc<dyn Dataset>, root: &Path, list: &str) -> Result<Arc<dyn Dataset>> {
    let mut ends = HashSet::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        ends.insert(line);
        ends.extend(line.match_indices(['/', '\\']).filter_map(|(at, _)| line.get(at + 1..)));
    }
    let is_listed = |i: &usize| {
        let name = set.name(*i);
        let below = Path::new(&name).strip_prefix(root).map(|path| path.display().to_string());
        // Names are escaped in the list.
        below.is_ok_and(|name| ends.contains(String::from(Untrusted::new(&name)).as_str()))
    };
    let pictures: Vec<usize> = (0..set.len()).filter(is_listed).collect();
    if pictures.is_empty() {
        return Err(Error::data("none of its pictures is in the list of those that the run held out"));
    }
    Ok(Arc::new(Subset { set: set.clone(), pictures, left_out: Vec::new() }))
}

impl Subset {
    /// The position of a picture in the whole set.
    fn whole(&self, i: usize) -> Option<usize> {
        self.pictures.get(i).copied()
    }
}

impl Dataset for Subset {
    fn classes(&self) -> &[String] {
        self.set.classes()
    }

    fn len(&self) -> usize {
        self.pictures.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.whole(i).map_or(0, |i| self.set.label(i))
    }

    fn name(&self, i: usize) -> String {
        self.whole(i).map_or_else(String::new, |i| self.set.name(i))
    }

    fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let whole = self.whole(i).ok_or_else(|| Error::internal(format!("there is no picture {i}")))?;
        self.set.load(whole)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        self.whole(i).map_or(Ok(None), |i| self.set.encoded(i))
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        self.set.native_size()
    }

    fn normalization(&self) -> Normalization {
        self.set.normalization()
    }
}
