//! A parser of lists, dictionaries, strings and numbers in the syntax of Python and JSON.

use std::iter::Peekable;
use std::str::Chars;

/// The deepest nesting of lists. Files of names are not deeper.
const MAX_DEPTH: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Number(u64),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Parses a text as a single value; `None` if it is not one.
pub(super) fn read(text: &str) -> Option<Literal> {
    let mut reader = Reader { left: text.chars().peekable() };
    let value = reader.value(0)?;
    reader.skip();
    reader.left.next().is_none().then_some(value)
}

struct Reader<'a> {
    left: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn skip(&mut self) {
        while self.left.next_if(|c| c.is_whitespace()).is_some() {}
    }

    /// Skips this text if it comes next, and says whether it did.
    fn take(&mut self, mark: char) -> bool {
        self.skip();
        self.left.next_if_eq(&mark).is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        self.skip();
        let first = self.left.next()?;
        match first {
            '[' | '(' if depth < MAX_DEPTH => {
                let close = if first == '[' { ']' } else { ')' };
                let mut items = Vec::new();
                while !self.take(close) {
                    items.push(self.value(depth + 1)?);
                    if !self.take(',') {
                        return self.take(close).then_some(Literal::List(items));
                    }
                }
                Some(Literal::List(items))
            }
            '{' if depth < MAX_DEPTH => {
                let mut pairs = Vec::new();
                while !self.take('}') {
                    let key = self.value(depth + 1)?;
                    if !self.take(':') {
                        return None;
                    }
                    pairs.push((key, self.value(depth + 1)?));
                    if !self.take(',') {
                        return self.take('}').then_some(Literal::Dict(pairs));
                    }
                }
                Some(Literal::Dict(pairs))
            }
            '\'' | '"' => self.text(first).map(Literal::Text),
            '0'..='9' => {
                let mut digits = String::from(first);
                while let Some(digit) = self.left.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                digits.parse().ok().map(Literal::Number)
            }
            _ => None,
        }
    }

    fn text(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.left.next()? {
                c if c == quote => return Some(text),
                '\\' => match self.left.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'v' => text.push('\u{b}'),
                    'a' => text.push('\u{7}'),
                    // With more digits it is another character, in base 8.
                    '0' if !self.left.peek().is_some_and(char::is_ascii_digit) => text.push('\0'),
                    'x' => text.push(char::from_u32(self.hex(2)?)?),
                    'u' => {
                        let unit = self.hex(4)?;
                        text.push(match unit {
                            // JSON writes characters beyond 16 bits as a surrogate pair.
                            0xd800..0xdc00 => {
                                let low = (self.left.next()? == '\\' && self.left.next()? == 'u')
                                    .then(|| self.hex(4))??;
                                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?
                            }
                            unit => char::from_u32(unit)?,
                        });
                    }
                    'U' => text.push(char::from_u32(self.hex(8)?)?),
                    c @ ('\\' | '\'' | '"' | '/') => text.push(c),
                    // It would become another letter.
                    _ => return None,
                },
                c => text.push(c),
            }
        }
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits)
            .try_fold(0u32, |number, _| number.checked_mul(16)?.checked_add(self.left.next()?.to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Literal, read};

    #[test]
    fn escapes_are_the_characters_that_they_mean_or_refused() {
        for (text, means) in [
            (r"'\U0001f431 cat'", "\u{1f431} cat"),
            (r#""\ud83d\udc31 cat\/dog""#, "\u{1f431} cat/dog"),
            (r"'\b\f\v\a\0\n\t\r'", "\u{8}\u{c}\u{b}\u{7}\0\n\t\r"),
            (r#"'\\ \' \" \x41'"#, "\\ ' \" A"),
        ] {
            assert_eq!(read(text), Some(Literal::Text(means.to_owned())), "{text}");
        }
        for text in [
            r"'\q'",
            r"'\N{CAT}'",
            r"'\U0001f43'",
            r"'\Uffffffff'",
            r"'\101'",
            r"'\012'",
            r"'\u12'",
            r"'\ud83d cat'",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
