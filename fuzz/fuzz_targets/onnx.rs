#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::exchange::onnx_in::Imported;
use ocelli::weights::Source;
use ocelli::weights::onnx::File;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = File::parse(bytes.to_vec().into()) else { return };
    let Ok(imported) = Imported::new(file) else { return };
    for (name, entry) in imported.entries() {
        if entry.elements() < 1 << 20 {
            let _ = imported.rows(name, 0..entry.rows());
        }
    }
    let _ = imported.variant();
});
