//! A data set in folders: `DIR/train/CLASS/*`, `DIR/val/CLASS/*` and `DIR/test/CLASS/*`.

use super::decode::read_file;
use super::left_out::{Leaving, LeftOut};
use super::listing::{HIDDEN, entries, pictures};
use super::{Dataset, Normalization, Picture, Split, read_picture};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Pictures in folders, one folder for each class. The folder of a class may have folders in it. Classes, files and folders are sorted
/// by the bytes of their names.
pub struct Folder {
    classes: Vec<String>,
    files: Vec<(PathBuf, u32)>,
    left_out: Vec<LeftOut>,
}

impl Folder {
    /// Lists one split. Hidden files are left out, and files that are no pictures by their name and their first bytes, see
    /// [`Dataset::left_out`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if the folder does not exist; [`Error::Data`] if it has another structure, fewer than
    /// two classes or a class without pictures, or if it has other classes than `train` (for `train`: than `val`).
    pub fn open(root: impl AsRef<Path>, split: Split) -> Result<Self> {
        let root = root.as_ref();
        if !root.is_dir() {
            let error = if root.exists() {
                Error::data("this is no folder")
            } else {
                Error::not_found("there is no such folder")
            };
            return Err(error
                .at(root.display().to_string())
                .hint("give a folder with train/CLASS/* and val/CLASS/*"));
        }
        let here = root.join(split.to_string());
        if !here.is_dir() {
            if split == Split::Test {
                return Err(Error::data("it has no folder test/")
                    .at(root.display().to_string())
                    .hint("a test part is test/CLASS/*, one folder of pictures a class, beside train/"));
            }
            return Err(Error::data(format!("it has no folder {split}/"))
                .at(root.display().to_string())
                .hint("it must hold train/CLASS/* and val/CLASS/*, one folder of pictures a class"));
        }
        let other = match split {
            Split::Train => Split::Val,
            Split::Val | Split::Test => Split::Train,
        };
        let beside = root.join(other.to_string());
        if beside.is_dir() {
            let (ours, theirs) = ((split, class_names(&here)?), (other, class_names(&beside)?));
            if split == Split::Train {
                compare(root, &ours, &theirs)?
            } else {
                compare(root, &theirs, &ours)?
            }
        }
        Self::of_classes(&here)
    }

    /// Lists a folder that has one folder for each class.
    ///
    /// # Errors
    /// Those of [`Folder::open`].
    pub fn of_classes(here: impl AsRef<Path>) -> Result<Self> {
        let here = here.as_ref();
        let (visible, hidden) = entries(here)?;
        let (classes, beside): (Names, Names) =
            visible.into_iter().partition(|name| here.join(name).is_dir());
        if classes.len() < 2 {
            return Err(Error::data(format!("there are {} classes", classes.len()))
                .at(here.display().to_string())
                .hint("make one folder of pictures a class, at least two"));
        }
        let (mut files, mut leaving) = (Vec::new(), Leaving::default());
        for (names, reason) in [(&beside, "outside of the folders of classes"), (&hidden, HIDDEN)] {
            names.iter().for_each(|name| leaving.add(reason, || here.join(name).display().to_string()));
        }
        for (label, class) in (0..).zip(&classes) {
            let (folder, mut own) = (here.join(class), Leaving::default());
            let pictures = pictures(&folder, &mut own)?;
            if pictures.is_empty() {
                let left: String = own.list().iter().map(|left| format!("; {left}")).collect();
                let what = format!("this class has no pictures (JPEG, PNG, WebP, BMP, GIF or TIFF){left}");
                return Err(Error::data(what)
                    .at(folder.display().to_string())
                    .hint("add some, or remove the folder"));
            }
            leaving.join(own);
            files.extend(pictures.into_iter().map(|path| (path, label)));
        }
        let classes = classes.into_iter().map(|c| c.to_string_lossy().into_owned()).collect();
        Ok(Self { classes, files, left_out: leaving.list() })
    }
}

type Names = Vec<std::ffi::OsString>;

fn class_names(folder: &Path) -> Result<Names> {
    Ok(entries(folder)?.0.into_iter().filter(|name| folder.join(name).is_dir()).collect())
}

/// A part of the data, and the names of its classes.
type Named = (Split, Names);

fn compare(root: &Path, (first, a): &Named, (second, b): &Named) -> Result<()> {
    let without = |a: &Names, b: &Names| {
        let names: Vec<_> =
            a.iter().filter(|n| !b.contains(n)).map(|n| n.to_string_lossy().into_owned()).collect();
        names.join(", ")
    };
    let parts = [(first, without(a, b)), (second, without(b, a))];
    let parts: Vec<_> =
        parts.iter().filter(|(_, n)| !n.is_empty()).map(|(s, n)| format!("only {s}/ has {n}")).collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(Error::data(format!("{first}/ and {second}/ have different classes: {}", parts.join("; ")))
        .at(root.display().to_string())
        .hint("give both the same folders"))
}

impl Folder {
    fn path(&self, i: usize) -> Result<&Path> {
        let path = self.files.get(i).map(|(path, _)| path.as_path());
        path.ok_or_else(|| Error::internal(format!("there is no picture {i}")))
    }
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

    fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    fn load(&self, i: usize) -> Result<Picture> {
        read_picture(self.path(i)?)
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        read_file(self.path(i)?).map(|(bytes, _)| Some(bytes))
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        Normalization::IMAGENET
    }
}
