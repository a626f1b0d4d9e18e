//! The choice between several places of a network in a file, and what is left out.

use super::fit::Fit;
use super::foreign::{is_averaged, layers};
use super::identify::{Identified, Search};
use super::options::check_average;
use crate::error::{Choice, Error, Note, Result, Untrusted};
use std::collections::BTreeSet;

impl Search<'_> {
    /// Chooses one of the places where a network fits. `None` if the file has tensors that belong to this network and are not used:
    /// then it is another network.
    pub(super) fn choose(&self, fits: Vec<Fit>) -> Result<Option<Identified>> {
        let fits = self.complete(fits);
        let used = tensors_of(&fits);
        let mut notes = Vec::new();
        let Some(mut fit) = self.averaged_or_plain(fits, &mut notes)? else { return Ok(None) };
        let mut left: Vec<&str> = Vec::new();
        for (name, shape) in self.all.iter().filter(|(name, _)| !used.contains(*name)) {
            match fit.auxiliary(name) {
                Some(ours) => drop(fit.tensors.insert(ours, (name, shape.clone()))),
                None => left.push(name),
            }
        }
        if left.iter().any(|name| self.tree.is_within(&fit.place, name)) {
            return Ok(None);
        }
        let Fit { found, tensors, head, .. } = fit;
        self.refuse_layers(found.arch.name, &left)?;
        if let Some(head) = head {
            let note = format!("the last layer of {} is {} in this file", found.arch.name, short(&head));
            notes.push(note.into());
        }
        notes.extend(left_out(found.arch.name, &left));
        let tensors = tensors
            .into_iter()
            .map(|(ours, (theirs, shape))| (ours.to_owned(), theirs.to_owned(), shape))
            .collect();
        Ok(Some(Identified { found, tensors, notes }))
    }

    /// The places whose modules have no further tensors. A place with more is one of another network.
    fn complete<'f>(&self, fits: Vec<Fit<'f>>) -> Vec<Fit<'f>> {
        let used = tensors_of(&fits);
        let is_complete = |fit: &Fit| {
            let mut left =
                self.all.keys().filter(|name| !used.contains(*name) && fit.auxiliary(name).is_none());
            !left.any(|name| self.tree.is_within(&fit.place, name))
        };
        fits.into_iter().filter(is_complete).collect()
    }

    /// Takes averaged or plain weights.
    ///
    /// # Errors
    /// [`Error::Data`] if there are several of a kind, or the file lacks the requested kind.
    fn averaged_or_plain<'f>(&self, fits: Vec<Fit<'f>>, notes: &mut Vec<Note>) -> Result<Option<Fit<'f>>> {
        let several = fits.len() > 1;
        let (averaged, plain): (Vec<Fit>, Vec<Fit>) =
            fits.into_iter().partition(|fit| is_averaged(&fit.place.root));
        let arch = averaged.iter().chain(&plain).next().map_or("", |fit| fit.found.arch.name);
        if averaged.len() > 1 || plain.len() > 1 {
            let which = roots(plain.iter().chain(&averaged));
            return Err(Error::data(format!(
                "the weights of {arch} are in it several times, under {which}, and nothing says which are meant"
            ))
            .hint("save the weights of one of them alone"));
        }
        if !several {
            check_average(self.options, self.averaging || !averaged.is_empty())?;
        }
        let take_averaged = if averaged.is_empty() || plain.is_empty() {
            !averaged.is_empty()
        } else {
            let take = self.options.averaged.unwrap_or(true);
            notes.push(chosen(take, &roots(averaged.iter()), &roots(plain.iter())));
            take
        };
        Ok(if take_averaged { averaged } else { plain }.into_iter().next())
    }

    /// Refuses a file with tensors that may be layers of a larger network, unless the caller has named the network.
    fn refuse_layers(&self, arch: &str, left: &[&str]) -> Result<()> {
        let layers = layers(left, self.all);
        let Some(first) = layers.first().filter(|_| self.options.arch.is_none()) else { return Ok(()) };
        let more = match layers.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let what = format!(
            "beside the tensors of {arch} it has {}{more}, which may be layers of a larger network",
            short(first)
        );
        let hint = Choice::Network.after("if they are not, ");
        Err(Error::data(what).hint(hint.then(&format!(", here {arch}, and they are left out"))))
    }
}

/// The names in the file of all tensors of these places.
fn tensors_of(fits: &[Fit]) -> BTreeSet<String> {
    fits.iter().flat_map(|fit| fit.tensors.values().map(|(theirs, _)| (*theirs).to_owned())).collect()
}

/// What the names at each place begin with.
fn roots<'f, 'a: 'f>(fits: impl Iterator<Item = &'f Fit<'a>>) -> String {
    let roots = fits.map(|fit| short(&format!("{}.", fit.place.root.join("."))));
    roots.collect::<Vec<_>>().join(", ")
}

/// Names some of the tensors that are left out.
fn left_out(arch: &str, left: &[&str]) -> Option<Note> {
    if left.is_empty() {
        return None;
    }
    let few = left.iter().take(5).map(|name| short(name)).collect::<Vec<_>>().join(", ");
    let more = left.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("left out, for it is not of {arch}: {few}{more}").into())
}

fn short(text: &str) -> String {
    Untrusted::short(text).to_string()
}

/// The note of a choice between averaged and plain weights.
pub(super) fn chosen(averaged: bool, averages: &str, plain: &str) -> Note {
    let both = format!("averaged weights ({averages}) and plain ones ({plain}) are in it; ");
    if averaged { Choice::PlainWeights.after(both) } else { (both + "the plain ones are taken").into() }
}
