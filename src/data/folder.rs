//! A folder tree: `DIR/train/CLASS/*` and `DIR/val/CLASS/*`.

use super::{Dataset, Normalization, Picture, Split, read_picture};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Pictures in folders, one folder a class. Classes and files come in byte order of their names.
pub struct Folder {
    classes: Vec<String>,
    files: Vec<(PathBuf, u32)>,
}

impl Folder {
    /// Lists one split. Files that do not end in `.jpg`, `.jpeg` or `.png` (in any case) and hidden ones are left out.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the folder is missing; [`Error::Data`] if it is laid out in another way, has fewer than
    /// two classes or a class without pictures, or if `train` and `val` have different classes.
    pub fn open(root: &Path, split: Split) -> Result<Self> {
        if !root.is_dir() {
            let error = if root.exists() {
                Error::data("this is no folder")
            } else {
                Error::not_found("there is no such folder")
            };
            return Err(error
                .at(root.display().to_string())
                .cure("give a folder with train/CLASS/* and val/CLASS/*"));
        }
        let here = root.join(split.to_string());
        if !here.is_dir() {
            return Err(Error::data(format!("it has no folder {split}/"))
                .at(root.display().to_string())
                .cure("it must hold train/CLASS/* and val/CLASS/*, one folder of pictures a class"));
        }
        let classes = class_names(&here)?;
        if classes.len() < 2 {
            return Err(Error::data(format!("there are {} classes", classes.len()))
                .at(here.display().to_string())
                .cure("make one folder of pictures a class, at least two"));
        }
        let other = root.join(match split {
            Split::Train => "val",
            Split::Val => "train",
        });
        if other.is_dir() {
            compare(root, &classes, &class_names(&other)?, split)?;
        }
        let mut files = Vec::new();
        for (label, class) in (0..).zip(&classes) {
            let folder = here.join(class);
            let pictures = pictures(&folder)?;
            if pictures.is_empty() {
                return Err(Error::data("this class has no pictures (.jpg, .jpeg or .png)")
                    .at(folder.display().to_string())
                    .cure("add some, or remove the folder"));
            }
            files.extend(pictures.into_iter().map(|path| (path, label)));
        }
        let classes = classes.into_iter().map(|c| c.to_string_lossy().into_owned()).collect();
        Ok(Self { classes, files })
    }
}

type Names = Vec<std::ffi::OsString>;

/// The visible entries of a folder in byte order of their names.
fn entries(folder: &Path) -> Result<Names> {
    let fail = |e: std::io::Error| Error::from_io(&e, "list", folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(names)
}

fn class_names(folder: &Path) -> Result<Names> {
    Ok(entries(folder)?.into_iter().filter(|name| folder.join(name).is_dir()).collect())
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let wanted = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png"))
    };
    Ok(entries(folder)?.into_iter().map(|name| folder.join(name)).filter(wanted).collect())
}

fn compare(root: &Path, ours: &Names, theirs: &Names, split: Split) -> Result<()> {
    let (train, val) = if split == Split::Train { (ours, theirs) } else { (theirs, ours) };
    let without = |a: &Names, b: &Names| {
        let names: Vec<_> =
            a.iter().filter(|n| !b.contains(n)).map(|n| n.to_string_lossy().into_owned()).collect();
        names.join(", ")
    };
    let (only_train, only_val) = (without(train, val), without(val, train));
    let parts = [("train/", only_train), ("val/", only_val)];
    let parts: Vec<_> =
        parts.iter().filter(|(_, n)| !n.is_empty()).map(|(s, n)| format!("only {s} has {n}")).collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(Error::data(format!("train/ and val/ have different classes: {}", parts.join("; ")))
        .at(root.display().to_string())
        .cure("give both the same folders"))
}

impl Dataset for Folder {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.files.get(i).map_or(0, |(_, label)| *label)
    }

    fn name(&self, i: usize) -> String {
        self.files.get(i).map(|(path, _)| path.display().to_string()).unwrap_or_default()
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let (path, _) =
            self.files.get(i).ok_or_else(|| Error::internal(format!("there is no picture {i}")))?;
        read_picture(path)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        Normalization::IMAGENET
    }
}
