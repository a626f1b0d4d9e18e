//! PNG: the size of a picture before it is decoded, and removal of colour profiles.

use std::borrow::Cow;

/// The first bytes of every PNG.
const SIGNATURE: usize = 8;

/// The size in the header of a PNG. The first chunk must have it.
pub(super) fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.get(12..24)?.strip_prefix(b"IHDR")?;
    let (numbers, _) = header.as_chunks::<4>();
    match numbers {
        [width, height] => Some((u32::from_be_bytes(*width), u32::from_be_bytes(*height))),
        _ => None,
    }
}

/// The file without its colour profiles. They are not used here, and the decoder would unpack them into much memory.
pub(super) fn without_profiles(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Cow::Borrowed(bytes);
    let mut at = SIGNATURE;
    while let Some([a, b, c, d, kind @ ..]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        // The length does not include itself, the type and the checksum.
        let length = (u32::from_be_bytes([*a, *b, *c, *d]) as usize).saturating_add(12);
        let end = at.saturating_add(length).min(bytes.len());
        let is_profile = kind == b"iCCP";
        if is_profile && matches!(kept, Cow::Borrowed(_)) {
            kept = Cow::Owned(bytes.get(..at).unwrap_or_default().to_vec());
        } else if let Cow::Owned(kept) = &mut kept
            && !is_profile
        {
            kept.extend_from_slice(bytes.get(at..end).unwrap_or_default());
        }
        at = end;
    }
    if let Cow::Owned(kept) = &mut kept {
        kept.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_profiles_has_all_the_rest() {
        let chunk =
            |kind: &[u8], data: &[u8]| [&(data.len() as u32).to_be_bytes()[..], kind, data, b"sum."].concat();
        let (head, data) = (chunk(b"IHDR", &[0, 0, 1, 0, 0, 0, 0, 2, 8]), chunk(b"IDAT", b"iCCP"));
        let signature = b"\x89PNG\r\n\x1a\n";
        assert_eq!(size(&[signature, &head[..]].concat()), Some((256, 2)));
        let profile = chunk(b"iCCP", &[7; 9]);
        let plain = [signature, &head[..], &data, b"more"].concat();
        assert!(matches!(without_profiles(&plain), Cow::Borrowed(_)));
        let both = [signature, &profile[..], &head, &profile, &data, b"more"].concat();
        assert_eq!(without_profiles(&both), plain);
        // Files that end within a chunk.
        for length in 0..both.len() {
            assert!(without_profiles(&both[..length]).len() <= length);
        }
        let lies = [signature, &u32::MAX.to_be_bytes()[..], b"iCCPabc"].concat();
        assert_eq!(without_profiles(&lies), &signature[..]);
    }
}
