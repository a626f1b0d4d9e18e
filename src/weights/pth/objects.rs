//! What a pickle has made. All lists lie side by side and hold numbers of others, so that neither nesting nor
//! a ring of objects costs stack, and a bound on their number bounds the memory.

use super::globals::{Global, Scalar};
use crate::error::{Error, Result};

/// Values that a pickle may make in all; a checkpoint of ResNet-152 with its optimiser makes some 20,000.
const MAX_VALUES: usize = 1 << 21;
/// Lists, tuples and mappings among them.
const MAX_LISTS: usize = 1 << 19;
/// Tensors, and storages.
const MAX_TENSORS: usize = 1 << 16;

/// A part of the pickle's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub length: u32,
}

/// An object. The numbers are places in [`Objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Something without meaning for weights.
    Opaque,
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian.
    Long(Span),
    /// UTF-8, which has been checked.
    Text(Span),
    Tuple(u32),
    List(u32),
    /// Keys and values in turn.
    Dict(u32),
    Global(Global),
    Storage(u32),
    Tensor(u32),
}

/// Numbers in the file, as the pickle announces them.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Under which it is found.
    pub key: String,
    pub scalar: Scalar,
    /// How many numbers.
    pub elements: usize,
}

/// A tensor: some numbers of a storage.
#[derive(Debug, Clone)]
pub struct View {
    /// A place in [`Objects::storages`].
    pub storage: u32,
    pub scalar: Scalar,
    /// The first number.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// From one number to the next along each dimension, in numbers.
    pub strides: Vec<usize>,
}

/// Everything that a pickle has made.
#[derive(Debug)]
pub struct Objects<'a> {
    bytes: &'a [u8],
    lists: Vec<Vec<Value>>,
    storages: Vec<Storage>,
    views: Vec<View>,
    spent: usize,
}

impl<'a> Objects<'a> {
    /// Nothing yet, of a pickle in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, lists: Vec::new(), storages: Vec::new(), views: Vec::new(), spent: 0 }
    }

    /// To be asked before values are made.
    pub fn spend(&mut self, values: usize) -> Result<()> {
        self.spent = self.spent.saturating_add(values);
        limit(self.spent, MAX_VALUES, "objects")
    }

    /// Adds what a list, a tuple or a mapping holds.
    pub fn add_list(&mut self, items: Vec<Value>) -> Result<u32> {
        limit(self.lists.len(), MAX_LISTS, "lists")?;
        self.lists.push(items);
        Ok((self.lists.len() - 1) as u32)
    }

    pub fn add_storage(&mut self, storage: Storage) -> Result<Value> {
        limit(self.storages.len(), MAX_TENSORS, "storages")?;
        self.storages.push(storage);
        Ok(Value::Storage((self.storages.len() - 1) as u32))
    }

    pub fn add_view(&mut self, view: View) -> Result<Value> {
        limit(self.views.len(), MAX_TENSORS, "tensors")?;
        self.views.push(view);
        Ok(Value::Tensor((self.views.len() - 1) as u32))
    }

    /// The items of a list, a tuple or a mapping.
    pub fn items(&self, place: u32) -> &[Value] {
        self.lists.get(place as usize).map(Vec::as_slice).unwrap_or_default()
    }

    /// The same, to add to them.
    pub fn items_mut(&mut self, place: u32) -> Option<&mut Vec<Value>> {
        self.lists.get_mut(place as usize)
    }

    /// The items of a tuple.
    pub fn tuple(&self, value: Value) -> Option<&[Value]> {
        if let Value::Tuple(place) = value { Some(self.items(place)) } else { None }
    }

    pub fn storage(&self, place: u32) -> Option<&Storage> {
        self.storages.get(place as usize)
    }

    pub fn storages(&self) -> &[Storage] {
        &self.storages
    }

    pub fn view(&self, place: u32) -> Option<&View> {
        self.views.get(place as usize)
    }

    /// The bytes of a number or a text.
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        let start = span.start as usize;
        self.bytes.get(start..start.saturating_add(span.length as usize)).unwrap_or_default()
    }

    /// A text, if the value is one.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        if let Value::Text(span) = value { std::str::from_utf8(self.bytes(span)).ok() } else { None }
    }
}

fn limit(count: usize, most: usize, what: &str) -> Result<()> {
    if count < most {
        return Ok(());
    }
    Err(Error::data(format!("it makes more than {most} {what}")).hint(super::SAVE_STATE_DICT))
}
