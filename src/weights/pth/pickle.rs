//! A reader of pickles. It knows a fixed set of opcodes and names, and executes nothing. The opcodes are those of Python's
//! `pickletools`, protocols 0 to 5, without those that weights do not need.

use super::globals;
use super::objects::{Objects, Span, Value};
use super::{DAMAGED, SAVE_STATE_DICT, rebuild};
use crate::error::{Error, Result, Untrusted};
use std::collections::HashMap;

/// The largest pickle that is read, in bytes. That of a checkpoint of ResNet-152 with its optimiser has 300 kB.
pub const MAX_PICKLE: usize = 16 << 20;

/// The most values in the memo.
const MAX_MEMO: usize = 1 << 19;

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<'a> {
    /// The object that was pickled.
    pub top: Value,
    /// All objects in it.
    pub objects: Objects<'a>,
    /// The offset of its end.
    pub end: usize,
}

/// Reads the pickle that starts at offset `start`.
///
/// # Errors
/// [`Error::Data`] with the first opcode, name or object that is refused.
pub fn unpickle(bytes: &[u8], start: usize) -> Result<Pickle<'_>> {
    let objects = Objects::new(bytes);
    let mut machine =
        Machine { bytes, at: start, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(top)) => return Ok(Pickle { top, objects: machine.objects, end: machine.at }),
            Err(error) => {
                let hint = Some(error.report().hint.clone()).filter(|hint| !hint.is_empty());
                let error = error.at(format!("byte {at} of the pickle"));
                return Err(error.hint(hint.unwrap_or_else(|| DAMAGED.into())));
            }
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// The heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    objects: Objects<'a>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode. Returns the value of the pickle after the last one. The function is long because it is a table: one arm
    /// for each opcode.
    fn step(&mut self) -> Result<Option<Value>> {
        let code = self.fixed::<1>()?[0];
        match code {
            b'.' => return self.pop().map(Some),
            // The protocol and frames have no effect on the objects.
            0x80 => {
                let protocol = self.fixed::<1>()?[0];
                if protocol > 5 {
                    return Err(Error::data(format!("a pickle of protocol {protocol}")));
                }
            }
            0x95 => drop(self.fixed::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            // POP removes a mark if it is on top.
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.push(top)?;
                self.push(top)?;
            }
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'I' | b'L' | b'F' => self.number_as_text(code)?,
            b'J' => self.int(|m| Ok(i32::from_le_bytes(m.fixed()?).into()))?,
            b'K' => self.int(|m| Ok(u8::from_le_bytes(m.fixed()?).into()))?,
            b'M' => self.int(|m| Ok(u16::from_le_bytes(m.fixed()?).into()))?,
            0x8a | 0x8b => self.long(code == 0x8b)?,
            b'G' => {
                self.fixed::<8>()?;
                self.push(Value::Opaque)?;
            }
            b'S' | b'V' => self.text_line(code == b'S')?,
            b'U' | 0x8c | b'C' => self.counted::<1>(code != b'C')?,
            b'T' | b'X' | b'B' => self.counted::<4>(code != b'B')?,
            0x8d | 0x8e | 0x96 => self.counted::<8>(code == 0x8d)?,
            b')' | b'l' | b'd' | b't' | b']' | b'}' | 0x85..=0x87 => self.collection(code)?,
            b'a' | b'e' | b's' | b'u' => self.extend(code)?,
            // Sets do not hold weights.
            0x8f => self.push(Value::Opaque)?,
            0x90 => drop(self.pop_mark()?),
            0x91 => {
                self.pop_mark()?;
                self.push(Value::Opaque)?;
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(code)?,
            b'c' | 0x93 => self.global(code == b'c')?,
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let made = rebuild::apply(&mut self.objects, function, arguments)?;
                self.push(made)?;
            }
            // BUILD sets the attributes of an object, which are not weights.
            b'b' => {
                self.pop()?;
                let object = self.pop()?;
                self.push(object)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = rebuild::storage(&mut self.objects, id)?;
                self.push(storage)?;
            }
            _ => return Err(refused(code)),
        }
        Ok(None)
    }

    // --- Bytes ---------------------------------------------------------------------------------------------

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        let (end, taken) = taken.ok_or_else(|| {
            Error::data(format!("the pickle does not end within {} bytes", self.bytes.len()))
        })?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?.try_into();
        bytes.map_err(|_| Error::internal("a slice of another length"))
    }

    /// The bytes up to the end of the line, which is skipped.
    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let line = self.take(length)?;
        self.take(1)?;
        Ok(line)
    }

    fn line_of_text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.line()?).map_err(|_| Error::data("a name that is no UTF-8"))
    }

    /// The range of a part of the bytes that ends at the current position.
    fn span_before(&self, length: usize) -> Result<Span> {
        let start = u32::try_from(self.at.saturating_sub(length));
        match (start, u32::try_from(length)) {
            (Ok(start), Ok(length)) => Ok(Span { start, length }),
            _ => Err(Error::data("a pickle of more than 4 GiB")),
        }
    }

    // --- Stack ---------------------------------------------------------------------------------------------

    fn push(&mut self, value: Value) -> Result<()> {
        self.objects.spend(1)?;
        self.stack.push(value);
        Ok(())
    }

    /// Pops the top of the stack, which must be above the last mark.
    fn pop(&mut self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or_default();
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| Error::data("an opcode without its operands"))
    }

    /// Pops everything above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(|| Error::data("an opcode without its mark"))?))
    }

    // --- Numbers and texts ---------------------------------------------------------------------------------

    fn int(&mut self, read: impl FnOnce(&mut Self) -> Result<i64>) -> Result<()> {
        let value = read(self)?;
        self.push(Value::Int(value))
    }

    fn long(&mut self, four: bool) -> Result<()> {
        let length = if four {
            u32::from_le_bytes(self.fixed()?) as usize
        } else {
            usize::from(self.fixed::<1>()?[0])
        };
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|b| *b >= 0x80);
        let value = if length <= 8 {
            let mut wide = if negative { [0xff; 8] } else { [0; 8] };
            for (to, from) in wide.iter_mut().zip(bytes) {
                *to = *from;
            }
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Long(self.span_before(length)?)
        };
        self.push(value)
    }

    /// An integer of protocol 0.
    fn number_as_text(&mut self, code: u8) -> Result<()> {
        let text = self.line_of_text()?;
        let value = match (code, text) {
            (b'I', "00") => Value::Bool(false),
            (b'I', "01") => Value::Bool(true),
            (b'F', _) => Value::Opaque,
            _ => text.trim_end_matches('L').parse().map_or(Value::Opaque, Value::Int),
        };
        self.push(value)
    }

    /// A text of protocol 0. A text with escapes is no name of a tensor.
    fn text_line(&mut self, quoted: bool) -> Result<()> {
        let line = self.line()?;
        let unquoted = match line {
            [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] if quoted => inner,
            plain => plain,
        };
        let margin = (line.len() - unquoted.len()) / 2;
        if unquoted.contains(&b'\\') || std::str::from_utf8(unquoted).is_err() {
            return self.push(Value::Opaque);
        }
        // Without the end of the line and the closing quote.
        let mut span = self.span_before(unquoted.len())?;
        span.start -= 1 + margin as u32;
        self.push(Value::Text(span))
    }

    /// Text or bytes after their length, a number of N bytes. Python 2 wrote texts as bytes, so bytes that are UTF-8 are
    /// taken as text.
    fn counted<const N: usize>(&mut self, text: bool) -> Result<()> {
        let mut length = [0; 8];
        for (to, from) in length.iter_mut().zip(self.fixed::<N>()?) {
            *to = from;
        }
        let bytes = self.take(usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))?;
        let value = if text && std::str::from_utf8(bytes).is_ok() {
            Value::Text(self.span_before(bytes.len())?)
        } else {
            Value::Opaque
        };
        self.push(value)
    }

    // --- Collections ---------------------------------------------------------------------------------------

    fn collection(&mut self, code: u8) -> Result<()> {
        let items = match code {
            b'l' | b'd' | b't' => self.pop_mark()?,
            0x85..=0x87 => {
                let mut items: Vec<Value> = (0x84..code).map(|_| self.pop()).collect::<Result<_>>()?;
                items.reverse();
                items
            }
            _ => Vec::new(),
        };
        if code == b'd' {
            pairs(&items)?;
        }
        let place = self.objects.add_list(items)?;
        self.push(match code {
            b'l' | b']' => Value::List(place),
            b'd' | b'}' => Value::Dict(place),
            _ => Value::Tuple(place),
        })
    }

    /// Adds items to the list or mapping below them on the stack.
    fn extend(&mut self, code: u8) -> Result<()> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        let mapping = matches!(code, b's' | b'u');
        if mapping {
            pairs(&items)?;
        }
        let target = self.pop()?;
        match target {
            Value::List(place) if !mapping => self.add_items(place, items),
            Value::Dict(place) if mapping => self.add_items(place, items),
            Value::Opaque => {}
            _ => return Err(Error::data("items for something that has none")),
        }
        self.push(target)
    }

    fn add_items(&mut self, place: u32, items: Vec<Value>) {
        if let Some(list) = self.objects.items_mut(place) {
            list.extend(items);
        }
    }

    fn memory(&mut self, code: u8) -> Result<()> {
        let key = match code {
            b'p' | b'g' => {
                let text = self.line_of_text()?;
                text.parse().map_err(|_| Error::data("a place in the memo that is no number"))?
            }
            b'q' | b'h' => u64::from(self.fixed::<1>()?[0]),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.fixed()?)),
            _ => self.memo.len() as u64,
        };
        if matches!(code, b'g' | b'h' | b'j') {
            let found = self.memo.get(&key).copied();
            return self.push(found.ok_or_else(|| Error::data("a place in the memo that is empty"))?);
        }
        if self.memo.len() >= MAX_MEMO {
            return Err(
                Error::data(format!("it remembers more than {MAX_MEMO} objects")).hint(SAVE_STATE_DICT)
            );
        }
        let top = self.pop()?;
        self.stack.push(top);
        self.memo.insert(key, top);
        Ok(())
    }

    // --- Names ---------------------------------------------------------------------------------------------

    fn global(&mut self, as_lines: bool) -> Result<()> {
        let (module, name) = if as_lines {
            (self.line_of_text()?, self.line_of_text()?)
        } else {
            let name = self.pop()?;
            let module = self.pop()?;
            let texts = self.objects.text(module).zip(self.objects.text(name));
            texts.ok_or_else(|| Error::data("a name that is no text"))?
        };
        let found = globals::find(module, name);
        let alone = self.stack.is_empty() && self.marks.is_empty();
        self.push(Value::Global(found.ok_or_else(|| stranger(module, name, alone))?))
    }
}

fn pairs(items: &[Value]) -> Result<()> {
    if items.len().is_multiple_of(2) { Ok(()) } else { Err(Error::data("a key without its value")) }
}

/// The error of a name that is not allowed. `alone` is whether nothing came before: then it is the class of the object that was
/// saved.
fn stranger(module: &str, name: &str, alone: bool) -> Error {
    let full = format!("{}.{}", Untrusted::short(module), Untrusted::short(name));
    let last = name.rsplit('.').next().unwrap_or(name);
    let class = last.trim_start_matches('_').starts_with(char::is_uppercase);
    let what = if class && alone {
        format!("this is a whole object of the class {full} with its code, not numbers alone")
    } else if class {
        format!("the file wants the class {full}, whose code would have to run")
    } else {
        format!("the file wants to call {full}, and nothing is called here")
    };
    Error::data(what).hint(SAVE_STATE_DICT)
}

fn refused(code: u8) -> Error {
    let name = match code {
        b'P' => "PERSID",
        b'i' => "INST",
        b'o' => "OBJ",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return Error::data(format!("there is no opcode {code:#04x} in a pickle")),
    };
    Error::data(format!("the file uses the opcode {name}, which torch.save does not")).hint(SAVE_STATE_DICT)
}
