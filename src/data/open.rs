//! Opens a data set by its name.

use super::{Dataset, Folder, Idx, Split, hold_out};
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

/// Opens a data set: `fashion-mnist`, or a folder `DIR` with `DIR/train/CLASS/*`, `DIR/val/CLASS/*` and `DIR/test/CLASS/*`. Write `./fashion-mnist` for a
/// folder of that name.
///
/// # Errors
/// [`crate::Error::NotFound`] if it does not exist, [`crate::Error::Data`] if it cannot be used.
pub fn open(spec: &str, split: Split) -> Result<Arc<dyn Dataset>> {
    match spec {
        "fashion-mnist" => Ok(Arc::new(Idx::fashion_mnist(split)?)),
        _ => Ok(Arc::new(Folder::open(spec, split)?)),
    }
}

/// Opens the training part and the validation part of a data set. If a folder has no `val/`, a part of its training pictures is held
/// out for validation, as [`hold_out`] describes: `share` of them, by default a fifth; a folder `test/` is left alone. If a folder has no `train/` either, the folders
/// of the classes are expected in it.
///
/// # Errors
/// Those of [`open`] and [`hold_out`]; [`Error::Usage`] if there is a share, and a validation part as well.
pub fn open_both(spec: &str, share: Option<f64>, seed: u64) -> Result<Parts> {
    let root = Path::new(spec);
    // A link that leads nowhere counts as there, so that it is reported.
    let [has_train, has_val] = ["train", "val"].map(|part| root.join(part).symlink_metadata().is_ok());
    if spec == "fashion-mnist" || has_val || !root.is_dir() {
        let (train, val) = (open(spec, Split::Train)?, open(spec, Split::Val)?);
        if share.is_some() {
            return Err(Error::usage(
                "pictures are to be held out, and the data has a validation part already",
            )
            .at(spec)
            .hint("hold none out, or move the pictures of val/ into train/"));
        }
        return Ok(Parts { train, val, held_out: None });
    }
    let all = if has_train { Folder::open(root, Split::Train)? } else { Folder::of_classes(root)? };
    if let Some(part) = all.classes().iter().find(|class| !has_train && names_a_part(class)) {
        return Err(Error::data(format!(
            "{} would be a class, but sounds like a part of the data",
            Untrusted::short(part)
        ))
        .at(spec)
        .hint("name the parts train, val and test, or rename this class"));
    }
    let share = share.unwrap_or(SHARE);
    let all: Arc<dyn Dataset> = Arc::new(all);
    let [train, val] = hold_out(&all, share, seed).map_err(|e| e.at(spec))?;
    Ok(Parts { train, val, held_out: Some(share) })
}
