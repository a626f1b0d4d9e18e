//! Regular files: opening anything else may take for ever.

use crate::error::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Opens a regular file, and says its length. A folder, a pipe, which would wait for a writer for ever, and a device, which may have
/// no end, are refused before they are opened.
///
/// # Errors
/// [`Error::NotFound`] if there is none; [`Error::Io`] if it cannot be opened; [`Error::Data`] if it is something else.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |e| Error::from_io(&e, "read", path);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::data("this is no file")
            .at(path.display().to_string())
            .hint("name a regular file, no folder, pipe or device"));
    }
    Ok((File::open(path).map_err(failed)?, meta.len()))
}
