//! Parts of a file that a `Range` header requests (RFC 9110, section 14).

use std::ops::Range;

/// The part of a file to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: the request has no range, several ranges, or one that a server may ignore.
    Whole,
    /// A range of bytes.
    Bytes(Range<u64>),
    /// The range is outside the file.
    Outside,
}

/// Parses the value of a `Range` header for a file of `length` bytes.
pub(super) fn part(asked: &str, length: u64) -> Part {
    parse(asked, length).unwrap_or(Part::Whole)
}

fn parse(asked: &str, length: u64) -> Option<Part> {
    let (unit, list) = asked.split_once('=')?;
    let (first, last) = list.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let bytes = if first.is_empty() {
        // A suffix: the last bytes, at most all.
        length.saturating_sub(number(last)?)..length
    } else {
        let first = number(first)?;
        let end = if last.is_empty() { length } else { number(last)?.saturating_add(1) };
        // A range that ends before it starts is invalid.
        if end <= first && !last.is_empty() {
            return None;
        }
        first..end.min(length)
    };
    Some(if bytes.is_empty() { Part::Outside } else { Part::Bytes(bytes) })
}

/// Parses digits without a sign. A number of more than 64 bits becomes the largest one, which is beyond the end of
/// every file.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_sent() {
        for (asked, wanted) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-4", Part::Bytes(2..5)),
            ("Bytes = 2-4", Part::Bytes(2..5)),
            ("bytes=7-", Part::Bytes(7..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=0-99", Part::Bytes(0..10)),
            ("bytes=9-99999999999999999999999", Part::Bytes(9..10)),
            ("bytes=10-", Part::Outside),
            ("bytes=10-12", Part::Outside),
            ("bytes=99999999999999999999999-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=1", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(asked, 10), wanted, "{asked}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Outside);
        assert_eq!(part("bytes=-1", 0), Part::Outside);
    }
}
