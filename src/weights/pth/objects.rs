//! The objects of a pickle. They refer to each other by index, so that nested or cyclic objects need no recursion. A limit on their number
//! limits the memory.

use super::globals::{Global, Scalar};
use crate::error::{Error, Result};

/// The most values of a pickle. A checkpoint of ResNet-152 with its optimiser has about 20,000.
const MAX_VALUES: usize = 1 << 21;
/// The most lists, tuples and mappings of a pickle.
const MAX_LISTS: usize = 1 << 19;
/// The most tensors, and the most storages, of a pickle.
const MAX_TENSORS: usize = 1 << 16;

/// A range of the bytes of the pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub length: u32,
}

/// An object. The numbers are indices in [`Objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// An object without meaning for weights.
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
    /// A mapping: keys and values in turn.
    Dict(u32),
    Global(Global),
    Storage(u32),
    Tensor(u32),
}

/// A storage: an array of numbers in the file, as the pickle describes it.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The key of its bytes in the file.
    pub key: String,
    pub scalar: Scalar,
    /// The number of elements.
    pub elements: usize,
}

/// A tensor: a strided view of a storage.
#[derive(Debug, Clone)]
pub struct View {
    /// The index in [`Objects::storages`].
    pub storage: u32,
    pub scalar: Scalar,
    /// The index of the first element in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// The distance from one element to the next along each dimension, in elements.
    pub strides: Vec<usize>,
}

/// All objects of a pickle.
#[derive(Debug)]
pub struct Objects<'a> {
    bytes: &'a [u8],
    lists: Vec<Vec<Value>>,
    storages: Vec<Storage>,
    views: Vec<View>,
    spent: usize,
}

impl<'a> Objects<'a> {
    /// No objects yet, for a pickle in these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, lists: Vec::new(), storages: Vec::new(), views: Vec::new(), spent: 0 }
    }

    /// Checks the limit before values are made.
    pub fn spend(&mut self, values: usize) -> Result<()> {
        self.spent = self.spent.saturating_add(values);
        limit(self.spent, MAX_VALUES, "objects")
    }

    /// Adds the items of a list, a tuple or a mapping.
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

    /// The items of a list or a mapping, to add to them.
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

    /// The bytes of a long integer or a text.
    pub fn bytes(&self, span: Span) -> &'a [u8] {
        let start = span.start as usize;
        self.bytes.get(start..start.saturating_add(span.length as usize)).unwrap_or_default()
    }

    /// The text, if the value is a text.
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
