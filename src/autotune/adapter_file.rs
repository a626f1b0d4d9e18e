//! A file of what is known about one adapter. It is read and written as a whole.

use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::gpu::AdapterInfo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The largest valid file in bytes. A larger one is ignored.
const MOST_BYTES: u64 = 64 << 20;

/// The adapter, driver and library version that the content is valid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    adapter: String,
    driver: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
struct Content<T> {
    place: Place,
    #[serde(flatten)]
    content: T,
}

/// The file of one adapter, driver and version of this library.
pub(crate) struct AdapterFile {
    path: PathBuf,
    place: Place,
}

impl AdapterFile {
    /// The file whose name starts with `kind`.
    pub(crate) fn of(kind: &str, info: &AdapterInfo, folder: &Path) -> Self {
        let place = Place {
            adapter: format!("{} ({})", info.name, info.backend),
            driver: info.driver.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { path: folder.join(format!("{kind}-{:016x}.json", info.place_hash())), place }
    }

    /// The content; `None` if the file cannot be read, is damaged, or belongs to another adapter.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        let short = std::fs::metadata(&self.path).is_ok_and(|m| m.is_file() && m.len() <= MOST_BYTES);
        let text = if short { std::fs::read(&self.path).ok() } else { None };
        let content: Option<Content<T>> = text.and_then(|text| serde_json::from_slice(&text).ok());
        content.filter(|content| content.place == self.place).map(|content| content.content)
    }

    /// Replaces the content.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses.
    pub(crate) fn write(&self, content: impl Serialize) -> Result<()> {
        let content = Content { place: self.place.clone(), content };
        let json = serde_json::to_vec_pretty(&content)
            .map_err(|e| Error::internal(format!("the cache cannot be written: {e}")))?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::from_io(e, "make the cache folder", folder))?;
        }
        write_atomically(&self.path, |file| file.write_all(&json))
    }
}
