//! The cache file of measured algorithms, one for each adapter.

use super::Tune;
use super::adapter_file::AdapterFile;
use crate::error::Result;
use crate::gpu::AdapterInfo;
use crate::kernels::{Algorithm, AlgorithmCache, ConvProblem};
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

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

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "key")]
    problem: ConvProblem,
    #[serde(rename = "choice")]
    algorithm: Algorithm,
    tune: Tune,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    entries: Vec<Entry>,
}

/// The cache file of one adapter, driver and version of this library.
pub(crate) struct CacheFile(AdapterFile);

impl CacheFile {
    pub(crate) fn of(info: &AdapterInfo, folder: &Path) -> Self {
        Self(AdapterFile::of("products", info, folder))
    }

    /// The algorithms that were measured at this level or a higher one. A file that cannot be read, or that belongs to
    /// another adapter, counts as empty.
    pub(crate) fn read(&self, level: Tune) -> AlgorithmCache {
        let entries = self.entries().into_iter().filter(|entry| entry.tune >= level);
        entries.map(|entry| (entry.problem, entry.algorithm)).collect::<Vec<_>>().into()
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.read::<Content>().unwrap_or_default().entries
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
        self.0.write(Content { entries })
    }
}
