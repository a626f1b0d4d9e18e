#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::train::checkpoint;

// Checksums stop most of what a fuzzer changes, so inputs to start from are best written without them: a file that has neither
// `ocelli.crc32.header` nor `ocelli.crc32.tensors` is read as one of an earlier version.
fuzz_target!(|bytes: &[u8]| {
    // A checkpoint is read from its folder.
    let path = std::env::temp_dir().join(format!("ocelli-fuzz-{}.safetensors", std::process::id()));
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    match checkpoint::read(&path) {
        Ok(found) => {
            // What a run that goes on looks at before it opens anything.
            let state = found.state;
            let _ = (state.config.check(), state.is_validated());
            assert!(state.facts.differences(&state.facts).is_empty());
        }
        Err(error) => assert!(!error.report().what.is_empty()),
    }
});
