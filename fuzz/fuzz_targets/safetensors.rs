#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::exchange::{Renamed, names};
use ocelli::models::recognise;
use ocelli::weights::{Metadata, Safetensors, Source};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Safetensors::parse(bytes.to_vec()) else { return };
    let _ = Metadata::read(file.strings());
    for (name, entry) in file.entries() {
        let _ = file.rows(name, 0..entry.rows());
    }
    if let Ok(renamed) = Renamed::new(Box::new(file)) {
        let _ = recognise(&names(&renamed));
    }
});
