//! Escapes text from untrusted sources for a terminal.

use std::ffi::OsStr;
use std::fmt::{self, Write};

/// The most characters of a name in a message.
const SHORT: usize = 80;

/// Text from a file, or the name of a file. Its `Display` has no effect on a terminal other than its characters: it cannot move the cursor,
/// change the title, begin a line or reverse the direction of text. Control characters, line separators, marks of direction and
/// invisible characters are escaped as in a Rust string (`\u{1b}`, `\n`), and bytes that are not UTF-8 as `\xff`.
///
/// Escaping twice gives the same text as escaping once. So a line can be escaped as a whole, even if its parts were escaped before.
///
/// ```
/// use ocelli::error::Untrusted;
///
/// assert_eq!(Untrusted::new("a\u{1b}[31m\u{202e}b").to_string(), r"a\u{1b}[31m\u{202e}b");
/// ```
#[derive(Clone, Copy)]
pub struct Untrusted<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl<'a> Untrusted<'a> {
    /// A whole text or path.
    pub fn new(text: &'a (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self { bytes: text.as_ref().as_encoded_bytes(), most: usize::MAX }
    }

    /// The first characters of a text, for a name in a message.
    pub fn short(text: &'a (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self::new(text).at_most(SHORT)
    }

    /// Limits the text to this many characters. Three dots mark a text that was cut.
    #[must_use]
    pub fn at_most(self, characters: usize) -> Self {
        Self { most: characters, ..self }
    }

    fn write_to(self, out: &mut impl Write) -> fmt::Result {
        let mut left = self.most;
        let mut more = || left.checked_sub(1).map(|rest| left = rest).is_some();
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if !more() {
                    return out.write_str("...");
                }
                if is_safe(c) { out.write_char(c)? } else { write!(out, "{}", c.escape_default())? }
            }
            for byte in chunk.invalid() {
                if !more() {
                    return out.write_str("...");
                }
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Whether a character is visible and has no other effect. The two zero-width joiners are allowed too, because emoji and some scripts
/// need them.
pub(crate) fn is_safe(c: char) -> bool {
    // The general categories Cc, Zl, Zp and Cf without visible characters, and blank fillers and selectors.
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.width().is_none() && f.precision().is_none() {
            return self.write_to(f);
        }
        f.pad(&String::from(*self))
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<Untrusted<'_>> for String {
    fn from(text: Untrusted<'_>) -> Self {
        let mut out = Self::with_capacity(text.bytes.len().min(text.most));
        // Writing to a string cannot fail.
        let _ = text.write_to(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, wanted) in [
            ("Größe 犬 'a' \"b\" c\\d", "Größe 犬 'a' \"b\" c\\d"),
            (
                "e\u{301} न\u{94d}\u{200d}य 👩\u{200d}🔬 ❤\u{fe0f} \u{a0}",
                "e\u{301} न\u{94d}\u{200d}य 👩\u{200d}🔬 ❤\u{fe0f} \u{a0}",
            ),
            ("\u{1b}]0;x\u{7}\r\n\t\0\u{7f}", r"\u{1b}]0;x\u{7}\r\n\t\u{0}\u{7f}"),
            ("\u{9b}31m\u{85}\u{2028}\u{2029}", r"\u{9b}31m\u{85}\u{2028}\u{2029}"),
            (
                "\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
                r"\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            ),
            (
                "a\u{200b}b\u{feff}c\u{ad}d\u{e0041}e\u{e0101}",
                r"a\u{200b}b\u{feff}c\u{ad}d\u{e0041}e\u{e0101}",
            ),
        ] {
            let once = Untrusted::new(text).to_string();
            assert_eq!(once, wanted);
            assert_eq!(Untrusted::new(&once).to_string(), wanted, "twice is once");
            assert_eq!(String::from(Untrusted::new(text)), wanted);
        }
    }

    #[test]
    fn what_can_be_seen_is_not_escaped() {
        // `char::escape_debug` knows the categories: it leaves letters, numbers, signs and the plain space as they are.
        let seen = |c: char| c.escape_debug().count() == 1 || "\"'\\".contains(c);
        for c in '\0'..='\u{1fff}' {
            let blank = ('\u{115f}'..='\u{1160}').contains(&c) || ('\u{17b4}'..='\u{180f}').contains(&c);
            assert!(!seen(c) || is_safe(c) || blank, "{:?} can be seen", c);
        }
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_narrow_padded() {
        assert_eq!(Untrusted::new("abcdef").at_most(3).to_string(), "abc...");
        assert_eq!(Untrusted::new("abc").at_most(3).to_string(), "abc");
        assert_eq!(Untrusted::short(&"ä".repeat(81)).to_string(), format!("{}...", "ä".repeat(80)));
        assert_eq!(format!("{:>8}|{:<6}|", Untrusted::new("a\n"), Untrusted::new("b")), "     a\\n|b     |");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;
        let name = OsStr::from_bytes(b"a\xff\xc3\x28\xe2\x80.png");
        assert_eq!(Untrusted::new(name).to_string(), r"a\xff\xc3(\xe2\x80.png");
        assert_eq!(Untrusted::new(std::path::Path::new(name)).at_most(2).to_string(), r"a\xff...");
    }
}
