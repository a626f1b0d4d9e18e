#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::weights::Source;
use ocelli::weights::pth::Pth;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Pth::parse(bytes.to_vec()) else { return };
    for (name, entry) in file.entries() {
        let _ = file.rows(name, 0..entry.rows());
    }
});
