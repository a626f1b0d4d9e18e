//! The cache file of measured algorithms, one for each adapter.

use super::Tune;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::gpu::AdapterInfo;
use crate::kernels::{Algorithm, AlgorithmCache, ConvProblem};
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

/// The largest valid file in bytes. A larger one is ignored.
const MOST_BYTES: u64 = 64 << 20;

/// The folder for caches that can be deleted at any time: `OCELLI_CACHE_DIR` if it is set, otherwise the platform's
/// cache folder.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(own) = folder("OCELLI_CACHE_DIR") {
        return Some(own);
    }
    let of_platform = if cfg!(target_os = "windows") {
        folder("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Caches"))
    } else {
        folder("XDG_CACHE_HOME")
            .filter(|folder| folder.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    of_platform.map(|folder| folder.join("ocelli"))
}

/// The adapter, driver and library version that the measurements are valid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    adapter: String,
    driver: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "key")]
    problem: ConvProblem,
    #[serde(rename = "choice")]
    algorithm: Algorithm,
    tune: Tune,
}

#[derive(Serialize, Deserialize)]
struct Content {
    place: Place,
    entries: Vec<Entry>,
}

/// The cache file of one adapter, driver and version of this library.
pub(crate) struct CacheFile {
    path: PathBuf,
    place: Place,
}

impl CacheFile {
    pub(crate) fn of(info: &AdapterInfo, folder: &Path) -> Self {
        let place = Place {
            adapter: format!("{} ({})", info.name, info.backend),
            driver: info.driver.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Self { path: folder.join(format!("products-{:016x}.json", info.place_hash())), place }
    }

    /// The algorithms that were measured at this level or a higher one. A file that cannot be read, or that belongs to
    /// another adapter, counts as empty.
    pub(crate) fn read(&self, level: Tune) -> AlgorithmCache {
        let entries = self.entries().into_iter().filter(|entry| entry.tune >= level);
        entries.map(|entry| (entry.problem, entry.algorithm)).collect::<Vec<_>>().into()
    }

    fn entries(&self) -> Vec<Entry> {
        let short = std::fs::metadata(&self.path).is_ok_and(|m| m.is_file() && m.len() <= MOST_BYTES);
        let text = if short { std::fs::read(&self.path).ok() } else { None };
        let content: Option<Content> = text.and_then(|text| serde_json::from_slice(&text).ok());
        content
            .filter(|content| content.place == self.place)
            .map(|content| content.entries)
            .unwrap_or_default()
    }

    /// Adds measurements to the current content of the file, which another process may have changed. If two processes
    /// write at the same time, the last one wins, and the lost measurements are repeated later.
    pub(crate) fn add(&self, measured: &AlgorithmCache, level: Tune) -> Result<()> {
        let mut entries = self.entries();
        entries.retain(|entry| measured.get(&entry.problem).is_none());
        entries.extend(measured.iter().map(|(problem, algorithm)| Entry {
            problem: *problem,
            algorithm: *algorithm,
            tune: level,
        }));
        entries.sort_by_key(|entry| entry.problem);
        let content = Content { place: self.place.clone(), entries };
        let json = serde_json::to_vec_pretty(&content)
            .map_err(|e| Error::internal(format!("the algorithms cannot be written: {e}")))?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::from_io(e, "make the cache folder", folder))?;
        }
        write_atomically(&self.path, |file| file.write_all(&json))
    }
}
