//! The only code that writes to standard output and standard error. It escapes control characters, so no text can
//! control the terminal.

use crate::error::{Error, Result, Untrusted, is_safe};
use clap::Parser;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};
use std::io::{self, Write};

/// Writes a message to standard error. Errors are ignored, because there is nowhere to report them.
pub(super) fn tell(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", Untrusted::new(line.as_ref()));
}

/// Prints a line to standard output. A closed pipe is an error, not a panic.
pub(super) fn print(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", Untrusted::new(line))
        .and_then(|()| out.flush())
        .map_err(|e| Error::io(format!("cannot write: {e}")).at("standard output"))
}

/// Prints a result as one line of JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    print(&json(value)?)
}

/// JSON in which every character that [`Untrusted`] would escape is written as `\u....`. A JSON parser reads the same
/// text, and a terminal gets no control characters.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    let fault = |e: &dyn std::fmt::Display| Error::internal(format!("cannot be written as JSON: {e}"));
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Escaping)).map_err(|e| fault(&e))?;
    String::from_utf8(bytes).map_err(|e| fault(&e))
}

/// Like [`CompactFormatter`], but escapes unsafe characters in strings.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| !is_safe(*c)) {
            CompactFormatter.write_string_fragment(out, &rest[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

/// Prints the error in the arguments or the requested help, and returns the exit code. The message repeats an
/// argument, which may be an untrusted file name that a shell has inserted. Therefore the escaped arguments are parsed
/// again, and their message is printed.
pub(super) fn usage<P: Parser>(error: clap::Error) -> u8 {
    let escaped = std::env::args_os().map(|argument| String::from(Untrusted::new(&argument)));
    match P::try_parse_from(escaped) {
        // `clap` prints colours if the terminal supports them. Errors are ignored, because there is nowhere to report
        // them.
        Err(error) => drop(error.print()),
        Ok(_) => error.render().to_string().lines().for_each(tell),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_text_in_other_characters() {
        let text = "a\"\\\u{1b}\u{7f}\u{9b}\u{202e}ü犬\u{e0041}\n\u{200b}";
        let written = json(&text).unwrap();
        assert_eq!(written, r#""a\"\\\u001b\u007f\u009b\u202eü犬\udb40\udc41\n\u200b""#);
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        let value = serde_json::json!({ text: [1, 0.5, null, { "b": true }] });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&value).unwrap()).unwrap(), value);
    }
}
