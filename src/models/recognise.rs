//! Which network a list of tensors belongs to, and how it differs from the one it should be.

use super::parameter::AUXILIARY;
use super::{ARCHS, Arch, MAX_CLASSES, Mode, Parameter};
use crate::error::{Error, Result, Untrusted};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Tensor names with their shapes in PyTorch's layout.
pub type Names = BTreeMap<String, Vec<usize>>;

/// What was recognised.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The variant.
    pub arch: &'static Arch,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the input: the paper's, or where a linear layer depends on it the smallest that fits.
    pub size: usize,
}

/// How the tensors of a file differ from those of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Names that the network has and the file lacks.
    pub missing: Vec<String>,
    /// Names that the file has and the network lacks.
    pub unexpected: Vec<String>,
    /// Names that both have, with the file's shape and the network's.
    pub mis_shaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Difference {
    /// Compares a file's tensors with a network's parameters. Those of auxiliary classifiers may be there for a network
    /// in inference, which has none.
    pub fn between(file: &Names, network: &[Parameter]) -> Self {
        let mut difference = Self::default();
        // Of a tensor in pieces the first one speaks for all.
        for parameter in network.iter().filter(|p| p.rows.start == 0) {
            match file.get(&parameter.name) {
                None => difference.missing.push(parameter.name.clone()),
                Some(shape) if *shape != parameter.torch_shape => {
                    difference.mis_shaped.push((
                        parameter.name.clone(),
                        shape.clone(),
                        parameter.torch_shape.clone(),
                    ));
                }
                Some(_) => {}
            }
        }
        let names: BTreeSet<&str> = network.iter().map(|p| p.name.as_str()).collect();
        let known = |name: &String| names.contains(name.as_str());
        let training = network.iter().any(|p| p.name.starts_with(AUXILIARY));
        let idle = |name: &String| !training && name.starts_with(AUXILIARY);
        difference.unexpected = file.keys().filter(|name| !known(name) && !idle(name)).cloned().collect();
        difference
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mis_shaped.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| {
            let more = names.len().saturating_sub(8);
            let few = names
                .iter()
                .take(8)
                .map(|name| Untrusted::short(name).to_string())
                .collect::<Vec<_>>()
                .join(", ");
            if more > 0 { format!("{few} and {more} more") } else { few }
        };
        let mis_shaped: Vec<_> =
            self.mis_shaped.iter().map(|(n, a, b)| format!("{n} {a:?} instead of {b:?}")).collect();
        let parts = [
            ("missing", list(&self.missing)),
            ("unexpected", list(&self.unexpected)),
            ("mis-shaped", list(&mis_shaped)),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {names}"))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

/// Finds the variant that a file's tensors belong to, by names and shapes. Of variants that differ only in what has no
/// parameters (`alexnet` and `caffenet`, `resnet50` and `resnet50-v1`) it is the first in the list.
///
/// # Errors
/// [`Error::Data`] with the difference to the variant that is nearest by shapes if they fit none.
pub fn recognise(file: &Names) -> Result<Found> {
    recognise_as(file, None)
}

/// The same where the variant is known, or one of all.
///
/// # Errors
/// As [`recognise`].
pub fn recognise_as(file: &Names, wanted: Option<&Arch>) -> Result<Found> {
    if let Some(found) = exact(file, wanted) {
        return Ok(found);
    }
    let none = || Error::data(format!("these weights are for more than {MAX_CLASSES} classes, or none"));
    let arch = nearest(file, wanted).ok_or_else(none)?;
    let (_, difference) = compare(arch, arch.size, file).ok_or_else(none)?;
    let (name, which) = (arch.name, if wanted.is_some() { "the one asked for" } else { "the nearest" });
    Err(Error::data(format!("these are the weights of no network here; {which} is {name}, {difference}"))
        .hint("`ocelli show` lists the networks"))
}

/// The same where it does not matter how they differ.
pub fn exact(file: &Names, wanted: Option<&Arch>) -> Option<Found> {
    for arch in ARCHS.iter().filter(|a| wanted.is_none_or(|w| w.name == a.name)) {
        let Some((classes, difference)) = compare(arch, arch.size, file) else { continue };
        if difference.is_empty() {
            return Some(Found { arch, classes, size: arch.size });
        }
        // The names are right, and a linear layer may have been made for another map.
        let same_names = difference.missing.is_empty() && difference.unexpected.is_empty();
        if let Some((classes, size)) = same_names.then(|| other_size(arch, file)).flatten() {
            return Some(Found { arch, classes, size });
        }
    }
    None
}

/// The variant whose tensors have the most shapes in common with those of a file, whatever their names are.
pub fn nearest(file: &Names, wanted: Option<&Arch>) -> Option<&'static Arch> {
    let mut shapes: BTreeMap<&[usize], usize> = BTreeMap::new();
    for shape in file.values() {
        *shapes.entry(shape).or_default() += 1;
    }
    let mut best: Option<(usize, &'static Arch)> = None;
    for arch in ARCHS.iter().filter(|a| wanted.is_none_or(|w| w.name == a.name)) {
        let Ok(network) = arch.network(&arch.settings(1), Mode::Inference) else { continue };
        let mut left = shapes.clone();
        let (mut fitting, mut all) = (0, 0);
        for parameter in network.parameters.iter().filter(|p| p.rows.start == 0) {
            all += 1;
            if let Some(count) = left.get_mut(parameter.torch_shape.as_slice()).filter(|count| **count > 0) {
                *count -= 1;
                fitting += 1;
            }
        }
        // How many are without a partner, on either side.
        let apart = all + file.len() - 2 * fitting;
        if best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, arch));
        }
    }
    best.map(|(_, arch)| arch)
}

/// The number of classes that the file speaks of, and how it differs from the network with them; `None` if there is no
/// such network.
fn compare(arch: &Arch, size: usize, file: &Names) -> Option<(usize, Difference)> {
    let mut settings = arch.settings(1);
    settings.size = [size; 2];
    let parameters = arch.network(&settings, Mode::Inference).ok()?.parameters;
    // The last linear layer says how many classes there are.
    let head = parameters.iter().rev().find(|p| p.torch_shape.len() == 2);
    let classes = head.and_then(|p| file.get(&p.name)).and_then(|shape| shape.first());
    let classes = classes.copied().unwrap_or(arch.classes).max(1);
    if classes == arch.classes {
        return Some((classes, Difference::between(file, &parameters)));
    }
    settings.classes = classes;
    let parameters = arch.network(&settings, Mode::Inference).ok()?.parameters;
    Some((classes, Difference::between(file, &parameters)))
}

/// The smallest input size below the paper's whose shapes are the file's.
fn other_size(arch: &Arch, file: &Names) -> Option<(usize, usize)> {
    (1..arch.size).find_map(|size| {
        let (classes, difference) = compare(arch, size, file)?;
        difference.is_empty().then_some((classes, size))
    })
}
