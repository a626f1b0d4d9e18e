//! Which network the tensors of a file are, under whatever names: modules around them, a last layer of another name, tensors
//! of something else beside them.

use super::foreign::{is_averaged, is_known, layers};
use super::order::by_order;
use super::tree::{Place, Tree};
use crate::error::{Error, Result, Untrusted, proposal};
use crate::models::{ARCHS, Arch, Found, Mode, Names, Parameter, exact, nearest, recognise_as};
use crate::weights::Source;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked of a file whose network is to be found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// The variant, where somebody has said it.
    pub arch: Option<&'static Arch>,
    /// Averaged weights or plain ones, where a file has both.
    pub averaged: Option<bool>,
    /// Whether something outside of the tensors' names says that they are averaged.
    pub is_averaged: bool,
}

/// What was found.
pub(super) struct Identified {
    pub found: Found,
    /// The network's name, the file's, and the network's shape.
    pub tensors: Vec<(String, String, Vec<usize>)>,
    pub notes: Vec<String>,
}

/// timm's names of VGG's fully connected layers, the first two of which it keeps as convolutions, and torchvision's.
const TIMM_VGG: [(&str, &str); 3] = [
    ("pre_logits.fc1.", "classifier.0."),
    ("pre_logits.fc2.", "classifier.3."),
    ("head.fc.", "classifier.6."),
];

/// So many pairs of names, of a network and of a file, are compared for the sake of a message.
const MOST_COMPARED: usize = 1 << 24;

/// A network's tensors under the names of one of its implementations: that name, ours, and the shape.
type Naming = Vec<(String, String, Vec<usize>)>;

/// A place whose shapes are those of a network.
struct Fit<'a> {
    place: Place<'a>,
    found: Found,
    /// By the network's name: the file's, and the network's shape.
    tensors: BTreeMap<&'a str, (&'a str, Vec<usize>)>,
    /// The last layer's name in the file, where that is not the network's.
    head: Option<String>,
}

/// Finds the network of a file; `None` if it is of no network here and nothing was asked of one.
///
/// # Errors
/// [`Error::Data`] if it cannot be told which tensors a network is, or what was asked for is not in the file.
pub(super) fn identify(source: &dyn Source, wish: Wish) -> Result<Option<Identified>> {
    let entries = source.entries();
    let all = weights(source);
    // A running average counts what it has averaged.
    let averaging =
        wish.is_averaged || entries.keys().any(|name| name.rsplit('.').next() == Some("n_averaged"));
    if let Some(found) = exact(&all, wish.arch) {
        must_be(wish, averaging)?;
        let tensors = all.into_iter().map(|(name, shape)| (name.clone(), name, shape)).collect();
        return Ok(Some(Identified { found, tensors, notes: Vec::new() }));
    }
    let tree = Tree::new(all.keys().map(String::as_str));
    let mut refused = None;
    for arch in ARCHS.iter().filter(|a| wish.arch.is_none_or(|w| w.name == a.name)) {
        for naming in namings(arch) {
            let network = Tree::new(naming.iter().map(|(theirs, ..)| theirs.as_str()));
            let mut fits: Vec<Fit> =
                tree.places(&network).into_iter().filter_map(|p| fit(arch, &naming, &all, p, None)).collect();
            if fits.is_empty() {
                fits = with_another_head(arch, &naming, &all, &tree);
            }
            if fits.is_empty() {
                continue;
            }
            match choose(fits, &all, &tree, wish, averaging) {
                Ok(Some(identified)) => return Ok(Some(identified)),
                Ok(None) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
    }
    if refused.is_none()
        && let Some(identified) = without_names(source, &all, &tree, wish, averaging)
    {
        return identified.map(Some);
    }
    match refused {
        Some(error) => Err(error),
        // Which of several kinds of weights are meant can be told of a network alone.
        None if wish.arch.is_some() || wish.averaged.is_some() => Err(of_none(source, wish.arch)),
        None => Ok(None),
    }
}

/// Names and shapes of what may be a network's.
fn weights(source: &dyn Source) -> Names {
    let weights = source.entries().iter().filter(|(name, entry)| entry.is_weights() && !counts(name));
    weights.map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
}

/// The network of a file whose names are none of it, by the shapes and the order of its modules.
fn without_names(
    source: &dyn Source,
    all: &Names,
    tree: &Tree,
    wish: Wish,
    averaging: bool,
) -> Option<Result<Identified>> {
    let own: Names =
        all.iter().filter(|(name, _)| !is_known(name)).map(|(n, s)| (n.clone(), s.clone())).collect();
    for arch in ARCHS.iter().filter(|a| wish.arch.is_none_or(|w| w.name == a.name)) {
        // Branches of an inception module may come in any order.
        let Some(naming) = namings(arch).pop().filter(|_| arch.family != "GoogLeNet") else { continue };
        let Some(tensors) = by_order(&naming, &own, source.order()) else { continue };
        let Some(fit) = fit(arch, &naming, all, Place::of(tensors), None) else { continue };
        return match choose(vec![fit], all, tree, wish, averaging) {
            Ok(None) => continue,
            Ok(Some(mut identified)) => {
                identified.notes.insert(0, format!("recognised by the shapes and the order of its tensors alone, whose names are not those of {}", arch.name));
                Some(Ok(identified))
            }
            Err(error) => Some(Err(error)),
        };
    }
    None
}

/// PyTorch's count of batches in batch norm, which some programs make a number of floating point.
fn counts(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// The names that implementations give to a network's tensors.
fn namings(arch: &Arch) -> Vec<Naming> {
    let settings = arch.settings(1);
    let parameters = |mode| arch.network(&settings, mode).map(|n| n.parameters).unwrap_or_default();
    let list = |parameters: Vec<Parameter>| -> Naming {
        let whole = parameters.into_iter().filter(|p| p.rows.start == 0);
        whole.map(|p| (p.name.clone(), p.name, p.torch_shape)).collect()
    };
    let inference = list(parameters(Mode::Inference));
    let mut namings = Vec::new();
    match arch.family {
        "GoogLeNet" => namings.push(list(parameters(Mode::Training))),
        "VGG" => {
            let timm = inference.iter().map(|(name, ours, shape)| {
                let pair = TIMM_VGG.iter().find(|(_, ours)| name.starts_with(ours));
                let name = pair.map_or(name.clone(), |(theirs, ours)| name.replacen(ours, theirs, 1));
                (name, ours.clone(), shape.clone())
            });
            namings.push(timm.collect());
        }
        _ => {}
    }
    namings.push(inference);
    namings
}

/// Looks at the shapes of a place.
fn fit<'a>(
    arch: &'static Arch,
    naming: &'a Naming,
    all: &Names,
    place: Place<'a>,
    head: Option<String>,
) -> Option<Fit<'a>> {
    let mut tensors = BTreeMap::new();
    for (theirs, ours, wanted) in naming {
        let original = *place.tensors.get(theirs.as_str())?;
        let shape = all.get(original)?;
        let shape = match (shape.as_slice(), wanted.len()) {
            // A linear layer that is kept as a convolution: the same numbers in the same order.
            ([k, rest @ ..], 2) if rest.len() == 3 => vec![*k, rest.iter().product()],
            _ => shape.clone(),
        };
        tensors.insert(ours.as_str(), (original, shape));
    }
    // Cheaper than to build the network of that many classes: all shapes that hang on neither classes nor input.
    let fixed = naming.iter().filter(|(.., shape)| shape.len() == 4);
    if fixed.clone().any(|(_, ours, shape)| tensors.get(ours.as_str()).is_none_or(|(_, s)| s != shape)) {
        return None;
    }
    let names = tensors.iter().map(|(ours, (_, shape))| ((*ours).to_owned(), shape.clone())).collect();
    let found = exact(&names, Some(arch))?;
    Some(Fit { place, found, tensors, head })
}

/// The same for a network whose last layer has another name, or lies somewhere else. It is the only linear layer that takes what
/// the network gives.
fn with_another_head<'a>(
    arch: &'static Arch,
    naming: &'a Naming,
    all: &'a Names,
    tree: &Tree<'a>,
) -> Vec<Fit<'a>> {
    let Some((weight, _, [_, width])) = naming.iter().rev().find_map(|(theirs, ours, shape)| {
        Some((theirs.as_str(), ours, <[usize; 2]>::try_from(shape.as_slice()).ok()?))
    }) else {
        return Vec::new();
    };
    let Some(module) = weight.strip_suffix("weight") else { return Vec::new() };
    let bias = naming.iter().find(|(name, ..)| name.strip_prefix(module) == Some("bias"));
    let Some((bias, ..)) = bias else { return Vec::new() };
    let body = naming.iter().map(|(name, ..)| name.as_str()).filter(|name| !name.starts_with(module));
    let places = tree.places(&Tree::new(body));
    let several = places.len() > 1;
    let mut fits = Vec::new();
    for mut place in places {
        // Of several networks each has its own.
        let root =
            if several { place.root.iter().map(|part| format!("{part}.")).collect() } else { String::new() };
        let taken: BTreeSet<&str> = place.tensors.values().copied().collect();
        let mut heads = all.iter().filter_map(|(name, shape)| {
            let module = name.strip_suffix("weight").filter(|m| m.is_empty() || m.ends_with('.'))?;
            let (other, size) = all.get_key_value(&format!("{module}bias"))?;
            let takes = match shape.as_slice() {
                [k, d] | [k, d, 1, 1] => *d == width && *size == [*k],
                _ => false,
            };
            let free = takes
                && name.starts_with(&root)
                && !taken.contains(name.as_str())
                && !is_known(name)
                && !projects(name);
            free.then_some((module, name.as_str(), other.as_str()))
        });
        if let (Some((module, theirs, other)), None) = (heads.next(), heads.next()) {
            place.tensors.insert(weight, theirs);
            place.tensors.insert(bias.as_str(), other);
            let head = module.trim_end_matches('.').to_owned();
            fits.extend(fit(arch, naming, all, place, Some(head)));
        }
    }
    fits
}

/// Whether the name is that of a layer for comparing pictures, not for classes.
fn projects(name: &str) -> bool {
    name.split('.').any(|part| part.to_lowercase().contains("proj"))
}

/// Which of several places is meant, and what is left out. `None` if what is left belongs into the network, so that it is
/// another one.
fn choose(
    fits: Vec<Fit>,
    all: &Names,
    tree: &Tree,
    wish: Wish,
    averaging: bool,
) -> Result<Option<Identified>> {
    let roots = |fits: &[Fit]| {
        let roots = fits.iter().map(|fit| short(&format!("{}.", fit.place.root.join("."))));
        roots.collect::<Vec<_>>().join(", ")
    };
    let used = |fits: &[Fit]| -> BTreeSet<String> {
        fits.iter().flat_map(|fit| fit.tensors.values().map(|(theirs, _)| (*theirs).to_owned())).collect()
    };
    // What belongs into a place and is not used by it makes it one of another network.
    let all_used = used(&fits);
    let is_whole = |fit: &Fit| {
        let mut left = all.keys().filter(|name| !all_used.contains(*name) && auxiliary(fit, name).is_none());
        !left.any(|name| tree.is_within(&fit.place, name))
    };
    let fits: Vec<Fit> = fits.into_iter().filter(is_whole).collect();
    let used = used(&fits);
    let several = fits.len() > 1;
    let (averaged, plain): (Vec<Fit>, Vec<Fit>) =
        fits.into_iter().partition(|fit| is_averaged(&fit.place.root));
    let mut notes = Vec::new();
    let arch = averaged.iter().chain(&plain).next().map_or("", |fit| fit.found.arch.name);
    if averaged.len() > 1 || plain.len() > 1 {
        let which = roots(&[plain, averaged].into_iter().flatten().collect::<Vec<_>>());
        return Err(Error::data(format!(
            "the weights of {arch} are in it several times, under {which}, and nothing says which are meant"
        ))
        .hint("save the weights of one of them alone"));
    }
    if !several {
        must_be(wish, averaging || !averaged.is_empty())?;
    }
    let take_averaged = match (averaged.is_empty(), plain.is_empty()) {
        (false, false) => {
            let take = wish.averaged.unwrap_or(true);
            let (averaged, plain) = (roots(&averaged), roots(&plain));
            notes.push(chosen(take, &averaged, &plain));
            take
        }
        (empty, _) => !empty,
    };
    let fit = if take_averaged { averaged } else { plain }.into_iter().next();
    let Some(mut fit) = fit else { return Ok(None) };
    let mut left: Vec<&str> = Vec::new();
    for (name, shape) in all.iter().filter(|(name, _)| !used.contains(*name)) {
        match auxiliary(&fit, name) {
            Some(ours) => drop(fit.tensors.insert(ours, (name, shape.clone()))),
            None => left.push(name),
        }
    }
    let Fit { place, found, tensors, head } = fit;
    if left.iter().any(|name| tree.is_within(&place, name)) {
        return Ok(None);
    }
    let layers = layers(&left, all);
    if let Some(first) = layers.first().filter(|_| wish.arch.is_none()) {
        let more = match layers.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let arch = found.arch.name;
        return Err(Error::data(format!(
            "beside the tensors of {arch} it has {}{more}, which may be layers of a larger network",
            short(first)
        ))
        .hint(format!("if they are not, {}, here {arch}, and they are left out", proposal::NAME_NETWORK)));
    }
    if let Some(head) = head {
        notes.push(format!("the last layer of {} is {} in this file", found.arch.name, short(&head)));
    }
    if !left.is_empty() {
        let few = left.iter().take(5).map(|name| short(name)).collect::<Vec<_>>().join(", ");
        let more = left.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("left out, for it is not of {}: {few}{more}", found.arch.name));
    }
    let tensors = tensors
        .into_iter()
        .map(|(ours, (theirs, shape))| (ours.to_owned(), theirs.to_owned(), shape))
        .collect();
    Ok(Some(Identified { found, tensors, notes }))
}

/// The network's name of a tensor of an auxiliary classifier, where the network was found without them.
fn auxiliary<'n>(fit: &Fit, name: &'n str) -> Option<&'n str> {
    if fit.found.arch.family != "GoogLeNet" {
        return None;
    }
    let mut ours = name;
    for part in &fit.place.root {
        ours = ours.strip_prefix(part)?.strip_prefix('.')?;
    }
    Parameter::names_auxiliary(ours).then_some(ours)
}

fn short(text: &str) -> String {
    Untrusted::short(text).to_string()
}

/// What was chosen of two kinds of weights.
pub(super) fn chosen(averaged: bool, averages: &str, plain: &str) -> String {
    if averaged {
        format!(
            "averaged weights ({averages}) and plain ones ({plain}) are in it; {}",
            proposal::AVERAGED_TAKEN
        )
    } else {
        format!("averaged weights ({averages}) and plain ones ({plain}) are in it; the plain ones are taken")
    }
}

/// Refuses a file that has only the other kind of weights.
pub(super) fn must_be(wish: Wish, averaged: bool) -> Result<()> {
    match wish.averaged {
        Some(true) if !averaged => {
            Err(Error::data("nothing says that it holds averaged weights").hint(proposal::NO_AVERAGED))
        }
        Some(false) if averaged => {
            Err(Error::data("it holds averaged weights only").hint(proposal::NO_PLAIN))
        }
        _ => Ok(()),
    }
}

/// The difference to the network that is nearest by shapes, under names that are as near to its own as can be.
pub(super) fn of_none(source: &dyn Source, wanted: Option<&'static Arch>) -> Error {
    let all = weights(source);
    let mut names = all.clone();
    let naming = nearest(&all, wanted).map(namings).and_then(|mut namings| namings.pop()).unwrap_or_default();
    let few = naming.len().saturating_mul(all.len()) <= MOST_COMPARED;
    let prefix = naming.iter().filter(|_| few).find_map(|(name, ..)| {
        let mut theirs = all.keys().filter_map(|n| n.strip_suffix(name.as_str()));
        let prefix = theirs.next().filter(|prefix| !prefix.is_empty() && prefix.ends_with('.'))?;
        theirs.next().is_none().then_some(prefix)
    });
    if let Some(prefix) = prefix {
        let cut = |name: String| name.strip_prefix(prefix).map_or(name.clone(), str::to_owned);
        names = names.into_iter().map(|(name, shape)| (cut(name), shape)).collect();
    }
    match recognise_as(&names, wanted) {
        Err(error) => error,
        // The names without the prefix are right, but there are two of one.
        Ok(found) => Error::data(format!("it has two tensors for one of {}", found.arch.name)),
    }
}
