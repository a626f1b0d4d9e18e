#![no_main]

#[path = "../../tests/fuzzed/readers.rs"]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    readers::idx(bytes);
});
