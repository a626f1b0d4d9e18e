//! Which of the objects of a checkpoint are the weights.

use super::objects::{Objects, Value, View};
use super::{Averages, SAVE_STATE_DICT};
use crate::error::{Error, Result, Untrusted};

/// Under which keys of a checkpoint the weights are looked for, in this order.
const KEYS: [&str; 10] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "net_state_dict",
    "model_state",
];

/// The same for a running average of the weights: timm's, torchvision's, others'.
const AVERAGED: [&str; 12] = [
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "ema_model_state_dict",
    "model_state_dict_ema",
    "averaged",
    "averaged_model",
    "swa_state_dict",
    "swa_model",
];

/// How many keys a message lists.
const MOST_LISTED: usize = 12;

/// Names with their tensors.
pub type Named<'a> = Vec<(&'a str, &'a View)>;

/// The weights of a checkpoint.
pub struct Chosen<'a> {
    pub tensors: Named<'a>,
    pub averages: Averages,
}

/// The names of the weights with their tensors: those of the mapping itself if it holds little else, otherwise those under the first
/// key that names weights and is such a mapping, or holds one. Of averaged and plain weights those that are wanted; the
/// averaged ones if nobody says it.
///
/// # Errors
/// [`Error::Data`] saying what is there instead.
pub fn choose<'a>(objects: &'a Objects, top: Value, averaged: Option<bool>) -> Result<Chosen<'a>> {
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
    let alone = |tensors, averages| Ok(Chosen { tensors, averages });
    if let Some(tensors) = named(objects, top) {
        return alone(tensors, Averages::None);
    }
    let (plain, average) = (under(objects, top, &KEYS)?, under(objects, top, &AVERAGED)?);
    match (plain, average) {
        (Some((key, plain)), Some((averages, average))) => {
            let take = averaged.unwrap_or(true);
            let tensors = if take { average } else { plain };
            Ok(Chosen { tensors, averages: Averages::Both { taken: take, average: averages, plain: key } })
        }
        (Some((_, tensors)), None) => alone(tensors, Averages::None),
        (None, Some((_, tensors))) => alone(tensors, Averages::Only),
        (None, None) => Err(nothing(objects, objects.items(place))),
    }
}

/// The first of some keys that holds tensors, or a mapping with a key that does.
fn under<'a>(objects: &'a Objects, top: Value, keys: &[&str]) -> Result<Option<(String, Named<'a>)>> {
    for key in keys {
        let Some(value) = value_of(objects, top, key)? else { continue };
        if let Some(tensors) = named(objects, value) {
            return Ok(Some(((*key).to_owned(), tensors)));
        }
        for inner in KEYS {
            let inside = value_of(objects, value, inner)?.and_then(|value| named(objects, value));
            if let Some(tensors) = inside {
                return Ok(Some((format!("{key}.{inner}"), tensors)));
            }
        }
    }
    Ok(None)
}

/// What a mapping has under a key.
fn value_of(objects: &Objects, mapping: Value, key: &str) -> Result<Option<Value>> {
    let Value::Dict(place) = mapping else { return Ok(None) };
    let pairs = objects.items(place).as_chunks().0.iter();
    let mut found = pairs.filter(|[name, _]: &&[Value; 2]| objects.text(*name) == Some(key));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Error::data(format!("the key {key} occurs twice")).cure(super::DAMAGED)),
        (first, _) => Ok(first.map(|[_, value]| *value)),
    }
}

fn nothing(objects: &Objects, items: &[Value]) -> Error {
    let keys = items.as_chunks().0.iter().map(|[name, _]: &[Value; 2]| match objects.text(*name) {
        Some(name) => Untrusted::short(name).to_string(),
        None => "(no text)".to_owned(),
    });
    let count = items.len() / 2;
    let mut listed = keys.take(MOST_LISTED).collect::<Vec<_>>().join(", ");
    if count > MOST_LISTED {
        listed = format!("{listed} and {} more", count - MOST_LISTED);
    }
    let what =
        if count == 0 { "the mapping in it is empty".to_owned() } else { format!("its keys are {listed}") };
    Error::data(format!("no mapping of names to tensors is found in it: {what}")).cure(SAVE_STATE_DICT)
}

/// The tensors of a mapping that holds little else: modules may put something of their own beside them.
fn named<'a>(objects: &'a Objects, value: Value) -> Option<Named<'a>> {
    let Value::Dict(place) = value else { return None };
    let pairs = objects.items(place).as_chunks().0;
    let tensors: Vec<_> = pairs
        .iter()
        .filter_map(|[name, value]: &[Value; 2]| match value {
            Value::Tensor(view) => objects.text(*name).zip(objects.view(*view)),
            _ => None,
        })
        .collect();
    (!tensors.is_empty() && 2 * tensors.len() > pairs.len()).then_some(tensors)
}
