//! A cache of compressed files: each version of a file is compressed once.

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Smaller files are not compressed, because they fit one packet anyway.
const LEAST: u64 = 1 << 10;
/// Larger files are not compressed, because that would take too much time and memory.
const MOST: u64 = 16 << 20;
/// The most bytes in the cache.
const MOST_KEPT: usize = 32 << 20;

/// A compressed file in the cache.
struct Kept {
    /// The version of the file that was compressed.
    version: String,
    bytes: Bytes,
    /// The value of the request counter at the last request for it.
    used: u64,
}

/// The cache of compressed files, by name. The least recently used ones are evicted.
pub(super) struct Packed {
    kept: Mutex<(HashMap<String, Kept>, u64)>,
    /// One lock per file name. It is held while the file is compressed, so that other requests for the file wait.
    /// There are at most as many locks as the site has files.
    working: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    most: usize,
}

/// Whether a file of `length` bytes is worth compressing.
pub(super) fn is_worth(length: u64) -> bool {
    (LEAST..=MOST).contains(&length)
}

impl Default for Packed {
    fn default() -> Self {
        Self { kept: Mutex::default(), working: Mutex::default(), most: MOST_KEPT }
    }
}

impl Packed {
    /// A file compressed with gzip. It comes from the cache if it is there in this version.
    pub(super) fn get(&self, name: &str, version: &str, file: impl Read, length: u64) -> io::Result<Bytes> {
        if let Some(bytes) = self.kept(name, version) {
            return Ok(bytes);
        }
        let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = working.entry(name.to_owned()).or_default().clone();
        drop(working);
        let _working = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Another request may have compressed it meanwhile.
        if let Some(bytes) = self.kept(name, version) {
            return Ok(bytes);
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        if io::copy(&mut file.take(length), &mut packer)? != length {
            // The file has become shorter, so it has a new version, which a later request gets.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        packer.flush()?;
        let bytes = Bytes::from(packer.finish()?);
        self.keep(name, version, &bytes);
        Ok(bytes)
    }

    fn kept(&self, name: &str, version: &str) -> Option<Bytes> {
        let (kept, clock) = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get_mut(name).filter(|found| found.version == version)?;
        *clock += 1;
        found.used = *clock;
        Some(found.bytes.clone())
    }

    fn keep(&self, name: &str, version: &str, bytes: &Bytes) {
        let (kept, clock) = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(name);
        if bytes.len() > self.most {
            return;
        }
        while kept.values().map(|one| one.bytes.len()).sum::<usize>() + bytes.len() > self.most {
            let oldest = kept.iter().min_by_key(|(_, one)| one.used).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return };
            kept.remove(&oldest);
        }
        *clock += 1;
        let one = Kept { version: version.to_owned(), bytes: bytes.clone(), used: *clock };
        kept.insert(name.to_owned(), one);
    }
}

/// Whether an `Accept-Encoding` header allows gzip.
pub(super) fn accepts(header: &str) -> bool {
    let weight = |wanted: &str| {
        header.split(',').find_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight =
                parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case(wanted).then_some(weight.unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_who_can_read_it_gets_it() {
        for header in ["gzip", "deflate, GZIP", "br;q=1.0, gzip;q=0.5", "*", "identity, *;q=0.1"] {
            assert!(accepts(header), "{header}");
        }
        for header in ["", "identity", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "gzipped", "gzip;q=x"] {
            assert!(!accepts(header), "{header}");
        }
    }

    #[test]
    fn a_version_is_compressed_once() {
        let packed = Packed::default();
        let text = [b'a'; 5000];
        let once = packed.get("a", "1", &text[..], 5000).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&once[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
        assert_eq!(packed.get("a", "1", &b""[..], 5000).unwrap(), once, "nothing is read");
        assert_eq!(
            packed.get("a", "2", &text[..4000], 5000).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_ne!(packed.get("a", "2", &text[..4000], 4000).unwrap(), once);
        assert_eq!(packed.kept.lock().unwrap().0.len(), 1, "the old version is gone");
    }

    #[test]
    fn who_asks_for_what_is_being_compressed_waits_for_it() {
        struct Slow<'a>(&'a AtomicUsize);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0.fetch_add(into.len(), Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(20));
                into.fill(b'a');
                Ok(into.len())
            }
        }
        let (packed, read) = (Packed::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| packed.get("a", "1", Slow(&read), 50_000).unwrap());
            }
        });
        let read = read.load(Ordering::Relaxed);
        assert!((50_000..100_000).contains(&read), "{read} bytes were read");
    }

    #[test]
    fn what_was_not_asked_for_the_longest_makes_room() {
        let text: Vec<u8> = (0u32..5000).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let size = Packed::default().get("a", "1", &text[..], 5000).unwrap().len();
        let packed = Packed { most: 2 * size, ..Packed::default() };
        for name in ["a", "b", "a", "c"] {
            packed.get(name, "1", &text[..], 5000).unwrap();
        }
        for (name, is_kept) in [("a", true), ("b", false), ("c", true)] {
            assert_eq!(packed.kept(name, "1").is_some(), is_kept, "{name}");
        }
        let packed = Packed { most: size - 1, ..Packed::default() };
        packed.get("a", "1", &text[..], 5000).unwrap();
        assert!(packed.kept("a", "1").is_none());
    }
}
