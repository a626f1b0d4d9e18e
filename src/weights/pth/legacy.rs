//! The format before PyTorch 1.6: pickles of a magic number, of a version, of properties of the machine, of the object and of
//! the keys of its storages; then the storages, each after its number of elements.

use super::objects::{Objects, Storage, Value};
use super::pickle::{MAX_PICKLE, Pickle, unpickle};
use super::{DAMAGED, SAVE_STATE_DICT};
use crate::error::{Error, Result, Untrusted};
use crate::weights::bytes::Bytes;
use std::collections::HashMap;

/// The magic number 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// The offset and the number of elements of each storage, by key.
pub type Storages = HashMap<String, (u64, usize)>;

/// Reads the pickles at the start of a file, all at once.
pub fn head(bytes: &Bytes) -> Result<Vec<u8>> {
    // The length fits into usize, because it is at most MAX_PICKLE.
    bytes.read(0, bytes.len().min(MAX_PICKLE as u64) as usize)
}

/// Reads the object of a file, and finds its storages.
///
/// # Errors
/// [`Error::Data`] if the file is damaged or another pickle.
pub fn open<'a>(bytes: &Bytes, head: &'a [u8]) -> Result<(Pickle<'a>, Storages)> {
    let stranger = || Error::data("this pickle is none that torch.save made").hint(SAVE_STATE_DICT);
    // A pickle that is not a number may be hostile. The error of reading it is reported.
    let magic = unpickle(head, 0)?;
    match magic.top {
        Value::Long(number) if magic.objects.bytes(number) == MAGIC => {}
        _ => return Err(stranger()),
    }
    let version = unpickle(head, magic.end)?;
    if version.top != Value::Int(VERSION) {
        return Err(
            Error::data(format!("a version of the format other than {VERSION}")).hint(SAVE_STATE_DICT)
        );
    }
    let machine = unpickle(head, version.end)?;
    check_byte_order(&machine)?;
    let object = unpickle(head, machine.end)?;
    let keys = unpickle(head, object.end)?;
    let places = storages(bytes, &object.objects, &keys)?;
    Ok((object, places))
}

fn check_byte_order(machine: &Pickle) -> Result<()> {
    let Value::Dict(place) = machine.top else {
        return Err(Error::data("nothing is said about the machine that wrote it").hint(DAMAGED));
    };
    let pairs = machine.objects.items(place).as_chunks().0;
    let little = pairs.iter().find(|[key, _]| machine.objects.text(*key) == Some("little_endian"));
    if little.is_some_and(|[_, value]| *value == Value::Bool(false)) {
        return Err(Error::data("its numbers are big-endian").hint("save it on a little-endian machine"));
    }
    Ok(())
}

/// Finds the storages behind the pickles.
fn storages(bytes: &Bytes, objects: &Objects, keys: &Pickle) -> Result<Storages> {
    let Value::List(list) = keys.top else {
        return Err(Error::data("its storages have no list of keys").hint(DAMAGED));
    };
    let known: HashMap<&str, &Storage> = objects.storages().iter().map(|s| (s.key.as_str(), s)).collect();
    let mut places = HashMap::new();
    let mut at = keys.end as u64;
    for key in keys.objects.items(list) {
        let key = match *key {
            Value::Int(key) => key.to_string(),
            key => keys.objects.text(key).unwrap_or_default().to_owned(),
        };
        let fault =
            |what: String| Error::data(what).at(format!("storage {}", Untrusted::short(&key))).hint(DAMAGED);
        let storage = known.get(key.as_str()).ok_or_else(|| fault("no tensor uses it".to_owned()))?;
        let count = bytes.read(at, 8).map_err(|e| e.at(format!("storage {}", Untrusted::short(&key))))?;
        let count = count.try_into().map_or(0, u64::from_le_bytes);
        if count != storage.elements as u64 {
            return Err(fault(format!(
                "it has {count} numbers in one place and {} in another",
                storage.elements
            )));
        }
        let start = at + 8;
        let length = super::rebuild::bytes(storage).map(|length| length as u64);
        let end = length.and_then(|length| start.checked_add(length)).filter(|end| *end <= bytes.len());
        at = end.ok_or_else(|| fault("it is longer than the file".to_owned()))?;
        if places.insert(key.clone(), (start, storage.elements)).is_some() {
            return Err(fault("it occurs twice".to_owned()));
        }
    }
    Ok(places)
}

/// The offset of a storage.
pub fn locate(places: &Storages, storage: &Storage) -> Result<u64> {
    match places.get(&storage.key) {
        Some((start, elements)) if *elements == storage.elements => Ok(*start),
        _ => Err(Error::data("it is not there")
            .at(format!("storage {}", Untrusted::short(&storage.key)))
            .hint(DAMAGED)),
    }
}
