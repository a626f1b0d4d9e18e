#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::exchange::Renamed;
use ocelli::weights::{Metadata, Safetensors, Source};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Safetensors::parse(bytes.to_vec()) else { return };
    let _ = Metadata::read(file.strings());
    for (name, entry) in file.entries() {
        let _ = file.rows(name, 0..entry.rows());
    }
    let _ = Renamed::new(Box::new(file));
});
