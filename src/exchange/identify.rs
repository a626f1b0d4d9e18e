//! Finds the network of the tensors in a file. Its modules may lie in other modules, its last layer may have another name, and other
//! tensors may lie beside it.

use super::IdentifyOptions;
use super::fit::{Naming, fit, fits};
use super::foreign::is_known;
use super::options::check_average;
use super::order::by_order;
use super::tree::{Place, Tree};
use crate::error::{Error, Note, Result};
use crate::models::{Arch, Found, Mode, Names, Parameter, exact, nearest, recognise_as};
use crate::weights::Source;

/// The network of a file.
pub(super) struct Identified {
    pub found: Found,
    /// The name in the network, the name in the file, and the shape in the network.
    pub tensors: Vec<(String, String, Vec<usize>)>,
    pub notes: Vec<Note>,
}

/// timm's names of VGG's fully connected layers, and torchvision's. timm stores the first two as convolutions.
const TIMM_VGG: [(&str, &str); 3] = [
    ("pre_logits.fc1.", "classifier.0."),
    ("pre_logits.fc2.", "classifier.3."),
    ("head.fc.", "classifier.6."),
];

/// The most pairs of names, of a network and of a file, that are compared for a message.
const MOST_COMPARED: usize = 1 << 24;

/// A file in which a network is searched.
pub(super) struct Search<'a> {
    /// The tensors that may be weights.
    pub all: &'a Names,
    /// Their names as a tree.
    pub tree: &'a Tree<'a>,
    pub options: IdentifyOptions,
    /// Whether something in the file says that its weights are averaged.
    pub averaging: bool,
}

/// Finds the network of a file. `None` if it is no network of this crate and the caller has named none.
///
/// # Errors
/// [`Error::Data`] if it is not clear which tensors are the network, or the file lacks what the caller requested.
pub(super) fn identify(source: &dyn Source, options: IdentifyOptions) -> Result<Option<Identified>> {
    let all = weights(source);
    // PyTorch's `AveragedModel` counts how many models it has averaged.
    let mut names = source.entries().keys();
    let averaging = options.is_averaged || names.any(|name| name.rsplit('.').next() == Some("n_averaged"));
    if let Some(found) = exact(&all, options.arch) {
        check_average(options, averaging)?;
        let tensors = all.into_iter().map(|(name, shape)| (name.clone(), name, shape)).collect();
        return Ok(Some(Identified { found, tensors, notes: Vec::new() }));
    }
    let tree = Tree::new(all.keys().map(String::as_str));
    let search = Search { all: &all, tree: &tree, options, averaging };
    if let Some(identified) = search.by_names()? {
        return Ok(Some(identified));
    }
    if let Some(identified) = search.by_shapes(source.order())? {
        return Ok(Some(identified));
    }
    // The choice between kinds of weights makes sense for a network only.
    if options.arch.is_some() || options.averaged.is_some() {
        return Err(of_none(source, options.arch));
    }
    Ok(None)
}

impl Search<'_> {
    /// Finds a network by the names of its tensors.
    ///
    /// # Errors
    /// The first error of [`Search::choose`], if no variant fits.
    fn by_names(&self) -> Result<Option<Identified>> {
        let mut refused = None;
        for arch in self.options.archs() {
            for naming in namings(arch) {
                let fits = fits(arch, &naming, self.all, self.tree);
                if fits.is_empty() {
                    continue;
                }
                match self.choose(fits) {
                    Ok(Some(identified)) => return Ok(Some(identified)),
                    Ok(None) => {}
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Finds a network by the shapes and the order of its modules, whatever their names are. `order` is that in which the tensors were
    /// saved, if the file has kept it.
    fn by_shapes(&self, order: Option<&[String]>) -> Result<Option<Identified>> {
        let own = self.all.iter().filter(|(name, _)| !is_known(name));
        let own: Names = own.map(|(name, shape)| (name.clone(), shape.clone())).collect();
        for arch in self.options.archs() {
            // The branches of an inception module may come in any order.
            let Some(naming) = namings(arch).pop().filter(|_| arch.family != "GoogLeNet") else { continue };
            let Some(tensors) = by_order(&naming, &own, order) else { continue };
            let Some(fit) = fit(arch, &naming, self.all, Place::of(tensors)) else { continue };
            if let Some(mut identified) = self.choose(vec![fit])? {
                let note = format!(
                    "recognised by the shapes and the order of its tensors alone, whose names are not those of {}",
                    arch.name
                );
                identified.notes.insert(0, note.into());
                return Ok(Some(identified));
            }
        }
        Ok(None)
    }
}

/// Names and shapes of the tensors that may be weights.
fn weights(source: &dyn Source) -> Names {
    let weights = source.entries().iter().filter(|(name, entry)| entry.is_weights() && !counts(name));
    weights.map(|(name, entry)| (name.clone(), entry.shape.clone())).collect()
}

/// Whether it is PyTorch's counter of batches in batch norm. Some programs store it as a floating-point number.
fn counts(name: &str) -> bool {
    name.rsplit('.').next() == Some("num_batches_tracked")
}

/// The names that implementations give to the tensors of a network.
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

/// The error of a file that is no network of this crate: its difference to the network with the most similar shapes. A common prefix of its
/// names is ignored.
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
        // The names without the prefix fit, but one of them occurs twice.
        Ok(found) => Error::data(format!("it has two tensors for one of {}", found.arch.name)),
    }
}
