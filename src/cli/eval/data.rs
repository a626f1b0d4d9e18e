//! The data of an evaluation, with the class numbers of the network.

use crate::cli::{Global, patiently};
use crate::data::{self, Dataset, Split, relabel};
use crate::error::{Error, Result, Untrusted};
use crate::infer::ModelCard;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The list of the pictures that a run has held out, beside its weights.
const HELD_OUT: &str = "validation.txt";

/// The longest list that is read.
const MOST: u64 = 256 << 20;

/// The part of a data set that is evaluated, and a sentence that says which one it is if the data has no parts.
pub(super) type Chosen = (Arc<dyn Dataset>, Option<String>);

/// Opens a part of a data set. A folder without `val/` gives the pictures that the run of the weights has held out; if no run says which,
/// all pictures of a folder that has the folders of the classes in it.
pub(super) fn open(spec: &str, split: Split, weights: &Path) -> Result<Chosen> {
    let (spec, list) = (spec.to_owned(), weights.with_file_name(HELD_OUT));
    patiently(&spec.clone(), move || choose(&spec, split, &list))
}

fn choose(spec: &str, split: Split, list: &Path) -> Result<Chosen> {
    let root = Path::new(spec);
    // A link that leads nowhere counts as there, so that it is reported.
    let has = |part: &str| root.join(part).symlink_metadata().is_ok();
    if !data::is_of_pictures(spec) || split != Split::Val || has("val") || !root.is_dir() {
        return Ok((data::open(spec, split)?, None));
    }
    let held_out = read_list(list)?;
    let (all, root) = match (has("train"), &held_out) {
        // Without a list these are the pictures of the training.
        (true, None) => return Ok((data::open(spec, split)?, None)),
        (true, Some(_)) => (data::open(spec, Split::Train)?, root.join("train")),
        (false, _) => (data::open_classes(spec)?, root.to_owned()),
    };
    let Some(text) = held_out else {
        let what = "the data has no val/, and no list of held-out pictures lies beside the weights: all pictures are evaluated, also \
                    those that it may have been trained on";
        return Ok((all, Some(what.to_owned())));
    };
    let whole = all.len();
    let set = data::listed(&all, &root, &text).map_err(|e| {
        e.at(spec).hint(format!("evaluate on the data of the run, or move {} away", Untrusted::new(list)))
    })?;
    let (listed, count) = (text.lines().filter(|line| !line.is_empty()).count(), set.len());
    let missing = match listed.saturating_sub(count) {
        0 => String::new(),
        missing => format!("; {missing} more are listed and not there"),
    };
    let list = Untrusted::new(list);
    Ok((set, Some(format!("the {count} of {whole} pictures that {list} lists are evaluated{missing}"))))
}

/// The list, if there is one.
fn read_list(path: &Path) -> Result<Option<String>> {
    let fail = |e: std::io::Error| Error::from_io(e, "read", path);
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e)),
        Ok(meta) if !meta.is_file() => return Ok(None),
        Ok(meta) if meta.len() > MOST => {
            return Err(Error::data("this list of pictures is larger than 256 MiB")
                .at(path.to_string_lossy())
                .hint("move it away"));
        }
        Ok(_) => {}
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The data with the class numbers of the network: matched by name, or by order if the weights have no names.
pub(super) fn labelled(
    set: Arc<dyn Dataset>,
    card: &ModelCard,
    weights: &PathBuf,
    global: &Global,
) -> Result<Arc<dyn Dataset>> {
    let classes = &card.metadata().classes;
    let weights = || Untrusted::new(weights);
    if let ([one], None, true) = (&classes[..], card.pair(), card.is_named()) {
        return second_of_two(set, one).map_err(|e| e.at(weights()));
    }
    if card.is_named() {
        let names = card.pair().map_or(classes.as_slice(), |pair| pair);
        return relabel(set, names).map_err(|e| {
            e.at(weights()).hint(
                "evaluate on the data it was trained on, or name its classes as the data does with --labels",
            )
        });
    }
    // A network with one output has two classes.
    let (has, knows) = (set.classes().len(), classes.len().max(2));
    if has != knows {
        if classes.len() == 1 {
            return Err(only_two(has).at(weights()));
        }
        let what = format!("the data has {has} classes, and the network has {knows}, without names");
        return Err(Error::data(what).at(weights()).hint(
            "evaluate on the data it was trained on, or name its classes as the data does with --labels",
        ));
    }
    let few: Vec<String> =
        set.classes().iter().take(3).enumerate().map(|(i, name)| format!("{i} is {name}")).collect();
    let more = if has > 3 { ", ..." } else { "" };
    global.say(format!(
        "the weights do not name their classes; those of the data are taken in their order: {}{more}",
        few.join(", ")
    ));
    Ok(set)
}

/// The data with class `one` as class 1, for a network whose only output is named `one`.
fn second_of_two(set: Arc<dyn Dataset>, one: &str) -> Result<Arc<dyn Dataset>> {
    let classes = set.classes().to_vec();
    let zero = match &classes[..] {
        [zero, other] | [other, zero] if other == one => zero.clone(),
        [first, second] => {
            let what = format!("the network has one output, {one}, and the data has {first} and {second}");
            return Err(Error::data(what).hint(
                "name both classes as the data does with --labels, first the one that a negative output stands for",
            ));
        }
        _ => return Err(only_two(classes.len())),
    };
    relabel(set, &[zero, one.to_owned()])
}

/// The error for data that does not have the two classes of a network with one output.
fn only_two(has: usize) -> Error {
    Error::data(format!("the data has {has} classes, and the network has one output, which tells two apart"))
        .hint("evaluate on data with two classes")
}
