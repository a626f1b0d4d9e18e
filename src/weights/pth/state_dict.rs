//! Which of the objects of a checkpoint are the weights.

use super::SAVE_STATE_DICT;
use super::objects::{Objects, Value, View};
use crate::error::{Error, Result, Untrusted};

/// Under which keys of a checkpoint the weights are looked for, in this order.
const KEYS: [&str; 7] = ["state_dict", "model_state_dict", "model", "net", "network", "weights", "params"];

/// How many keys a message lists.
const MOST_LISTED: usize = 12;

/// The names of the weights with their tensors: those of the mapping itself if it holds nothing else,
/// otherwise those under the first of [`KEYS`] that is such a mapping.
///
/// # Errors
/// [`Error::Data`] saying what is there instead.
pub fn choose<'a>(objects: &'a Objects, top: Value) -> Result<Vec<(&'a str, &'a View)>> {
    let Value::Dict(place) = top else {
        let what = match top {
            Value::Tensor(_) => "a single tensor",
            Value::List(_) | Value::Tuple(_) => "a list",
            _ => "neither tensors nor a mapping",
        };
        return Err(
            Error::data(format!("it holds {what}, where names of tensors are needed")).cure(SAVE_STATE_DICT)
        );
    };
    if let Some(tensors) = named(objects, top) {
        return Ok(tensors);
    }
    let items = objects.items(place);
    let value_of = |key: &str| {
        let mut found = items.as_chunks().0.iter().filter(|[name, _]| objects.text(*name) == Some(key));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => {
                Err(Error::data(format!("the key {key} occurs twice")).cure(super::DAMAGED))
            }
            (first, _) => Ok(first.map(|[_, value]| *value)),
        }
    };
    for key in KEYS {
        if let Some(tensors) = value_of(key)?.and_then(|value| named(objects, value)) {
            return Ok(tensors);
        }
    }
    let keys = items.as_chunks().0.iter().map(|[name, _]: &[Value; 2]| match objects.text(*name) {
        Some(name) => Untrusted::short(name).into(),
        None => "(no text)".to_owned(),
    });
    let count = items.len() / 2;
    let mut listed = keys.take(MOST_LISTED).collect::<Vec<_>>().join(", ");
    if count > MOST_LISTED {
        listed = format!("{listed} and {} more", count - MOST_LISTED);
    }
    let what =
        if count == 0 { "the mapping in it is empty".to_owned() } else { format!("its keys are {listed}") };
    Err(Error::data(format!("no mapping of names to tensors is found in it: {what}")).cure(SAVE_STATE_DICT))
}

/// The tensors of a mapping that holds nothing else.
fn named<'a>(objects: &'a Objects, value: Value) -> Option<Vec<(&'a str, &'a View)>> {
    let Value::Dict(place) = value else { return None };
    let pairs = objects.items(place).as_chunks().0.iter();
    let tensors = pairs.map(|[name, value]| match value {
        Value::Tensor(view) => objects.text(*name).zip(objects.view(*view)),
        _ => None,
    });
    tensors.collect::<Option<Vec<_>>>().filter(|tensors| !tensors.is_empty())
}
