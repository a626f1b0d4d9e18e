//! Tensors in other files (external data). Only files in the folder of the model are read, and only if the caller allows it.

use super::proto::KeyValue;
use crate::error::{Choice, Error, Result};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// A range of bytes in a file beside the model.
#[derive(Debug, Clone)]
pub(super) struct External {
    path: PathBuf,
    bytes: Range<u64>,
}

impl External {
    /// Finds the range that `external_data` describes. It must have `wanted` bytes.
    ///
    /// # Errors
    /// [`Error::Data`] if the file is outside of the folder or too short; [`Error::NotFound`] if it does not exist.
    pub(super) fn find(entries: &[KeyValue], folder: Option<&Path>, wanted: u64) -> Result<Self> {
        let get = |key: &str| entries.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = get("location")
            .ok_or_else(|| Error::data("its numbers lie in another file, which is not named").hint(AGAIN))?;
        let Some(folder) = folder else {
            return Err(Error::data(format!(
                "its numbers lie in another file, {location:?}, which is not read unless that is asked for"
            ))
            .hint(Choice::ExternalData.after("if you trust it, ")));
        };
        let outside = || {
            Error::data(format!("its numbers lie in {location:?}, which is outside the folder of the model"))
                .hint("a model may only name files beside it; save it as one file")
        };
        let relative = Path::new(location);
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !relative.components().all(inside) {
            return Err(outside());
        }
        let named = folder.join(relative);
        let real = |path: &Path| fs::canonicalize(path).map_err(|e| Error::from_io(e, "read", path));
        // The target of a link must be in the folder too.
        let path = real(&named)?;
        if !path.starts_with(real(folder)?) {
            return Err(outside());
        }
        let meta = fs::metadata(&path).map_err(|e| Error::from_io(e, "read", &path))?;
        if !meta.is_file() {
            return Err(Error::data(format!("its numbers lie in {location:?}, which is no file")).hint(AGAIN));
        }
        let number = |key: &str, default: u64| match get(key) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| {
                Error::data(format!("the {key} of its numbers in {location:?} is {text:?}")).hint(AGAIN)
            }),
        };
        let (offset, length) = (number("offset", 0)?, number("length", wanted)?);
        if length != wanted {
            let what = format!("its shape takes {wanted} bytes, but it has {length} in {location:?}");
            return Err(Error::data(what).hint(AGAIN));
        }
        match offset.checked_add(length) {
            Some(end) if end <= meta.len() => Ok(Self { path, bytes: offset..end }),
            _ => Err(Error::data(format!(
                "its {length} bytes from {offset} on are more than {location:?} has: {}",
                meta.len()
            ))
            .hint(AGAIN)),
        }
    }

    /// Reads some of the bytes. `part` counts from the first byte of the tensor.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read.
    pub(super) fn read(&self, part: Range<usize>) -> Result<Vec<u8>> {
        let failed = |e| Error::from_io(e, "read", &self.path);
        let room = usize::try_from(self.bytes.end - self.bytes.start).unwrap_or(usize::MAX);
        if part.start > part.end || part.end > room {
            return Err(Error::internal("bytes beyond those of a tensor"));
        }
        let mut file = fs::File::open(&self.path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.bytes.start + part.start as u64)).map_err(failed)?;
        let mut bytes = vec![0; part.len()];
        file.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

const AGAIN: &str = "get the model again, with its data";
