//! Files of comma-separated values, quoted as in RFC 4180.

use crate::error::Result;
use crate::weights::write_atomically;
use std::path::Path;

/// A field of text. Text that a spreadsheet would run as a formula gets an apostrophe in front, as OWASP advises: names of files and
/// classes come from elsewhere.
pub(super) fn text(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Writes a file whole: each row is a line of fields that [`text`] has quoted, or of numbers.
pub(super) fn write(path: &Path, head: &str, rows: impl Iterator<Item = Vec<String>>) -> Result<()> {
    write_atomically(path, |file| {
        writeln!(file, "{head}")?;
        let mut rows = rows;
        rows.try_for_each(|row| writeln!(file, "{}", row.join(",")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_and_formulas_are_text() {
        for (raw, written) in [
            ("plain.png", "plain.png"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            (" space", "\" space\""),
            ("=1+1", "'=1+1"),
            ("@a,b", "\"'@a,b\""),
            ("-x", "'-x"),
            ("\ttab", "'\ttab"),
            ("", ""),
        ] {
            assert_eq!(text(raw), written);
        }
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        for count in [2, 1] {
            let rows = (0..count).map(|i| vec![text("a,b"), i.to_string()]);
            write(&path, "name,number", rows).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "name,number\n\"a,b\",0\n");
        assert!(write(&folder.path().join("none/a.csv"), "", std::iter::empty()).is_err());
    }
}
