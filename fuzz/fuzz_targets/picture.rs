#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::data::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(picture) = decode(bytes) {
        assert_eq!(picture.rgba().len(), picture.height() * picture.width() * 4);
    }
});
