//! Checksums in a safetensors file, which reveal damage.
//!
//! Two metadata strings hold them. Other readers ignore these. `ocelli.crc32.tensors` is a JSON object with the CRC-32 of the bytes of
//! each tensor, as hexadecimal numbers by name. `ocelli.crc32.header` is the CRC-32 of the rest of the header: the other strings, and the
//! name, type and shape of each tensor. The offsets are left out, so that a program may write the same content in another order. A file with
//! only one of the two strings is damaged. A file with neither was written by another program or by an earlier version.

use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

const TENSORS: &str = "ocelli.crc32.tensors";
const HEADER: &str = "ocelli.crc32.header";

/// The checksums of the tensors of a file, and the tensors whose checksums have been verified.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    of: BTreeMap<String, u32>,
    right: Mutex<BTreeSet<String>>,
}

impl Clone for Checksums {
    fn clone(&self) -> Self {
        Self { of: self.of.clone(), right: Mutex::default() }
    }
}

impl Checksums {
    /// Removes the checksums from the strings of a header, and verifies that of the header.
    ///
    /// # Errors
    /// [`Error::Data`] if it is wrong.
    pub(super) fn take<'a>(
        strings: &mut BTreeMap<String, String>,
        tensors: impl Iterator<Item = (&'a str, String, &'a [usize])>,
    ) -> Result<Self> {
        let header = strings.remove(HEADER);
        let Some(text) = strings.remove(TENSORS) else {
            return if header.is_none() { Ok(Self::default()) } else { Err(changed("its header")) };
        };
        let of = of_header(strings, &text, tensors);
        let all: Option<BTreeMap<String, String>> = serde_json::from_str(&text).ok();
        let all = all.filter(|_| header.is_some_and(|header| header == hexadecimal(of)));
        let parsed = all.and_then(|all| {
            let parse = |(name, sum): (String, String)| Some((name, u32::from_str_radix(&sum, 16).ok()?));
            all.into_iter().map(parse).collect()
        });
        let of = parsed.ok_or_else(|| changed("its header"))?;
        Ok(Self { of, right: Mutex::default() })
    }

    /// Whether the file has a checksum of a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.of.contains_key(name)
    }

    /// The checksum of a tensor, if there is one and it has not been verified yet.
    pub(super) fn unseen(&self, name: &str) -> Option<u32> {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        self.of.get(name).copied().filter(|_| !right.contains(name))
    }

    /// Compares the checksum of a tensor with that of its bytes.
    ///
    /// # Errors
    /// [`Error::Data`] with the name of the tensor if they differ.
    pub(super) fn compare(&self, name: &str, found: u32) -> Result<()> {
        if self.of.get(name).is_some_and(|wanted| *wanted != found) {
            return Err(changed("a tensor").at(name));
        }
        self.right.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }
}

fn changed(what: &str) -> Error {
    Error::data(format!("{what} is damaged: its checksum is not the one that was written with it")).hint(
        "get the file again; if a program has changed it on purpose, let that program remove its metadata ocelli.crc32.*",
    )
}

fn hexadecimal(sum: u32) -> String {
    format!("{sum:08x}")
}

/// The checksum of a header without the offsets of its tensors.
fn of_header<'a>(
    strings: &BTreeMap<String, String>,
    sums: &str,
    tensors: impl Iterator<Item = (&'a str, String, &'a [usize])>,
) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    // Each text with its length, so that two different lists never give the same bytes.
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(sums);
    for (key, value) in strings {
        text(key);
        text(value);
    }
    let sorted: BTreeMap<_, _> = tensors.map(|(name, dtype, shape)| (name, (dtype, shape))).collect();
    for (name, (dtype, shape)) in sorted {
        text(name);
        text(&dtype);
        text(&format!("{shape:?}"));
    }
    hasher.finalize()
}

/// Adds the checksums to the strings of a new file. Their length does not depend on the sums.
///
/// # Errors
/// [`Error::Internal`] if they cannot be written as JSON.
pub(super) fn add<'a>(
    strings: &mut BTreeMap<String, String>,
    sums: &BTreeMap<&str, u32>,
    tensors: impl Iterator<Item = (&'a str, String, &'a [usize])>,
) -> Result<()> {
    // The strings may come from a file that has checksums.
    strings.remove(HEADER);
    strings.remove(TENSORS);
    let sums: BTreeMap<&str, String> = sums.iter().map(|(name, sum)| (*name, hexadecimal(*sum))).collect();
    let sums = serde_json::to_string(&sums)
        .map_err(|e| Error::internal(format!("the checksums cannot be written: {e}")).with_source(e))?;
    let header = of_header(strings, &sums, tensors);
    strings.insert(TENSORS.to_owned(), sums);
    strings.insert(HEADER.to_owned(), hexadecimal(header));
    Ok(())
}
