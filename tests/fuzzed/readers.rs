//! The readers of untrusted files, called by the targets of `fuzz/` and by the test that replays the inputs which these have found. Each
//! function returns whether the reader has accepted the bytes. Every refusal must be an error of the data, with a message.

// Each target calls one of these functions.
#![allow(dead_code)]

use ocelli::data::{Dataset, Idx, Split, decode};
use ocelli::exchange::onnx_in::Imported;
use ocelli::exchange::{IdentifyOptions, Renamed};
use ocelli::train;
use ocelli::weights::onnx::File;
use ocelli::weights::pth::Pth;
use ocelli::weights::{Dtype, Metadata, Safetensors, Source, StreamEvent, StreamReader};
use ocelli::{Error, Result};

/// Tensors with more numbers are named, but not read: a file may say of a few bytes that they are repeated.
const MOST_NUMBERS: usize = 1 << 20;

fn refused(error: &Error) -> bool {
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(!error.report().what.is_empty());
    false
}

fn taken<T>(result: &Result<T>) -> bool {
    result.as_ref().map_or_else(refused, |_| true)
}

/// Reads the numbers of all tensors.
fn all_rows(file: &dyn Source) -> bool {
    let entries = file.entries().iter().filter(|(_, e)| !matches!(e.dtype, Dtype::Integer(_)));
    let mut small = entries.filter(|(_, e)| e.elements() < MOST_NUMBERS);
    taken(&small.try_for_each(|(name, e)| file.rows(name, 0..e.rows()).map(drop)))
}

/// Whether the file is read when it arrives in pieces, too.
fn arrives(bytes: &[u8]) -> bool {
    let mut arriving = StreamReader::new(None);
    let mut file = None;
    for mut piece in bytes.chunks(61) {
        while !piece.is_empty() {
            match arriving.take(&mut piece) {
                Err(error) => return refused(&error),
                Ok(StreamEvent::Nothing) => {}
                Ok(StreamEvent::Header(header)) => file = Some(header),
                Ok(StreamEvent::Rows(name, rows)) => {
                    if let Some(file) = &file {
                        assert!(file.rows(&name, rows).is_ok());
                    }
                }
            }
        }
    }
    arriving.finish().is_ok()
}

/// Weights as safetensors, as a whole and in pieces, and their names as those of a network.
pub fn safetensors(bytes: &[u8]) -> bool {
    let file = Safetensors::parse(bytes.to_vec());
    assert_eq!(arrives(bytes), file.is_ok());
    let Ok(file) = file else { return taken(&file) };
    if !taken(&Metadata::read(file.strings())) {
        return false;
    }
    all_rows(&Renamed::new(Box::new(file), IdentifyOptions::default()))
}

/// Weights as PyTorch writes them.
pub fn pth(bytes: &[u8]) -> bool {
    match Pth::parse(bytes.to_vec()) {
        Ok(file) => all_rows(&file),
        Err(error) => refused(&error),
    }
}

/// A network as ONNX.
pub fn onnx(bytes: &[u8]) -> bool {
    match File::parse(bytes.to_vec().into()).and_then(Imported::new) {
        Ok(imported) => {
            let _ = imported.variant();
            all_rows(&imported)
        }
        Err(error) => refused(&error),
    }
}

/// A picture of any of the formats.
pub fn picture(bytes: &[u8]) -> bool {
    let picture = decode(bytes);
    if let Ok(picture) = &picture {
        assert_eq!(picture.rgba().len(), picture.height() * picture.width() * 4);
    }
    taken(&picture)
}

/// A data set as IDX. The first two bytes say how long the file of the labels is; that of the pictures follows it.
pub fn idx(bytes: &[u8]) -> bool {
    let [high, low, rest @ ..] = bytes else { return false };
    let at = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (labels, images) = rest.split_at(at);
    let set = Idx::parse(images, labels, Split::Train);
    if let Ok(set) = &set {
        assert!(set.load(0).is_ok() && set.load(set.len() - 1).is_ok());
    }
    taken(&set)
}

/// A checkpoint. Checksums stop most of what a fuzzer changes, so inputs to start from are best written without them, and are read so:
/// no run goes on from a file that has neither `ocelli.crc32.header` nor `ocelli.crc32.tensors`.
pub fn checkpoint(bytes: &[u8]) -> bool {
    // A checkpoint is read from its folder.
    let path = std::env::temp_dir().join(format!("ocelli-fuzz-{}.safetensors", std::process::id()));
    if let Err(error) = std::fs::write(&path, bytes) {
        panic!("{}: {error}", path.display());
    }
    let found = train::checkpoint::read_unsummed(&path);
    match &found {
        Ok(found) => {
            // What a run that goes on looks at before it opens anything.
            let state = &found.state;
            let _ = (state.config.check(), state.is_validated());
            assert!(state.facts.differences(&state.facts).is_empty());
            true
        }
        // One of another version can be read by that.
        Err(Error::Usage(report)) => {
            assert!(report.what.contains("version"), "{report:?}");
            false
        }
        Err(error) => refused(error),
    }
}
