//! The folder of a run: its lock, and the checkpoint that is in it.

use super::Config;
use super::checkpoint::{self, Checkpoint};
use crate::error::{Error, Result};
use crate::weights::remove_temporary;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The files of a run.
pub(super) struct Files {
    folder: PathBuf,
    // Held until the run ends; the system lets go of it however the process ends.
    _lock: File,
}

impl Files {
    /// Opens the folder, which is made if it is not there, and takes its lock.
    pub(super) fn open(folder: &Path, resume: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::from_io(&e, "make the folder of the run", folder))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(|e| Error::from_io(&e, "write", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::io("another run is writing to this folder")
                    .at(folder.display().to_string())
                    .cure("wait for it, or choose another folder with --out"));
            }
            Err(TryLockError::Error(e)) => return Err(Error::from_io(&e, "lock", &path)),
        }
        let files = Self { folder: folder.to_owned(), _lock: lock };
        remove_temporary(folder).map_err(|e| Error::from_io(&e, "tidy", folder))?;
        if !resume && files.checkpoint().exists() {
            return Err(Error::usage("this folder holds a run already")
                .at(folder.display().to_string())
                .cure("add --resume to go on with it, or choose another folder with --out"));
        }
        Ok(files)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.folder.join(checkpoint::FILE)
    }

    /// The checkpoint, if there is one, which must be that of a run with the same settings.
    pub(super) fn resumed(&self, config: &Config) -> Result<Option<Checkpoint>> {
        if !self.checkpoint().exists() {
            return Ok(None);
        }
        let found = checkpoint::read(&self.checkpoint())?;
        let differences = found.state.config.differences(config);
        if differences.is_empty() {
            return Ok(Some(found));
        }
        let what = format!("the run in this folder was started with another {}", differences.join(", "));
        Err(Error::usage(what)
            .at(self.folder.display().to_string())
            .cure("resume it with the same settings (they are in its config.json), or choose another folder"))
    }
}
