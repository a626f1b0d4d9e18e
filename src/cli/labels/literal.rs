//! Lists, dictionaries, texts and numbers as Python and JSON write them.

use std::iter::Peekable;
use std::str::Chars;

/// Lists in lists; deeper ones hold no names.
const MAX_DEPTH: usize = 3;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Number(u64),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// The one value that a text is; `None` if it is none.
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

    /// Whether this comes next, which is then over.
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
                    'x' => text.push(char::from_u32(self.hex(2)?)?),
                    'u' => {
                        let unit = self.hex(4)?;
                        text.push(match unit {
                            // JSON writes what is beyond 16 bits as two halves.
                            0xd800..0xdc00 => {
                                let low = (self.left.next()? == '\\' && self.left.next()? == 'u')
                                    .then(|| self.hex(4))??;
                                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?
                            }
                            unit => char::from_u32(unit)?,
                        });
                    }
                    c => text.push(c),
                },
                c => text.push(c),
            }
        }
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |number, _| Some(16 * number + self.left.next()?.to_digit(16)?))
    }
}
