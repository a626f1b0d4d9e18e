//! `ocelli explain units`: the pictures of a data set that excite each unit of a layer most.

use super::Work;
use super::draw::patch;
use super::figures::{panel, short};
use super::mosaic::mosaic;
use crate::cli::progress::Progress;
use crate::cli::{patiently, tell};
use crate::data::{self, Dataset, Picture, Split, fit, picture_files, read_picture};
use crate::error::{Error, Result, Untrusted};
use crate::explain::{self, ExplainLayer, Input, UnitSearch};
use crate::report::{Figure, Panel};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Pictures of each unit, as in the paper.
const KEPT: usize = 9;
/// Units in a figure.
const IN_A_FIGURE: usize = 8;
/// Pictures that are read at a time.
const AT_ONCE: usize = 64;
/// The pixels of a picture in a mosaic.
const SIDE: usize = 64;

/// The pictures that are searched.
enum Pictures {
    Set(Arc<dyn Dataset>),
    /// Of a folder without train/, val/ and test/: all in it and in its folders.
    Files(Vec<PathBuf>),
}

impl Pictures {
    fn open(spec: &str, split: Split) -> Result<Self> {
        let root = Path::new(spec);
        let has = |part: Split| root.join(part.to_string()).symlink_metadata().is_ok();
        if !data::is_of_pictures(spec) || !root.is_dir() || Split::ALL.into_iter().any(has) {
            return Ok(Self::Set(data::open(spec, split)?));
        }
        let (files, _) = picture_files(root)?;
        if files.is_empty() {
            return Err(Error::data("there are no pictures in this folder")
                .at(spec)
                .hint("name a folder with JPEG, PNG, WebP, BMP, GIF or TIFF files"));
        }
        Ok(Self::Files(files))
    }

    fn len(&self) -> usize {
        match self {
            Self::Set(set) => set.len(),
            Self::Files(files) => files.len(),
        }
    }

    fn name(&self, i: usize) -> String {
        match self {
            Self::Set(set) => set.name(i),
            Self::Files(files) => files.get(i).map_or_else(String::new, |f| f.to_string_lossy().into_owned()),
        }
    }

    fn load(&self, i: usize) -> Result<Picture> {
        match self {
            Self::Set(set) => set.load(i),
            Self::Files(files) => match files.get(i) {
                Some(file) => read_picture(file),
                None => Err(Error::internal("a picture beyond the last one")),
            },
        }
    }
}

pub(super) fn run(work: &mut Work) -> Result<()> {
    let args = work.args;
    let spec = args.data.clone().unwrap_or_default();
    let (owned, split) = (spec.clone(), args.split);
    let set = Arc::new(patiently(&spec, move || Pictures::open(&owned, split))?);
    let mut search = UnitSearch::new(&work.explainer, args.layer.as_deref(), KEPT)?;
    let layer = search.layer().clone();
    args.unit.iter().try_for_each(|unit| layer.check_unit(*unit))?;
    let numbers = chosen(set.len(), args.limit);
    let seen = searched(work, &mut search, &set, &numbers)?;
    let units = match (&args.unit[..], args.top_units) {
        ([], count) => search.strongest().into_iter().take(count.unwrap_or(usize::MAX)).collect(),
        (units, _) => units.to_vec(),
    };
    if units.is_empty() {
        return Err(Error::data("no unit fires for any picture")
            .at(format!("layer {}", layer.name))
            .hint("name another layer, or search other pictures"));
    }
    if let Some(unit) = units.iter().find(|unit| search.best(**unit).is_empty()) {
        return Err(Error::data(format!("unit {unit} fires for none of the {} pictures", search.seen()))
            .at(format!("layer {}", layer.name))
            .hint("choose another unit, or other pictures"));
    }
    let progress = Progress::units(work.global.quiet, units.len() as u64);
    for (page, some) in units.chunks(IN_A_FIGURE).enumerate() {
        let mut panels = Vec::new();
        for unit in some {
            if work.stopped() {
                progress.finish();
                return Err(Error::stopped(format!(
                    "stopped after {} of {} units",
                    page * IN_A_FIGURE,
                    units.len()
                )));
            }
            panels.extend(panels_of(work, &layer, &search, *unit, &set, &seen)?);
            progress.set((page * IN_A_FIGURE + panels.len() / 2) as u64);
        }
        let title =
            format!("What excites {}, {} of {}", layer.name, page + 1, units.len().div_ceil(IN_A_FIGURE));
        let text = format!(
            "For each unit the {KEPT} of {} pictures that excite it most: what a DeconvNet passes back to the pixels, and the part of \
             the picture that the unit sees (Zeiler and Fergus, 2014, figure 2). The strongest is at the top left.",
            search.seen()
        );
        let name = format!("units-{}-{}", layer.name, page + 1);
        work.figures.add(&name, Figure { title, columns: 4, panels, bar: None }, &text)?;
    }
    progress.finish();
    Ok(())
}

/// Pictures spread evenly over a set.
fn chosen(len: usize, limit: Option<usize>) -> Vec<usize> {
    let count = limit.unwrap_or(len).min(len);
    (0..count).map(|i| i * len / count.max(1)).collect()
}

/// Searches all pictures. Gives the numbers in the set of those that could be read.
fn searched(
    work: &mut Work,
    search: &mut UnitSearch,
    set: &Arc<Pictures>,
    numbers: &[usize],
) -> Result<Vec<usize>> {
    let progress = Progress::pictures(work.global.quiet, numbers.len() as u64);
    let (mut seen, mut unreadable) = (Vec::new(), 0);
    for some in numbers.chunks(AT_ONCE) {
        if work.stopped() {
            progress.finish();
            return Err(Error::stopped(format!(
                "stopped after {} of {} pictures",
                seen.len(),
                numbers.len()
            )));
        }
        let (owned, from) = (some.to_vec(), set.clone());
        let place = some.first().map_or_else(String::new, |i| set.name(*i));
        let (how, [h, w]) = (*work.explainer.preprocessing(), work.explainer.size());
        // Scaled at once: the pictures of a batch may be large.
        let prepared = move |i: &usize| Ok(fit(from.load(*i)?, &how, h, w)?.into_rgba());
        let read =
            patiently(&place, move || Ok(owned.par_iter().map(prepared).collect::<Vec<Result<Vec<u8>>>>()))?;
        let mut inputs = Vec::with_capacity(some.len());
        for (number, picture) in some.iter().zip(read) {
            match picture.and_then(|pixels| work.explainer.prepared(pixels)) {
                Ok(input) => {
                    inputs.push(input);
                    seen.push(*number);
                }
                Err(error) => {
                    unreadable += 1;
                    if unreadable <= 5 {
                        progress.say(format!("left out: {}", Untrusted::new(&error.to_string())));
                    }
                }
            }
        }
        search.add(&mut work.explainer, &inputs)?;
        progress.set(seen.len() as u64);
    }
    progress.finish();
    if seen.is_empty() {
        let data = work.args.data.clone().unwrap_or_default();
        return Err(Error::data("none of the pictures can be read")
            .at(data)
            .hint("the lines above say why; name other pictures"));
    }
    if unreadable > 0 {
        tell(format!("{unreadable} of {} pictures could not be read and are left out", numbers.len()));
    }
    Ok(seen)
}

/// Two mosaics of a unit: what comes back to the pixels, and the parts of the pictures.
fn panels_of(
    work: &mut Work,
    layer: &ExplainLayer,
    search: &UnitSearch,
    unit: usize,
    set: &Arc<Pictures>,
    seen: &[usize],
) -> Result<[Panel; 2]> {
    let best = search.best(unit);
    let mut inputs: Vec<Input> = Vec::new();
    for excited in best {
        let number = seen.get(excited.picture).copied().unwrap_or_default();
        inputs.push(work.explainer.input(&set.load(number)?)?);
    }
    let found = explain::deconvnet_of_pictures(&mut work.explainer, layer, unit, &inputs)?;
    let backs = found.iter().map(|one| one.image.part(one.field).around_grey());
    let backs = backs.collect::<Result<Vec<Picture>>>()?;
    let parts = found.iter().zip(&inputs).map(|(one, input)| patch(&input.picture()?, one));
    let parts = parts.collect::<Result<Vec<Picture>>>()?;
    let side = [&backs, &parts].into_iter().flatten().map(|p| p.height().max(p.width())).max().unwrap_or(1);
    let side = if side < SIDE { side * (SIDE / side.max(1)).max(1) } else { SIDE };
    let peaks = [best.first(), best.last()].map(|e| short(e.map_or(0.0, |e| e.activation)));
    Ok([
        panel(format!("unit {unit}"), format!("{} to {}", peaks[0], peaks[1]), &mosaic(&backs, 3, side)?),
        panel("", "", &mosaic(&parts, 3, side)?),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_spread_evenly() {
        assert_eq!(chosen(10, Some(4)), [0, 2, 5, 7]);
        assert_eq!(chosen(3, None), [0, 1, 2]);
        assert_eq!(chosen(3, Some(9)), [0, 1, 2]);
        assert_eq!(chosen(0, Some(2)), Vec::<usize>::new());
    }
}
