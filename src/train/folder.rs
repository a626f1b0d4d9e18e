//! The folder of a run: its lock, its files, and which of its checkpoints a run goes on from.

use super::checkpoint::{self, Checkpoint, State, Tensors};
use super::{Config, Length, Row, metrics};
use crate::error::{Error, Result};
use crate::weights::{self, Weights, remove_temporary, rename, write_atomically_if, write_tensors_if};
use same_file::Handle;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const LOCK: &str = ".lock";
const BEST: &str = "best.safetensors";
const LAST: &str = "last.safetensors";
const METRICS: &str = "metrics.csv";
const CONFIG: &str = "config.json";

/// What a run writes. Where one of these is, there is a run.
const FILES: [&str; 6] = [checkpoint::FILE, checkpoint::PREVIOUS, BEST, LAST, METRICS, CONFIG];

/// The folder of a run that this process may write to.
pub(super) struct Files {
    folder: PathBuf,
    /// The lock, held until the run ends; the system lets go of it however the process ends. As long as it is open no other file can be
    /// taken for it.
    lock: Handle,
    /// Whether the newest checkpoint cannot be used: the next one takes its place, and not that of the one before it.
    damaged: AtomicBool,
}

/// What a run goes on from.
pub(super) struct Resumed {
    pub(super) checkpoint: Checkpoint,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whether it must be written again: it is the older one, or of a run of another length.
    pub(super) again: bool,
    /// Why it is not the newest one.
    pub(super) older: Option<Error>,
}

impl Files {
    /// Takes the lock of a folder, which is made if it is not there, and sees what is in it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is a run and it is not to be resumed, [`Error::NotFound`] if it is to be and has no checkpoint,
    /// [`Error::Io`] if another process writes to it, or the system refuses.
    pub(super) fn open(folder: &Path, resume: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::from_io(e, "make the folder of the run", folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(|e| Error::from_io(e, "write", &path))?;
        match try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::io("another run is writing to this folder")
                    .at(folder.display().to_string())
                    .hint("wait for it, or choose another folder with --out"));
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::from_io(e, "lock", &path).hint(
                    "two runs could overwrite each other's files; choose a folder on another disk with --out",
                ));
            }
        }
        let lock = Handle::from_file(lock).map_err(|e| Error::from_io(e, "look at", &path))?;
        let files = Self { folder: folder.to_owned(), lock, damaged: AtomicBool::new(false) };
        files.refuse_a_run(resume)?;
        // Another process may have taken the folder away between the making of the lock and the locking.
        files.check()?;
        remove_temporary(folder).map_err(|e| Error::from_io(e, "tidy", folder))?;
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn place(&self) -> String {
        self.folder.display().to_string()
    }

    /// Refuses to overwrite a run, and to begin one where another one is to be resumed.
    fn refuse_a_run(&self, resume: bool) -> Result<()> {
        // A link that leads nowhere is there, too.
        let there = |name: &&str| self.path(name).symlink_metadata().is_ok();
        let there: Vec<&str> = FILES.into_iter().filter(there).collect();
        let checkpoints = there.contains(&checkpoint::FILE) || there.contains(&checkpoint::PREVIOUS);
        let list = there.join(", ");
        if there.is_empty() || (resume && checkpoints) {
            return Ok(());
        }
        let error = match resume {
            false => Error::usage(format!("this folder holds a run already: {list}")),
            true => Error::not_found(format!(
                "there is no checkpoint to resume from, only what a run has left: {list}"
            )),
        };
        Err(error.at(self.place()).hint(match (resume, checkpoints) {
            (false, true) => "add --resume to go on with it, or choose another folder with --out",
            (false, false) => "choose another folder with --out",
            _ => {
                "bring checkpoint.safetensors back, or start a run in another folder with --out; --weights takes the \
                 weights of this one"
            }
        }))
    }

    /// Whether the folder is still the one that the lock was taken in.
    ///
    /// # Errors
    /// [`Error::Io`] if it is not.
    fn check(&self) -> Result<()> {
        let path = self.path(LOCK);
        match Handle::from_path(&path) {
            Ok(now) if now == self.lock => Ok(()),
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::from_io(e, "look at", &path)),
            _ => Err(Error::io("the folder of this run was deleted or replaced while it was running")
                .at(self.place())
                .hint("nothing more was written to it; start the run again, with an --out that nobody else uses")),
        }
    }

    /// Writes a file of the run.
    pub(super) fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn weights::WriteSeek) -> std::io::Result<()>,
    ) -> Result<()> {
        self.check()?;
        write_atomically_if(&self.path(name), &mut || self.check(), content)
    }

    fn write_weights(&self, name: &str, weights: &Weights) -> Result<()> {
        self.check()?;
        write_tensors_if(&self.path(name), &mut || self.check(), &weights.tensors, &weights.strings()?)
    }

    /// Writes the settings.
    pub(super) fn write_config(&self, config: &Config) -> Result<()> {
        let json = serde_json::to_vec_pretty(config)
            .map_err(|e| Error::internal(format!("the settings cannot be written: {e}")))?;
        self.write(CONFIG, |file| {
            file.write_all(&json)?;
            file.write_all(b"\n")
        })
    }

    /// Writes what an epoch has brought: the weights, those of the best epoch if it is that, the table.
    pub(super) fn write_epoch(&self, weights: &Weights, best: bool, rows: &[Row]) -> Result<()> {
        self.write_weights(LAST, weights)?;
        if best {
            self.write_weights(BEST, weights)?;
        }
        self.write(METRICS, |out| metrics::write(out, rows))
    }

    /// Writes a checkpoint. The newest one until now is kept as the one before it.
    pub(super) fn save(&self, state: &State, tensors: &Tensors) -> Result<()> {
        self.check()?;
        let (newest, previous) = (self.path(checkpoint::FILE), self.path(checkpoint::PREVIOUS));
        let mut ready = || {
            self.check()?;
            if self.damaged.load(Ordering::Relaxed) || !newest.exists() {
                return Ok(());
            }
            // A run that is killed right behind this goes on from the same checkpoint under its new name.
            rename(&newest, &previous)
        };
        checkpoint::write(&newest, &mut ready, state, tensors)?;
        self.damaged.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// The newest checkpoint that can be used, if there is one, which must be that of a run with the same settings.
    ///
    /// # Errors
    /// [`Error::Data`] if there are checkpoints and none of them can be used, or only one that would give other bits;
    /// [`Error::Usage`] if the settings are others; [`Error::Io`] if one cannot be read.
    pub(super) fn resumed(&self, config: &Config) -> Result<Option<Resumed>> {
        let (newest, previous) = (self.path(checkpoint::FILE), self.path(checkpoint::PREVIOUS));
        if !newest.exists() && !previous.exists() {
            return Ok(None);
        }
        let (path, why) = match usable(&newest)? {
            Ok(found) => {
                self.same_settings(&found, config)?;
                let again = found.state.config != *config;
                return Ok(Some(Resumed { checkpoint: found, path: newest, again, older: None }));
            }
            Err(why) => (previous, why),
        };
        let found = match usable(&path)? {
            Ok(found) => found,
            Err(other) => return Err(self.none_usable(&why, &other)),
        };
        self.same_settings(&found, config)?;
        if found.state.config.length != config.length {
            let flag = match found.state.config.length {
                Length::Epochs(n) => format!("--epochs {n}"),
                Length::Steps(n) => format!("--steps {n}"),
            };
            let what = format!(
                "{why}. The checkpoint before it, after step {}, is of a run with {flag}",
                found.state.position.step
            );
            let hint =
                format!("resume it with {flag} first, and when that is done with the length that you want");
            return Err(Error::data(what).hint(hint));
        }
        self.damaged.store(true, Ordering::Relaxed);
        Ok(Some(Resumed { checkpoint: found, path, again: true, older: Some(why) }))
    }

    fn none_usable(&self, newest: &Error, previous: &Error) -> Error {
        let weights = [BEST, LAST].map(|name| self.path(name)).into_iter().find(|path| path.is_file());
        let from = weights.map_or_else(String::new, |path| {
            format!(", from the weights of this one if you like (--weights {})", path.display())
        });
        Error::data(format!("this run cannot be resumed: {newest}. {previous}"))
            .hint(format!("start again in another folder with --out{from}"))
    }

    fn same_settings(&self, found: &Checkpoint, config: &Config) -> Result<()> {
        let differences = found.state.config.differences(config);
        if differences.is_empty() {
            return Ok(());
        }
        let what = format!("the run in this folder was started with another {}", differences.join(", "));
        Err(Error::usage(what)
            .at(self.place())
            .hint("resume it with the same settings (they are in its config.json), or choose another folder"))
    }
}

/// A checkpoint, or why there is none that can be used: it is damaged, or gone.
///
/// # Errors
/// What is no damage: [`Error::Io`] if the system does not let it be read, [`Error::Usage`] if it is of another version.
fn usable(path: &Path) -> Result<Result<Checkpoint>> {
    match checkpoint::read(path) {
        Err(why @ (Error::Data(_) | Error::NotFound(_))) => Ok(Err(why)),
        found => found.map(Ok),
    }
}

#[cfg(not(target_os = "android"))]
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    file.try_lock()
}

/// The standard library has no locks there, and the system has.
#[cfg(target_os = "android")]
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TryLockError::WouldBlock),
        other => other.map_err(|e| TryLockError::Error(e.into())),
    }
}
