//! The pictures below the folder of a class.

use super::kind;
use super::left_out::{Leaving, LeftOut};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How deep nested folders are read.
const DEPTH: usize = 32;

/// The reason for which hidden files are left out.
pub(super) const HIDDEN: &str = "its name begins with a dot";

/// The visible entries of a folder in byte order of their names, and the hidden ones.
pub(super) fn entries(folder: &Path) -> Result<(Vec<OsString>, Vec<OsString>)> {
    let fail = |e: std::io::Error| Error::from_io(e, "list", folder);
    let (mut names, mut hidden) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        if name.as_encoded_bytes().starts_with(b".") { hidden.push(name) } else { names.push(name) }
    }
    for list in [&mut names, &mut hidden] {
        list.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    }
    Ok((names, hidden))
}

/// The pictures in a folder and in all folders below it, sorted by the bytes of their names in each folder. Links are followed. Each
/// folder is read once, so a link to a parent folder does no harm.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be listed.
pub(super) fn pictures(folder: &Path, leaving: &mut Leaving) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, DEPTH, &mut HashSet::new(), leaving, &mut found)?;
    Ok(found)
}

/// The pictures in a folder and in all folders below it, in the order of their names, and what is left out.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be listed.
pub fn picture_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<LeftOut>)> {
    let mut leaving = Leaving::default();
    let found = pictures(folder, &mut leaving)?;
    Ok((found, leaving.list()))
}

fn collect(
    folder: &Path,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    leaving: &mut Leaving,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let name = |path: &Path| path.display().to_string();
    // On some file systems of Windows the real path of a folder is not known. There the depth limits a cycle of links.
    let real = std::fs::canonicalize(folder)
        .or_else(|_| std::path::absolute(folder))
        .map_err(|e| Error::from_io(e, "list", folder))?;
    if !seen.insert(real) {
        leaving.add("a link to a folder that is read already", || name(folder));
        return Ok(());
    }
    if depth == 0 {
        leaving.add("a folder too deep in folders", || name(folder));
        return Ok(());
    }
    let (names, hidden) = entries(folder)?;
    for path in hidden.iter().map(|name| folder.join(name)) {
        leaving.add(HIDDEN, || name(&path));
    }
    for path in names.iter().map(|name| folder.join(name)) {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => collect(&path, depth - 1, seen, leaving, found)?,
            // Opening a named pipe would wait forever for a writer.
            Ok(meta) if !meta.is_file() => leaving.add("neither a file nor a folder", || name(&path)),
            Err(_) if path.is_symlink() => leaving.add("a link to nothing", || name(&path)),
            // A file that cannot be examined counts as a picture. Its error is reported when the picture is read.
            _ if is_picture(&path) => found.push(path),
            _ => leaving.add("no picture (JPEG, PNG, WebP, BMP, GIF, TIFF)", || name(&path)),
        }
    }
    Ok(())
}

/// Whether a file is a picture by its name, or else by its first bytes.
fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if ending.is_some_and(|ending| kind::ENDINGS.contains(&ending.as_str())) {
        return true;
    }
    let mut head = [0; kind::HEAD];
    let read = File::open(path).and_then(|mut file| file.read(&mut head));
    read.is_ok_and(|count| kind::format(head.get(..count).unwrap_or_default()).is_some())
}
