//! Opens a data set by its name.

use super::{Cifar, Dataset, Folder, Idx, Pack, Split, hold_out};
use crate::error::{Error, Result, Untrusted};
use std::path::Path;
use std::sync::Arc;

/// The share of the pictures that is held out for validation if there is no validation part.
const SHARE: f64 = 0.2;

/// Whether a folder is probably a part of a data set, not a class of it.
fn names_a_part(name: &str) -> bool {
    ["train", "training", "val", "valid", "validation", "test", "testing"]
        .contains(&name.to_lowercase().as_str())
}

/// Both parts of a data set.
pub struct Parts {
    /// The training part.
    pub train: Arc<dyn Dataset>,
    /// The validation part.
    pub val: Arc<dyn Dataset>,
    /// The share of the pictures of each class that is held out for validation, if the data has no validation part.
    pub held_out: Option<f64>,
}

/// What a name stands for.
enum Form {
    FashionMnist,
    Cifar,
    Pack,
    Folder,
}

fn form(spec: &str) -> Form {
    match spec {
        "fashion-mnist" => Form::FashionMnist,
        _ if Pack::is_at(spec) => Form::Pack,
        _ if Cifar::is_at(spec) => Form::Cifar,
        _ => Form::Folder,
    }
}

/// Whether a name stands for a folder of pictures, and not for a data set of another form.
pub fn is_of_pictures(spec: &str) -> bool {
    matches!(form(spec), Form::Folder)
}

/// Opens a data set: `fashion-mnist`; a folder `DIR` with `DIR/train/CLASS/*`, `DIR/val/CLASS/*` and `DIR/test/CLASS/*`; a folder with the
/// binary files of CIFAR-10 or CIFAR-100; or a file that [`super::pack()`] has written. Write `./fashion-mnist` for a folder of that name.
///
/// # Errors
/// [`crate::Error::NotFound`] if it does not exist, [`crate::Error::Data`] if it cannot be used.
pub fn open(spec: &str, split: Split) -> Result<Arc<dyn Dataset>> {
    Ok(match form(spec) {
        Form::FashionMnist => Arc::new(Idx::fashion_mnist(split)?),
        Form::Cifar => Arc::new(Cifar::open(spec, split)?),
        Form::Pack => Arc::new(Pack::open(spec, split)?),
        Form::Folder => Arc::new(Folder::open(spec, split)?),
    })
}

/// Opens the training part and the validation part of a data set. If it has no validation part (a folder without `val/`), a part of its
/// training pictures is held out for validation, as [`hold_out`] describes: `share` of them, by default a fifth; a test part is left
/// alone. If a folder has no `train/` either, the folders of the classes are expected in it.
///
/// # Errors
/// Those of [`open`] and [`hold_out`]; [`Error::Usage`] if there is a share, and a validation part as well.
pub fn open_both(spec: &str, share: Option<f64>, seed: u64) -> Result<Parts> {
    let (all, has_val): (Arc<dyn Dataset>, _) = match form(spec) {
        Form::FashionMnist | Form::Cifar => (open(spec, Split::Train)?, true),
        Form::Pack => (open(spec, Split::Train)?, Pack::splits(spec)?.contains(&Split::Val)),
        Form::Folder => training_folder(spec)?,
    };
    if has_val {
        let val = open(spec, Split::Val)?;
        if share.is_some() {
            return Err(Error::usage(
                "pictures are to be held out, and the data has a validation part already",
            )
            .at(spec)
            .hint("hold none out, or move the pictures of val/ into train/"));
        }
        return Ok(Parts { train: all, val, held_out: None });
    }
    let share = share.unwrap_or(SHARE);
    let [train, val] = hold_out(&all, share, seed).map_err(|e| e.at(spec))?;
    Ok(Parts { train, val, held_out: Some(share) })
}

/// The training pictures of a folder, and whether it has a validation part.
fn training_folder(spec: &str) -> Result<(Arc<dyn Dataset>, bool)> {
    let root = Path::new(spec);
    // A link that leads nowhere counts as there, so that it is reported.
    let [has_train, has_val] = ["train", "val"].map(|part| root.join(part).symlink_metadata().is_ok());
    if has_train || has_val || !root.is_dir() {
        return Ok((Arc::new(Folder::open(root, Split::Train)?), has_val || !root.is_dir()));
    }
    Ok((open_classes(spec)?, false))
}

/// Opens a folder that has the folders of the classes in it, without parts.
///
/// # Errors
/// Those of [`Folder::of_classes`]; [`Error::Data`] if a class has the name of a part, such as `test`.
pub fn open_classes(spec: &str) -> Result<Arc<dyn Dataset>> {
    let all = Folder::of_classes(spec)?;
    match all.classes().iter().find(|class| names_a_part(class)) {
        None => Ok(Arc::new(all)),
        Some(part) => Err(Error::data(format!(
            "{} would be a class, but sounds like a part of the data",
            Untrusted::short(part)
        ))
        .at(spec)
        .hint("name the parts train, val and test, or rename this class")),
    }
}

/// Opens all parts that a data set has, in the order train, val, test. The folders of the classes alone are a training part.
///
/// # Errors
/// Those of [`open`].
pub(super) fn open_all(spec: &str) -> Result<Vec<(Split, Arc<dyn Dataset>)>> {
    let parts = match form(spec) {
        Form::FashionMnist | Form::Cifar => vec![Split::Train, Split::Val],
        Form::Pack => Pack::splits(spec)?,
        Form::Folder => {
            let is_there = |split: &Split| Path::new(spec).join(split.to_string()).symlink_metadata().is_ok();
            let parts: Vec<_> = Split::ALL.into_iter().filter(is_there).collect();
            if !parts.contains(&Split::Train) && !parts.contains(&Split::Val) {
                return Ok(vec![(Split::Train, training_folder(spec)?.0)]);
            }
            parts
        }
    };
    parts.into_iter().map(|split| Ok((split, open(spec, split)?))).collect()
}
