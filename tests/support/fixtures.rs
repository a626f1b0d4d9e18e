//! What the tests use from outside the repository: data sets and weights, folders to work in, the program.

use ocelli::data::{Dataset, Folder, Idx, Split};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

/// Says why a test cannot run here. Written past the capture of the test harness, so that it is always seen.
pub fn skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// A file of the collection that `OCELLI_TEST_DATA` names, by default `../shared/data`; see CONTRIBUTING.md.
pub fn shared(name: &str) -> Result<PathBuf, String> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("OCELLI_TEST_DATA").map_or(default, PathBuf::from);
    let path = folder.join(name);
    if path.exists() { Ok(path) } else { Err(format!("{name} is not in $OCELLI_TEST_DATA")) }
}

/// The validation part of CIFAR-10 as JPEG files, unpacked once into a folder of the build.
pub fn cifar10() -> Result<Arc<dyn Dataset>, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let archive = shared("cifar10.tar.gz")?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cifar10");
        let done = folder.join(".unpacked");
        if !done.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let status = Command::new("tar")
                .arg("-xzf")
                .arg(archive)
                .arg("-C")
                .arg(&folder)
                .args(["--wildcards", "*val/*"])
                .status();
            match status {
                Ok(status) if status.success() => std::fs::write(done, "").unwrap(),
                other => return Err(format!("tar cannot unpack cifar10.tar.gz: {other:?}")),
            }
        }
        Ok(folder)
    });
    Ok(Arc::new(Folder::open(root_of(folder.as_ref().map_err(Clone::clone)?), Split::Val).unwrap()))
}

/// The folder that holds `val`: the archive may have a folder of its own around it.
fn root_of(folder: &Path) -> PathBuf {
    if folder.join("val").is_dir() {
        return folder.to_owned();
    }
    let inner = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    inner.into_iter().find(|p| p.join("val").is_dir()).unwrap()
}

/// Fashion-MNIST, where `scripts/setup.sh` or the user has put it.
pub fn fashion_mnist(split: Split) -> Result<Arc<dyn Dataset>, String> {
    match Idx::fashion_mnist(split) {
        Ok(set) => Ok(Arc::new(set)),
        Err(error) => Err(error.to_string()),
    }
}

/// A folder that is removed after the test.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ocelli-test-").tempdir().unwrap()
}

/// The program, with the folder it runs in.
pub fn ocelli(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command.current_dir(folder).env("OCELLI_CACHE_DIR", folder.join("cache"));
    command
}

/// The program with at most so many bytes of address space, which bounds what it may allocate. Only Linux
/// keeps such a bound.
pub fn bounded(folder: &Path, megabytes: u64) -> Command {
    let program = ocelli(folder);
    if !cfg!(target_os = "linux") {
        return program;
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -v {} && exec \"$0\" \"$@\"", megabytes << 10)])
        .arg(program.get_program())
        .current_dir(folder)
        .env("OCELLI_CACHE_DIR", folder.join("cache"));
    shell
}

/// Runs the program; returns its exit code, standard output and standard error.
pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = ocelli(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// What the program printed, with the paths of Windows as those of other systems.
pub fn with_slashes(printed: &str) -> String {
    if cfg!(windows) { printed.replace('\\', "/") } else { printed.to_owned() }
}

/// Writes a folder of small pictures: `DIR/train/CLASS/N.png` and `DIR/val/CLASS/N.png`. Each class has a colour of
/// its own with noise, so that a network learns it fast.
pub fn write_pictures(folder: &Path, classes: usize, train: usize, val: usize, size: u32) {
    for (split, count) in [("train", train), ("val", val)] {
        for class in 0..classes {
            let here = folder.join(split).join(format!("class{class}"));
            std::fs::create_dir_all(&here).unwrap();
            for i in 0..count {
                let mut noise =
                    crate::oracle::Rng((1 + class * 1000 + i + train * usize::from(split == "val")) as u64);
                let mut bytes = Vec::new();
                for _ in 0..size * size {
                    for channel in 0..3 {
                        let base = if channel == class % 3 { 180.0 } else { 60.0 };
                        bytes.push((base + 40.0 * noise.unit()) as u8);
                    }
                }
                let path = here.join(format!("{i:03}.png"));
                image::save_buffer(path, &bytes, size, size, image::ColorType::Rgb8).unwrap();
            }
        }
    }
}
