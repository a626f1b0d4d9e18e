//! Places in a file whose names and shapes are those of a network.

use super::foreign::is_known;
use super::tree::{Place, Tree};
use crate::models::{Arch, Found, Names, Parameter, exact};
use std::collections::{BTreeMap, BTreeSet};

/// The tensors of a network as one of its implementations names them: that name, the name in this crate, and the shape.
pub(super) type Naming = Vec<(String, String, Vec<usize>)>;

/// A place whose shapes are those of a network.
pub(super) struct Fit<'a> {
    pub place: Place<'a>,
    pub found: Found,
    /// The name in the file and the shape in the network, by the name in the network.
    pub tensors: BTreeMap<&'a str, (&'a str, Vec<usize>)>,
    /// The name of the last layer in the file, if it is not that in the network.
    pub head: Option<String>,
}

impl Fit<'_> {
    /// The name in the network of a tensor of an auxiliary classifier, if the network was found without these.
    pub fn auxiliary<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.found.arch.family != "GoogLeNet" {
            return None;
        }
        let mut ours = name;
        for part in &self.place.root {
            ours = ours.strip_prefix(part)?.strip_prefix('.')?;
        }
        Parameter::names_auxiliary(ours).then_some(ours)
    }
}

/// All places in a file whose names and shapes are those of a network. If there is none, places where only the last layer has another
/// name.
pub(super) fn fits<'a>(
    arch: &'static Arch,
    naming: &'a Naming,
    all: &'a Names,
    tree: &Tree<'a>,
) -> Vec<Fit<'a>> {
    let network = Tree::new(naming.iter().map(|(theirs, ..)| theirs.as_str()));
    let places = tree.places(&network).into_iter();
    let fits: Vec<Fit> = places.filter_map(|place| fit(arch, naming, all, place)).collect();
    if fits.is_empty() { with_another_head(arch, naming, all, tree) } else { fits }
}

/// Compares the shapes at a place with those of a network.
pub(super) fn fit<'a>(
    arch: &'static Arch,
    naming: &'a Naming,
    all: &Names,
    place: Place<'a>,
) -> Option<Fit<'a>> {
    let mut tensors = BTreeMap::new();
    for (theirs, ours, wanted) in naming {
        let original = *place.tensors.get(theirs.as_str())?;
        let shape = all.get(original)?;
        let shape = match (shape.as_slice(), wanted.len()) {
            // A linear layer that is saved as a convolution has the same numbers in the same order.
            ([k, rest @ ..], 2) if rest.len() == 3 => vec![*k, rest.iter().product()],
            _ => shape.clone(),
        };
        tensors.insert(ours.as_str(), (original, shape));
    }
    // First the shapes that depend on neither classes nor input: that is cheaper than building the network.
    let fixed = naming.iter().filter(|(.., shape)| shape.len() == 4);
    if fixed.clone().any(|(_, ours, shape)| tensors.get(ours.as_str()).is_none_or(|(_, s)| s != shape)) {
        return None;
    }
    let names = tensors.iter().map(|(ours, (_, shape))| ((*ours).to_owned(), shape.clone())).collect();
    let found = exact(&names, Some(arch))?;
    Some(Fit { place, found, tensors, head: None })
}

/// The last layer of a network: the names of weight and bias, and the number of inputs.
struct Head<'a> {
    /// The names up to `weight` and `bias`.
    module: &'a str,
    weight: &'a str,
    bias: &'a str,
    inputs: usize,
}

impl<'a> Head<'a> {
    /// The last linear layer, if it has a bias.
    fn of(naming: &'a Naming) -> Option<Self> {
        let (weight, inputs) = naming.iter().rev().find_map(|(theirs, _, shape)| {
            let [_, inputs] = <[usize; 2]>::try_from(shape.as_slice()).ok()?;
            Some((theirs.as_str(), inputs))
        })?;
        let module = weight.strip_suffix("weight")?;
        let (bias, ..) = naming.iter().find(|(name, ..)| name.strip_prefix(module) == Some("bias"))?;
        Some(Self { module, weight, bias, inputs })
    }
}

/// Places of a network whose last layer has another name, or lies outside of the place. It must be the only linear layer that
/// takes the output of the network.
fn with_another_head<'a>(
    arch: &'static Arch,
    naming: &'a Naming,
    all: &'a Names,
    tree: &Tree<'a>,
) -> Vec<Fit<'a>> {
    let Some(head) = Head::of(naming) else { return Vec::new() };
    let body = naming.iter().map(|(name, ..)| name.as_str()).filter(|name| !name.starts_with(head.module));
    let places = tree.places(&Tree::new(body));
    let several = places.len() > 1;
    let mut fits = Vec::new();
    for mut place in places {
        // If there are several networks, each has its own last layer below its root.
        let root =
            if several { place.root.iter().map(|part| format!("{part}.")).collect() } else { String::new() };
        let Some((weight, bias)) = only_layer(all, &place, &root, head.inputs) else { continue };
        place.tensors.insert(head.weight, weight);
        place.tensors.insert(head.bias, bias);
        let module = weight.strip_suffix("weight").unwrap_or_default().trim_end_matches('.').to_owned();
        fits.extend(fit(arch, naming, all, place).map(|fit| Fit { head: Some(module), ..fit }));
    }
    fits
}

/// Weight and bias of the only linear layer below `root` that takes this number of inputs and is not part of the place.
fn only_layer<'a>(all: &'a Names, place: &Place, root: &str, inputs: usize) -> Option<(&'a str, &'a str)> {
    let taken: BTreeSet<&str> = place.tensors.values().copied().collect();
    let mut layers = all.iter().filter_map(|(name, shape)| {
        let module = name.strip_suffix("weight").filter(|m| m.is_empty() || m.ends_with('.'))?;
        let (bias, size) = all.get_key_value(&format!("{module}bias"))?;
        let takes = match shape.as_slice() {
            [k, d] | [k, d, 1, 1] => *d == inputs && *size == [*k],
            _ => false,
        };
        let free = takes
            && name.starts_with(root)
            && !taken.contains(name.as_str())
            && !is_known(name)
            && !projects(name);
        free.then_some((name.as_str(), bias.as_str()))
    });
    layers.next().filter(|_| layers.next().is_none())
}

/// Whether the name is that of a projection: a layer for comparing pictures, not for classes.
fn projects(name: &str) -> bool {
    name.split('.').any(|part| part.to_lowercase().contains("proj"))
}
