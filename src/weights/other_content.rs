//! What is no file of weights, but often found in the place of one.

use crate::error::Error;

/// Recognises what a failed download often leaves in place of a file of weights.
pub(super) fn other_content(start: &[u8]) -> Option<Error> {
    let text = String::from_utf8_lossy(start.get(..64).unwrap_or(start)).trim_start().to_lowercase();
    let (what, hint) = if start.is_empty() {
        ("this file is empty", "get it again")
    } else if text.starts_with("version https://git-lfs") {
        ("this is a pointer of git-lfs, not the file itself", "fetch it with `git lfs pull`")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        ("this is a web page, not weights", "the download went wrong; get the file again")
    } else {
        return None;
    };
    Some(Error::data(what).hint(hint))
}
