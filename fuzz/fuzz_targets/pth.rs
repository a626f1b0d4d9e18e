#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::weights::Source;
use ocelli::weights::pth::Pth;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Pth::parse(bytes.to_vec()) else { return };
    for (name, entry) in file.entries() {
        // A view may speak of more numbers than the file holds bytes, which is no fault.
        if entry.elements() < 1 << 20 {
            let _ = file.rows(name, 0..entry.rows());
        }
    }
});
