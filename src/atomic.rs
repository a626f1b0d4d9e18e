//! Files that are there as a whole or not at all.

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;

const PREFIX: &str = ".ocelli-";
const SUFFIX: &str = ".tmp";

/// Removes the temporary files that a killed process has left in a folder. Nobody else may be writing to it.
///
/// # Errors
/// Those of the system.
pub fn remove_temporary(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes a file through a temporary one in the same folder: write, fsync, rename, fsync of the folder. If anything
/// fails an earlier file of that name is still there, unchanged, and the temporary one is gone.
///
/// # Errors
/// [`Error::NotFound`] if the folder is missing, [`Error::Io`] if the system refuses.
#[cfg(not(target_family = "wasm"))]
pub fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // The mode of an ordinary new file, cut by the umask; temporary files are private otherwise.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary =
        builder.tempfile_in(folder).map_err(|e| Error::from_io(&e, "write to this folder", folder))?;
    let fail = |e: std::io::Error| Error::io(format!("cannot write: {e}")).at(path.display().to_string());
    let mut writer = BufWriter::new(temporary);
    content(&mut writer).map_err(fail)?;
    let temporary = writer.into_inner().map_err(|e| fail(e.into_error()))?;
    temporary.as_file().sync_all().map_err(fail)?;
    temporary.persist(path).map_err(|e| fail(e.error))?;
    // Without this a power cut could undo the rename.
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(fail)?;
    Ok(())
}

/// There are no files to write to.
///
/// # Errors
/// [`Error::Io`] always.
#[cfg(target_family = "wasm")]
pub fn write_atomically(
    path: &Path,
    _content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    Err(Error::io("a browser has no files to write to").at(path.display().to_string()))
}
