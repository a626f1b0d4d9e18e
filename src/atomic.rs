//! Atomic writes: a file is either complete or not there.

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use std::io::BufWriter;
use std::io::{Seek, Write};
use std::path::Path;
#[cfg(not(target_family = "wasm"))]
use std::time::{Duration, Instant};

const PREFIX: &str = ".ocelli-";
const SUFFIX: &str = ".tmp";

/// Removes the temporary files that a killed process has left in `folder`. No other process may be writing to it.
///
/// # Errors
/// Those of the file system.
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

/// A writer that can seek, because the header of a file may depend on the data after it.
pub trait WriteSeek: Write + Seek {}

impl<T: Write + Seek> WriteSeek for T {}

/// Writes a file through a temporary file in the same folder: write, fsync, rename, fsync of the folder. If anything
/// up to the rename fails, an earlier file of that name is unchanged and the temporary file is removed.
///
/// # Errors
/// [`Error::NotFound`] if the folder is missing, [`Error::Io`] if the system refuses.
pub fn write_atomically(
    path: &Path,
    content: impl FnOnce(&mut dyn WriteSeek) -> std::io::Result<()>,
) -> Result<()> {
    write_atomically_if(path, &mut || Ok(()), content)
}

/// Like [`write_atomically`], but calls `ready` when the content is on disk, right before the rename. If `ready`
/// fails, the file is not replaced.
///
/// # Errors
/// Those of [`write_atomically`] and those of `ready`.
#[cfg(not(target_family = "wasm"))]
pub fn write_atomically_if(
    path: &Path,
    ready: &mut dyn FnMut() -> Result<()>,
    content: impl FnOnce(&mut dyn WriteSeek) -> std::io::Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // `tempfile` makes private files. An ordinary new file has this mode, reduced by the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let temporary =
        builder.tempfile_in(folder).map_err(|e| Error::from_io(e, "write to this folder", folder))?;
    let fail = |e: std::io::Error| Error::io(format!("cannot write: {e}")).at(path.display().to_string());
    let mut writer = BufWriter::new(temporary);
    content(&mut writer).map_err(fail)?;
    let temporary = writer.into_inner().map_err(|e| fail(e.into_error()))?;
    temporary.as_file().sync_all().map_err(fail)?;
    ready()?;
    let mut waiting = Some(temporary);
    let placed = patiently(|| match waiting.take().map(|file| file.persist(path)) {
        Some(Err(e)) => {
            waiting = Some(e.file);
            Err(e.error)
        }
        Some(Ok(_)) | None => Ok(()),
    });
    placed.map_err(|e| in_use(&e, path).unwrap_or_else(|| fail(e)))?;
    // Without this a power cut could undo the rename.
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(fail)?;
    Ok(())
}

/// Renames a file. A file that has the new name is replaced.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file, [`Error::Io`] if the system refuses.
#[cfg(all(feature = "train", not(target_family = "wasm")))]
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    patiently(|| std::fs::rename(from, to))
        .map_err(|e| in_use(&e, from).unwrap_or_else(|| Error::from_io(e, "rename", from)))
}

/// How long to wait for a file that another program has open. A reader of weights has them in memory within seconds.
#[cfg(not(target_family = "wasm"))]
const PATIENCE: Duration = Duration::from_secs(30);

/// Retries while another program has the file open, because Windows does not replace or rename such a file.
#[cfg(not(target_family = "wasm"))]
fn patiently(mut attempt: impl FnMut() -> std::io::Result<()>) -> std::io::Result<()> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(e) if is_in_use(&e) && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

/// Whether Windows reports that another program has a file open: access denied, sharing violation or lock violation.
#[cfg(not(target_family = "wasm"))]
fn is_in_use(error: &std::io::Error) -> bool {
    cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32 | 33))
}

#[cfg(not(target_family = "wasm"))]
fn in_use(error: &std::io::Error, path: &Path) -> Option<Error> {
    is_in_use(error).then(|| {
        Error::io(format!("cannot replace this file, which another program has open: {error}"))
            .at(path.display().to_string())
            .hint("close that program, and run this again")
    })
}

/// Always fails, because a browser has no files.
///
/// # Errors
/// [`Error::Io`] always.
#[cfg(target_family = "wasm")]
pub fn write_atomically_if(
    path: &Path,
    _ready: &mut dyn FnMut() -> Result<()>,
    _content: impl FnOnce(&mut dyn WriteSeek) -> std::io::Result<()>,
) -> Result<()> {
    Err(Error::io("a browser has no files to write to").at(path.display().to_string()))
}
