//! The folder of a run: its lock, its files, and the checkpoint that a run is resumed from.

use super::checkpoint::{self, Checkpoint, State, Tensors};
use super::{Config, Length, Row, metrics, tensorboard};
use crate::error::{Error, Result, Untrusted};
use crate::weights::{self, Weights, remove_temporary, rename, write_atomically_if, write_tensors_if};
use same_file::Handle;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LOCK: &str = ".lock";
const BEST: &str = "best.safetensors";
const LAST: &str = "last.safetensors";
const METRICS: &str = "metrics.csv";
const CONFIG: &str = "config.json";
const REPORT: &str = "report.html";
/// The names of the pictures that are held out for validation, one a line.
pub(super) const HELD_OUT: &str = "validation.txt";

/// The files that a run writes. A folder with one of them holds a run.
const FILES: [&str; 7] = [checkpoint::FILE, checkpoint::PREVIOUS, BEST, LAST, METRICS, CONFIG, HELD_OUT];

/// The folder of a run, locked by this process.
pub(super) struct Files {
    folder: PathBuf,
    /// The lock file, locked until the run ends. The system releases the lock when the process ends in any way. While the file is open
    /// no other file has its identity.
    lock: Handle,
    /// Whether the newest checkpoint is damaged. The next checkpoint then replaces it, and the one before it stays.
    damaged: AtomicBool,
}

/// The checkpoint that a run is resumed from.
pub(super) struct Resumed {
    pub(super) checkpoint: Checkpoint,
    /// Its file.
    pub(super) path: PathBuf,
    /// Whether it must be written again, because it is the older one, or its settings differ in a way that changes no bit.
    pub(super) again: bool,
    /// Why the newest checkpoint is not used, if this is the one before it.
    pub(super) older: Option<Error>,
}

impl Files {
    /// Makes the folder if it does not exist, locks it and checks its content.
    ///
    /// # Errors
    /// [`Error::Usage`] if it holds a run that is not to be resumed, [`Error::NotFound`] if the run to resume has no checkpoint,
    /// [`Error::Io`] if another process has locked it, or a call of the system fails.
    pub(super) fn open(folder: &Path, resume: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::from_io(e, "make the folder of the run", folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(|e| Error::from_io(e, "write", &path))?;
        match lock_soon(&lock) {
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
        // Another process may have removed the folder before the lock was taken.
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

    /// The name of the folder, which is that of the run.
    pub(super) fn name(&self) -> String {
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.place())
    }

    /// Refuses to overwrite a run, and to begin a new one if a run without checkpoint is to be resumed.
    fn refuse_a_run(&self, resume: bool) -> Result<()> {
        // A broken link counts as a file.
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

    /// Checks that the folder still is the one that was locked.
    ///
    /// # Errors
    /// [`Error::Io`] if it was replaced or removed.
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

    /// The name of the event file of this start.
    pub(super) fn next_events(&self) -> Result<String> {
        let failed = |e| Error::from_io(e, "list", &self.folder);
        let entries = std::fs::read_dir(&self.folder).map_err(failed)?;
        Ok(tensorboard::next_name(
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()),
        ))
    }

    /// Appends to a file, which readers follow while it grows.
    pub(super) fn append(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let path = self.path(name);
        let failed = |e| Error::from_io(e, "write", &path);
        let mut file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(failed)
    }

    fn write_weights(&self, name: &str, weights: &Weights) -> Result<()> {
        self.check()?;
        write_tensors_if(&self.path(name), &mut || self.check(), &weights.tensors, &weights.strings()?)
    }

    /// Writes the settings, as [`settings::json`] makes them.
    pub(super) fn write_config(&self, json: &[u8]) -> Result<()> {
        self.write(CONFIG, |file| file.write_all(json))
    }

    /// Lists the pictures that are held out for validation, one a line. Control characters in names are escaped.
    pub(super) fn write_held_out(&self, names: impl Iterator<Item = String>) -> Result<()> {
        self.write(HELD_OUT, |file| {
            let mut names = names;
            names.try_for_each(|name| writeln!(file, "{}", Untrusted::new(&name)))
        })
    }

    /// Writes the files of an epoch: the weights, the best weights if the epoch is the best one, the table.
    pub(super) fn write_epoch(&self, weights: &Weights, best: bool, rows: &[Row]) -> Result<()> {
        self.write_weights(LAST, weights)?;
        if best {
            self.write_weights(BEST, weights)?;
        }
        self.write(METRICS, |out| metrics::write(out, rows))
    }

    /// Writes the page of the run.
    pub(super) fn write_page(&self, html: &str) -> Result<()> {
        self.write(REPORT, |file| file.write_all(html.as_bytes()))
    }

    /// Writes a checkpoint. The old newest checkpoint is kept as the previous one.
    pub(super) fn save(&self, state: &State, tensors: &Tensors) -> Result<()> {
        self.check()?;
        let (newest, previous) = (self.path(checkpoint::FILE), self.path(checkpoint::PREVIOUS));
        let mut ready = || {
            self.check()?;
            if self.damaged.load(Ordering::Relaxed) || !newest.exists() {
                return Ok(());
            }
            // A run that is killed right after this is resumed from this checkpoint under its new name.
            rename(&newest, &previous)
        };
        checkpoint::write(&newest, &mut ready, state, tensors)?;
        self.damaged.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the newest checkpoint that is undamaged; `None` if there is no checkpoint.
    ///
    /// # Errors
    /// [`Error::Data`] if all checkpoints are damaged, or the undamaged one is of a run of another length, which would give other bits;
    /// [`Error::Usage`] if the settings differ; [`Error::Io`] if one cannot be read.
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

/// A checkpoint, or the error if it is damaged or missing.
///
/// # Errors
/// Everything else: [`Error::Io`] if the system cannot read it, [`Error::Usage`] if it has another version.
fn usable(path: &Path) -> Result<Result<Checkpoint>> {
    match checkpoint::read(path) {
        Err(why @ (Error::Data(_) | Error::NotFound(_))) => Ok(Err(why)),
        found => found.map(Ok),
    }
}

/// Tries to lock a file for half a second. A lock that was given up a moment ago can still be held: by a child process that another
/// thread has forked and that has not started its program yet.
fn lock_soon(lock: &File) -> std::result::Result<(), TryLockError> {
    for _ in 0..20 {
        match try_lock(lock) {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            other => return other,
        }
    }
    try_lock(lock)
}

#[cfg(not(target_os = "android"))]
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    file.try_lock()
}

/// On Android the standard library has no file locks, but the system has.
#[cfg(target_os = "android")]
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TryLockError::WouldBlock),
        other => other.map_err(|e| TryLockError::Error(e.into())),
    }
}
