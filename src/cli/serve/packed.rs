//! Compressed files: those of the page are compressed once and kept.

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

/// Smaller files fit one packet anyway.
const LEAST: u64 = 1 << 10;
/// Larger files are sent as they are: nobody waits for their compression, and no memory is taken.
const MOST: u64 = 16 << 20;
/// All that is kept together.
const MOST_KEPT: usize = 32 << 20;

/// What was compressed, by name, with the version of the file that it was.
#[derive(Default)]
pub(super) struct Packed {
    kept: Mutex<HashMap<String, (String, Bytes)>>,
}

/// Whether a file of so many bytes is worth it.
pub(super) fn is_worth(length: u64) -> bool {
    (LEAST..=MOST).contains(&length)
}

impl Packed {
    /// A file compressed with gzip, from what is kept if it is of this version.
    pub(super) fn get(&self, name: &str, version: &str, file: impl Read, length: u64) -> io::Result<Bytes> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = kept().get(name).filter(|(of, _)| of == version) {
            return Ok(bytes.clone());
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        if io::copy(&mut file.take(length), &mut packer)? != length {
            // It is shorter than it was: its next version will come.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        packer.flush()?;
        let bytes = Bytes::from(packer.finish()?);
        let mut kept = kept();
        kept.remove(name);
        if kept.values().map(|(_, bytes)| bytes.len()).sum::<usize>() + bytes.len() <= MOST_KEPT {
            kept.insert(name.to_owned(), (version.to_owned(), bytes.clone()));
        }
        Ok(bytes)
    }
}

/// Whether an `Accept-Encoding` header lets a body be compressed with gzip.
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
        assert_eq!(packed.kept.lock().unwrap().len(), 1, "the old version is gone");
    }
}
