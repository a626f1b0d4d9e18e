//! Finds the network that a list of tensors belongs to, and the difference to a network.

use super::parameter::AUXILIARY;
use super::{ARCHS, Arch, MAX_CLASSES, Mode, Parameter};
use crate::error::{Error, Result, Untrusted};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Tensor names with their shapes in PyTorch's layout.
pub type Names = BTreeMap<String, Vec<usize>>;

/// A recognised network.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The variant.
    pub arch: &'static Arch,
    /// Number of classes.
    pub classes: usize,
    /// Height and width of the input, in pixels: the paper's if it fits, otherwise the smallest that fits the linear
    /// layers.
    pub size: usize,
}

/// The difference between the tensors of a file and those of a network.
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
    /// Compares a file's tensors with a network's parameters. The file may have tensors of auxiliary classifiers that
    /// a network for inference does not have.
    pub fn between(file: &Names, network: &[Parameter]) -> Self {
        let mut difference = Self::default();
        // All shards of a tensor have its name and whole shape, so the first shard is enough.
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

    /// Whether there is no difference.
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

/// Finds the variant that a file's tensors belong to, by names and shapes. Some variants differ only in operations
/// without parameters (`alexnet` and `caffenet`, `resnet50` and `resnet50-v1`); then it is the first in the list.
///
/// # Errors
/// [`Error::Data`] if no variant fits, with the difference to the variant whose shapes are nearest.
pub fn recognise(file: &Names) -> Result<Found> {
    recognise_as(file, None)
}

/// Like [`recognise`], but tries only the variant `wanted` if it is given.
///
/// # Errors
/// Those of [`recognise`].
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

/// Like [`recognise_as`], but `None` if no variant fits.
pub fn exact(file: &Names, wanted: Option<&Arch>) -> Option<Found> {
    for arch in ARCHS.iter().filter(|a| wanted.is_none_or(|w| w.name == a.name)) {
        let Some((classes, difference)) = compare(arch, arch.size, file) else { continue };
        if difference.is_empty() {
            return Some(Found { arch, classes, size: arch.size });
        }
        // The names match. A linear layer may have been trained for another size of the map.
        let same_names = difference.missing.is_empty() && difference.unexpected.is_empty();
        if let Some((classes, size)) = same_names.then(|| other_size(arch, file)).flatten() {
            return Some(Found { arch, classes, size });
        }
    }
    None
}

/// The variant whose shapes match those of the file best: the fewest tensors on both sides have no partner of the same
/// shape. Names do not count.
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
        // The tensors without a partner, on both sides.
        let apart = all + file.len() - 2 * fitting;
        if best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, arch));
        }
    }
    best.map(|(_, arch)| arch)
}

/// The number of classes in the file, and the difference to the network with that number; `None` if there is no such
/// network.
fn compare(arch: &Arch, size: usize, file: &Names) -> Option<(usize, Difference)> {
    let mut settings = arch.settings(1);
    settings.size = [size; 2];
    let parameters = arch.network(&settings, Mode::Inference).ok()?.parameters;
    // The last linear layer has the number of classes.
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

/// The number of classes, and the smallest input size below the paper's at which all shapes are those of the file.
fn other_size(arch: &Arch, file: &Names) -> Option<(usize, usize)> {
    (1..arch.size).find_map(|size| {
        let (classes, difference) = compare(arch, size, file)?;
        difference.is_empty().then_some((classes, size))
    })
}
