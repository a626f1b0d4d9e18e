//! What fuzzing has found to be different ways through the readers of files, see `tests/golden/fuzz`, read again.

mod readers;

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The inputs of an archive of `tests/golden/fuzz`.
fn found(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fuzz").join(name);
    let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
    let count = archive.len();
    let read = |i| {
        let mut bytes = Vec::new();
        archive.by_index(i).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    (0..count).map(read).collect()
}

/// Reads all inputs of an archive; of so many inputs at least so many must be taken, or the archive shows little.
fn replay(name: &str, reader: fn(&[u8]) -> bool, [inputs, at_least]: [usize; 2]) {
    let found = found(name);
    let taken = found.iter().filter(|bytes| reader(bytes)).count();
    assert!(
        found.len() >= inputs && taken >= at_least,
        "{name}: {taken} of {} inputs are taken",
        found.len()
    );
}

// Most small inputs are refused; of the readers of weights each file that is taken begins with a header or a pickle that fits.

#[test]
fn safetensors() {
    replay("safetensors.zip", readers::safetensors, [100, 0]);
}

#[test]
fn pth() {
    replay("pth.zip", readers::pth, [100, 0]);
}

#[test]
fn onnx() {
    replay("onnx.zip", readers::onnx, [100, 1]);
}

#[test]
fn pictures() {
    replay("picture.zip", readers::picture, [100, 10]);
}

#[test]
fn idx() {
    replay("idx.zip", readers::idx, [20, 2]);
}

#[test]
fn checkpoints() {
    replay("checkpoint.zip", readers::checkpoint, [100, 1]);
}
