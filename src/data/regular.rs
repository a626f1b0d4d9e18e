//! Opening of regular files. Opening anything else may take forever.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Opens a regular file and returns its length. Everything else is refused before it is opened: folders, pipes (which would wait forever
/// for a writer) and devices (which may have no end).
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Io`] if it cannot be opened; [`Error::Data`] if it is no regular file.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |e| Error::from_io(e, "read", path);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::data("this is no file")
            .at(path.display().to_string())
            .hint("name a regular file, no folder, pipe or device"));
    }
    Ok((File::open(path).map_err(failed)?, meta.len()))
}
