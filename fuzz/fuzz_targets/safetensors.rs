#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::exchange::{Renamed, Wish};
use ocelli::weights::{Arrived, Arriving, Metadata, Safetensors, Source};

/// Whether the file is read when it arrives in pieces, too.
fn arrives(bytes: &[u8]) -> bool {
    let mut arriving = Arriving::new(None);
    let mut file = None;
    for mut piece in bytes.chunks(61) {
        while !piece.is_empty() {
            match arriving.take(&mut piece) {
                Err(_) => return false,
                Ok(Arrived::Nothing) => {}
                Ok(Arrived::Header(header)) => file = Some(header),
                Ok(Arrived::Rows(name, rows)) => {
                    if let Some(file) = &file {
                        assert!(file.rows(&name, rows).is_ok());
                    }
                }
            }
        }
    }
    arriving.finish().is_ok()
}

fuzz_target!(|bytes: &[u8]| {
    let file = Safetensors::parse(bytes.to_vec());
    assert_eq!(arrives(bytes), file.is_ok());
    let Ok(file) = file else { return };
    let _ = Metadata::read(file.strings());
    for (name, entry) in file.entries() {
        let _ = file.rows(name, 0..entry.rows());
    }
    let _ = Renamed::new(Box::new(file), Wish::default());
});
