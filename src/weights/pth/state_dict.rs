//! Finds the weights among the objects of a checkpoint.

use super::objects::{Objects, Value, View};
use super::{Averages, SAVE_STATE_DICT};
use crate::error::{Error, Result, Untrusted};

/// The keys of a checkpoint under which weights are searched, in this order.
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

/// The keys of a checkpoint under which a running average of the weights is searched: those of timm, torchvision and others.
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

/// The most keys that a message lists.
const MOST_LISTED: usize = 12;

/// Tensors with their names.
pub type Named<'a> = Vec<(&'a str, &'a View)>;

/// The weights of a checkpoint.
pub struct Chosen<'a> {
    pub tensors: Named<'a>,
    pub averages: Averages,
}

/// Finds the weights of a checkpoint. If the mapping itself is a state dict, these are its tensors. Otherwise they are the tensors under
/// the first key for weights whose value is a state dict or contains one. `averaged` chooses between averaged and plain weights; `None`
/// takes the averaged ones.
///
/// # Errors
/// [`Error::Data`] if there are no weights. The message says what the checkpoint holds instead.
pub fn choose<'a>(objects: &'a Objects, top: Value, averaged: Option<bool>) -> Result<Chosen<'a>> {
    let Value::Dict(place) = top else {
        let what = match top {
            Value::Tensor(_) => "a single tensor",
            Value::List(_) | Value::Tuple(_) => "a list",
            _ => "neither tensors nor a mapping",
        };
        return Err(
            Error::data(format!("it holds {what}, where names of tensors are needed")).hint(SAVE_STATE_DICT)
        );
    };
    let plain = match named(objects, top) {
        Some(tensors) => Some((String::new(), tensors)),
        None => under(objects, top, &KEYS)?,
    };
    let (mut average, mut unread) = (None, None);
    for (around, mapping) in places(objects, top)? {
        let key =
            |inner: &str| if around.is_empty() { inner.to_owned() } else { format!("{around}.{inner}") };
        if let Some((inner, tensors)) = under(objects, mapping, &AVERAGED)?.filter(|_| average.is_none()) {
            average = Some((key(&inner), tensors));
        }
        for inner in AVERAGED {
            if value_of(objects, mapping, inner)?.is_some_and(|value| holds_tensors(objects, value, DEPTH)) {
                unread = unread.or(Some(key(inner)));
            }
        }
    }
    let alone = |tensors, averages| Ok(Chosen { tensors, averages });
    match (plain, average, unread) {
        (Some((plain, tensors)), Some((average, averages)), _) => {
            let taken = averaged.unwrap_or(true);
            let tensors = if taken { averages } else { tensors };
            alone(tensors, Averages::Both { taken, average, plain })
        }
        (Some(_), None, Some(key)) if averaged == Some(true) => Err(Error::data(format!(
            "its averaged weights, under {}, cannot be read",
            Untrusted::short(&key)
        ))
        .hint("save them alone in PyTorch, as a mapping of names to tensors")),
        (Some((_, tensors)), None, Some(average)) => alone(tensors, Averages::Unread { average }),
        (Some((_, tensors)), None, None) => alone(tensors, Averages::None),
        (None, Some((_, tensors)), _) => alone(tensors, Averages::Only),
        (None, None, _) => Err(nothing(objects, objects.items(place))),
    }
}

/// The mappings in which averaged weights may be: the top, and the mappings under keys of weights. With the prefix of their keys.
fn places(objects: &Objects, top: Value) -> Result<Vec<(String, Value)>> {
    let mut places = vec![(String::new(), top)];
    for key in KEYS {
        let Some(value) = value_of(objects, top, key)? else { continue };
        places.push((key.to_owned(), value));
        for inner in KEYS {
            places.extend(value_of(objects, value, inner)?.map(|value| (format!("{key}.{inner}"), value)));
        }
    }
    Ok(places)
}

/// How deep in lists and mappings unusable tensors are searched, and among how many items of each.
const DEPTH: usize = 3;
const ITEMS: usize = 64;

/// Whether a value is a tensor or contains tensors.
fn holds_tensors(objects: &Objects, value: Value, depth: usize) -> bool {
    match value {
        Value::Tensor(_) => true,
        Value::List(place) | Value::Tuple(place) | Value::Dict(place) => {
            let mut items = objects.items(place).iter().take(ITEMS);
            depth > 0 && items.any(|item| holds_tensors(objects, *item, depth - 1))
        }
        _ => false,
    }
}

/// The tensors under the first of some keys that has a state dict, or a mapping that contains one.
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

/// The value of a key in a mapping.
fn value_of(objects: &Objects, mapping: Value, key: &str) -> Result<Option<Value>> {
    let Value::Dict(place) = mapping else { return Ok(None) };
    let pairs = objects.items(place).as_chunks().0.iter();
    let mut found = pairs.filter(|[name, _]: &&[Value; 2]| objects.text(*name) == Some(key));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(Error::data(format!("the key {key} occurs twice")).hint(super::DAMAGED)),
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
    Error::data(format!("no mapping of names to tensors is found in it: {what}")).hint(SAVE_STATE_DICT)
}

/// The tensors of a mapping that holds mostly tensors. Modules may store other objects beside them.
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
