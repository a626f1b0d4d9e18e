//! Reads files with the names of classes in the usual forms: one name a line, also after a number or a WordNet id; lists and
//! dictionaries of Python and JSON.

mod literal;

use crate::error::{Error, Result, Untrusted};
use literal::Literal;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes. ImageNet's names have 30 kB.
const MAX_BYTES: u64 = 16 << 20;

/// Reads the names of classes in a file, in the order of the classes.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file; [`Error::Data`] with the line if the names cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let io = |e| Error::from_io(e, "read", path);
    let place = |e: Error| e.at(Untrusted::new(path));
    // Opening a named pipe would wait forever for a writer, and a device may have no end.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(place(Error::data("this is no file").hint("give a file with one name a line")));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let what = format!("it has more than {} MiB, too many for names of classes", MAX_BYTES >> 20);
        return Err(place(Error::data(what).hint("give a file with one name a line")));
    }
    names(&text(bytes).map_err(place)?).map_err(place)
}

/// Decodes the text of a file: UTF-16 if it starts with a byte order mark of UTF-16, otherwise UTF-8.
fn text(bytes: Vec<u8>) -> Result<String> {
    let units: Vec<u16> = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => rest.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect(),
        [0xfe, 0xff, rest @ ..] => rest.as_chunks().0.iter().map(|b| u16::from_be_bytes(*b)).collect(),
        [0xef, 0xbb, 0xbf, rest @ ..] => return utf8(rest.to_vec()),
        _ => return utf8(bytes),
    };
    if bytes.len() % 2 == 1 {
        return Err(Error::data("it starts as UTF-16, and ends within a character").hint("save it as UTF-8"));
    }
    let text = String::from_utf16(&units);
    text.map_err(|_| {
        Error::data("it starts as UTF-16, and goes on as something else").hint("save it as UTF-8")
    })
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let before = e.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Error::data(format!("line {line} is not UTF-8, perhaps Latin-1")).hint("save it as UTF-8")
    })?;
    match text.split('\0').next() {
        Some(before) if before.len() < text.len() => {
            let line = 1 + before.matches('\n').count();
            Err(Error::data(format!("line {line} is no text: it holds a character 0"))
                .hint("save it as UTF-8"))
        }
        _ => Ok(text),
    }
}

fn names(text: &str) -> Result<Vec<String>> {
    if text.trim_start().starts_with(['{', '[']) {
        let read = literal::read(text).and_then(of_literal);
        return read.unwrap_or_else(|| {
            Err(Error::data("it begins as a list or a dictionary, but is none of names of classes")
                .hint("give one name a line"))
        });
    }
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
        return Err(Error::data(format!("line {} is empty", empty + 1)).hint("give one name a line"));
    }
    if let Some(named) = lines.iter().map(|line| wordnet(line)).collect() {
        return Ok(named);
    }
    if let Some(numbered) = lines.iter().map(|line| numbered(line)).collect::<Option<Vec<_>>>() {
        let marked = lines.iter().all(|line| line.trim_start_matches(DIGITS).starts_with(MARKS));
        let mut numbers: Vec<u64> = numbered.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        // A number before a space may be part of the name, as in `5 euro`.
        if marked || numbers.iter().zip(0..).all(|(n, i)| *n == i || *n == i + 1) {
            return in_order(numbered);
        }
    }
    Ok(lines.iter().map(|line| (*line).to_owned()).collect())
}

const DIGITS: fn(char) -> bool = |c| c.is_ascii_digit();
const MARKS: [char; 3] = [':', ',', '='];

/// The name after a WordNet id, as in files for ImageNet: `n01440764 tench`.
fn wordnet(line: &str) -> Option<String> {
    let digits = line.strip_prefix('n')?.get(..8)?;
    let rest = line.get(9..)?;
    digits.chars().all(DIGITS).then(|| spaced(rest)).flatten()
}

/// The name after its number: `0: tench`.
fn numbered(line: &str) -> Option<(u64, String)> {
    let rest = line.trim_start_matches(DIGITS);
    let number = line.get(..line.len() - rest.len())?.parse().ok()?;
    Some((number, spaced(rest)?))
}

/// The text after a number, which ends with a space or a punctuation mark.
fn spaced(rest: &str) -> Option<String> {
    let name = rest.trim_start().trim_start_matches(MARKS).trim_start();
    (name.len() < rest.len() && !name.is_empty()).then(|| name.to_owned())
}

/// Sorts names by their numbers.
///
/// # Errors
/// [`Error::Data`] unless the numbers are those from 0 on, each once.
fn in_order(mut named: Vec<(u64, String)>) -> Result<Vec<String>> {
    named.sort();
    if let Some(((number, name), place)) = named.iter().zip(0..).find(|((number, _), place)| number != place)
    {
        let name = Untrusted::short(name);
        return Err(Error::data(format!(
            "the numbers of the classes must go from 0 on, each once, and {place} is missing: {name} has {number}"
        ))
        .hint("number the names from 0 on, or give one name a line without numbers"));
    }
    Ok(named.into_iter().map(|(_, name)| name).collect())
}

/// The names of a list, or of a dictionary from numbers to names or from names to numbers.
fn of_literal(literal: Literal) -> Option<Result<Vec<String>>> {
    let name = |value: Literal| match value {
        Literal::Text(name) => Some(name),
        // A pair of WordNet id and name, as in Keras.
        Literal::List(items) => match items.into_iter().next_back() {
            Some(Literal::Text(name)) => Some(name),
            _ => None,
        },
        _ => None,
    };
    let pairs = match literal {
        Literal::List(items) => return items.into_iter().map(name).collect::<Option<_>>().map(Ok),
        Literal::Dict(pairs) => pairs,
        _ => return None,
    };
    let mut named: Vec<(u64, String)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        named.push(match pair {
            (Literal::Number(i), value) => (i, name(value)?),
            (Literal::Text(name), Literal::Number(i)) => (i, name),
            (Literal::Text(i), value) => (i.parse().ok()?, name(value)?),
            _ => return None,
        });
    }
    Some(in_order(named))
}

#[cfg(test)]
mod tests {
    use super::{names, text};

    fn of(bytes: &[u8]) -> Result<Vec<String>, String> {
        text(bytes.to_vec()).and_then(|text| names(&text)).map_err(|e| e.to_string())
    }

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once('\u{feff}').chain(text.chars()).collect::<String>();
        units.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    }

    #[test]
    fn files_of_names_are_read_as_they_are_found() {
        let red = Ok(vec!["red".to_owned(), "green\u{e9}".to_owned(), "light blue".to_owned()]);
        for text in [
            "red\ngreen\u{e9}\nlight blue",
            "red\r\ngreen\u{e9} \r\nlight blue\r\n",
            "\u{feff}red\ngreen\u{e9}\nlight blue\n\n \n",
            "{0: 'red',\n 1: 'green\\u00e9',\n 2: 'light blue'}\n",
            "{\"2\": \"light blue\", \"0\": \"red\", \"1\": \"green\u{e9}\"}",
            "{'red': 0, 'light blue': 2, 'green\u{e9}': 1,}",
            "['red', \"green\u{e9}\", 'light blue']",
            "{\"0\": [\"n01440764\", \"red\"], \"1\": [\"n01443537\", \"green\u{e9}\"], \"2\": (\"n0\", \"light blue\")}",
            "n01440764 red\nn01443537\tgreen\u{e9}\nn01484850: light blue\n",
            "0 red\n1 green\u{e9}\n2 light blue\n",
            "0: red\n1: green\u{e9}\n2: light blue\n",
            "0,red\n1,green\u{e9}\n2,light blue\n",
            "2: light blue\n0: red\n1: green\u{e9}\n",
            "2 light blue\n0 red\n1 green\u{e9}\n",
        ] {
            assert_eq!(of(text.as_bytes()), red, "{text}");
        }
        for big in [false, true] {
            assert_eq!(of(&utf16("red\r\ngreen\u{e9}\r\nlight blue\r\n", big)), red);
        }
        // Names that only resemble numbers and ids.
        assert_eq!(of(b"0\n1\n2\n").unwrap(), ["0", "1", "2"]);
        assert_eq!(of(b"n01440764\nn01443537\n").unwrap(), ["n01440764", "n01443537"]);
        assert_eq!(of(b"0 day\nred\n").unwrap(), ["0 day", "red"]);
        assert_eq!(of(b"1 euro\n2 euro\n5 euro\n").unwrap(), ["1 euro", "2 euro", "5 euro"]);
        assert_eq!(of(b"t-shirt\nit's\n").unwrap(), ["t-shirt", "it's"]);
    }

    #[test]
    fn files_that_are_no_names_are_refused_by_line() {
        for (bytes, what) in [
            (&b"red\ngr\xe9en\n"[..], "line 2 is not UTF-8"),
            (b"red\n\nblue\n", "line 2 is empty"),
            (b"r\0e\0d\0\n\0", "line 1 is no text"),
            (b"\xff\xfer", "ends within a character"),
            (b"\xff\xfe\x00\xd8a\0", "UTF-16"),
            (b"{0: 'red', 2: 'blue'}", "1 is missing: blue has 2"),
            (b"{0: 'red', 0: 'blue'}", "from 0 on, each once"),
            (b"{1: 'red', 2: 'green'}", "from 0 on, each once, and 0 is missing: red has 1"),
            (b"1: red\n2: green\n", "from 0 on, each once, and 0 is missing: red has 1"),
            (b"1 red\n3 blue\n2 green\n", "from 0 on, each once, and 0 is missing: red has 1"),
            (b"0: red\n0: green\n", "from 0 on, each once"),
            (b"['\\q']", "none of names"),
            (b"['red', 'blue'", "none of names"),
            (b"[['red'", "none of names"),
            (b"{'a': {}}", "none of names"),
        ] {
            let said = of(bytes).unwrap_err();
            assert!(said.contains(what), "{said}");
        }
        let deep = "[".repeat(1 << 20);
        assert!(of(deep.as_bytes()).is_err());
    }
}
