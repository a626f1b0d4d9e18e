//! Makes the storages, tensors and mappings that the functions and classes in a pickle would make.

use super::SAVE_STATE_DICT;
use super::globals::Global;
use super::objects::{Objects, Storage, Value, View};
use crate::error::{Error, Result, Untrusted};

/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// The result of calling a name with these arguments.
pub fn apply(objects: &mut Objects, function: Value, arguments: Value) -> Result<Value> {
    let Value::Global(global) = function else {
        return Err(Error::data("it calls something that is no function"));
    };
    let arguments = objects.tuple(arguments).ok_or_else(|| Error::data("arguments that are no tuple"))?;
    match (global, arguments) {
        // (function, class, its arguments, attributes)
        (Global::FromType, [function, _, arguments, ..]) => {
            if matches!(function, Value::Global(Global::FromType)) {
                return Err(Error::data("a function that calls itself"));
            }
            let (function, arguments) = (*function, *arguments);
            apply(objects, function, arguments)
        }
        (Global::Parameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
        (Global::Size, [sizes @ Value::Tuple(_)]) => Ok(*sizes),
        (Global::Inert, _) => Ok(Value::Opaque),
        (Global::Dict, [list @ (Value::List(_) | Value::Dict(_) | Value::Tuple(_)), ..]) => {
            let list = *list;
            mapping(objects, list)
        }
        // No argument, or the factory of a defaultdict.
        (Global::Dict, _) => Ok(Value::Dict(objects.add_list(Vec::new())?)),
        (Global::Tensor | Global::TensorV2 | Global::TensorV3, arguments) => {
            let view = tensor(objects, global, arguments)?;
            objects.add_view(view)
        }
        _ => Err(Error::data(format!("arguments that {} does not take", name(global)))),
    }
}

const fn name(global: Global) -> &'static str {
    match global {
        Global::Storage(_) | Global::Dtype(_) => "a type of numbers",
        Global::Parameter => "a parameter",
        Global::Size => "torch.Size",
        Global::FromType => "torch._tensor._rebuild_from_type_v2",
        _ => "a tensor",
    }
}

/// Makes a mapping from a list of pairs, as Python 2 wrote it, or copies another one.
fn mapping(objects: &mut Objects, list: Value) -> Result<Value> {
    let mut items = Vec::new();
    match list {
        Value::Dict(place) => items.extend_from_slice(objects.items(place)),
        Value::List(place) | Value::Tuple(place) => {
            for pair in objects.items(place) {
                let pair = match pair {
                    Value::List(pair) | Value::Tuple(pair) => objects.items(*pair),
                    _ => &[],
                };
                let &[key, value] = pair else {
                    return Err(Error::data("a mapping of something else than pairs"));
                };
                items.extend([key, value]);
            }
        }
        _ => {}
    }
    objects.spend(items.len())?;
    Ok(Value::Dict(objects.add_list(items)?))
}

/// Makes the storage of a persistent id: ('storage', class, key, device, number of elements).
pub fn storage(objects: &mut Objects, id: Value) -> Result<Value> {
    let id = objects.tuple(id).ok_or_else(|| Error::data("a storage that is no tuple"))?;
    if let Some(kind) = id.first().and_then(|kind| objects.text(*kind)).filter(|kind| *kind != "storage") {
        let what = format!("the file holds a {}, not numbers alone", Untrusted::short(kind));
        return Err(Error::data(what).hint(SAVE_STATE_DICT));
    }
    let [_, class, key, _, elements, rest @ ..] = id else {
        return Err(Error::data("a storage with too few items"));
    };
    if !matches!(rest, [] | [Value::None]) {
        return Err(Error::data("a part of a storage, as PyTorch before 0.4 wrote it")
            .hint("load the file in PyTorch and save it again"));
    }
    let Value::Global(Global::Storage(scalar)) = *class else {
        return Err(Error::data("a storage of no type of numbers that is known here"));
    };
    let key = match *key {
        // Python 2, or a key that is a number.
        Value::Int(key) => key.to_string(),
        key => objects.text(key).ok_or_else(|| Error::data("a storage without a key"))?.to_owned(),
    };
    let elements = size(*elements).ok_or_else(|| Error::data("a storage without a size"))?;
    objects.add_storage(Storage { key, scalar, elements })
}

/// Makes a tensor from (storage, offset, shape, strides, ..).
fn tensor(objects: &Objects, global: Global, arguments: &[Value]) -> Result<View> {
    let [Value::Storage(place), offset, shape, strides, rest @ ..] = arguments else {
        return Err(Error::data("a tensor with too few arguments"));
    };
    let storage = objects.storage(*place).ok_or_else(|| Error::data("a tensor without a storage"))?;
    let (scalar, metadata) = match (global, rest) {
        (Global::TensorV3, [_, _, Value::Global(Global::Dtype(scalar)), metadata @ ..]) => {
            (*scalar, metadata)
        }
        (Global::TensorV3, _) => return Err(Error::data("a tensor without a type of numbers")),
        (Global::TensorV2, [_, _, metadata @ ..]) => (storage.scalar, metadata),
        _ => (storage.scalar, Default::default()),
    };
    // Flags of a tensor whose elements stand for their negative or conjugate.
    if let Some(Value::Dict(metadata)) = metadata.first()
        && !objects.items(*metadata).is_empty()
    {
        return Err(Error::data("a tensor whose numbers are to be negated or conjugated")
            .hint("save tensor.resolve_neg().resolve_conj()"));
    }
    let sizes = |value: &Value| -> Option<Vec<usize>> {
        let items = objects.tuple(*value).filter(|items| items.len() <= MAX_RANK)?;
        items.iter().map(|item| size(*item)).collect()
    };
    let offset = size(*offset).ok_or_else(|| Error::data("a tensor without an offset"))?;
    let shape = sizes(shape).ok_or_else(|| Error::data("a tensor without a usable shape"))?;
    let strides = sizes(strides).filter(|strides| strides.len() == shape.len());
    let strides = strides.ok_or_else(|| Error::data("a tensor without usable strides"))?;
    let view = View { storage: *place, scalar, offset, shape, strides };
    check(&view, storage)?;
    Ok(view)
}

/// Checks that a tensor lies within its storage and does not have more elements than it.
fn check(view: &View, storage: &Storage) -> Result<()> {
    let describe = || format!("a tensor of shape {:?} and strides {:?}", view.shape, view.strides);
    let bytes = storage.elements.checked_mul(storage.scalar.bytes());
    // Only torch._utils._rebuild_tensor_v3 makes a tensor of another type than its storage.
    let there =
        bytes.map(|bytes| bytes / view.scalar.bytes()).ok_or_else(|| Error::data("an endless storage"))?;
    // Sizes of 0 are left out, so that no product of the other sizes overflows either.
    let most = view.shape.iter().try_fold(1, |all: usize, size| all.checked_mul((*size).max(1)));
    let most = most.ok_or_else(|| Error::data(format!("{} is endless", describe())))?;
    let elements = if view.shape.contains(&0) { 0 } else { most };
    if elements == 0 {
        return Ok(());
    }
    let mut last = Some(view.offset);
    for (size, stride) in view.shape.iter().zip(&view.strides) {
        last = last.zip((size - 1).checked_mul(*stride)).and_then(|(last, step)| last.checked_add(step));
    }
    if last.is_none_or(|last| last >= there) {
        let offset = view.offset;
        return Err(Error::data(format!(
            "{} from number {offset} on leaves its storage of {there} numbers",
            describe()
        )));
    }
    if elements > there {
        return Err(Error::data(format!("{} repeats the numbers of its storage", describe()))
            .hint("save tensor.contiguous()"));
    }
    Ok(())
}

fn size(value: Value) -> Option<usize> {
    if let Value::Int(value) = value { usize::try_from(value).ok() } else { None }
}

/// The size of a storage in bytes. [`check`] has made sure that it does not overflow for a storage that a tensor uses.
pub const fn bytes(storage: &Storage) -> Option<usize> {
    storage.elements.checked_mul(storage.scalar.bytes())
}

/// The distance of the first element of a tensor from the start of its storage, in bytes.
pub const fn offset(view: &View) -> usize {
    view.offset.saturating_mul(view.scalar.bytes())
}
