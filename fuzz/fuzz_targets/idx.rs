#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli::data::{Dataset, Idx, Split};

// The first two bytes say how long the file of the labels is; the other one follows it.
fuzz_target!(|bytes: &[u8]| {
    let [high, low, rest @ ..] = bytes else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
    let (labels, images) = rest.split_at(at);
    if let Ok(set) = Idx::parse(images, labels, Split::Train) {
        assert!(set.load(0).is_ok() && set.load(set.len() - 1).is_ok());
    }
});
