//! Checks of the header of a safetensors file before it is parsed: sizes that would take too much memory, and faults that the crate
//! `safetensors` accepts.

use crate::error::{Error, Result, Untrusted};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// The most tensors of a file. The deepest network of this crate has 7,000, and its checkpoint twice as many.
const MAX_TENSORS: usize = 1 << 16;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Refuses a header with too many tensors or dimensions, or with two tensors of one name. Other faults are left to the parser.
///
/// # Errors
/// [`Error::Data`] with what is wrong.
pub(super) fn survey(json: &[u8]) -> Result<()> {
    let mut fault = None;
    // Only these faults count here. The parser refuses what is not JSON, at the same place.
    let _ = Names(&mut fault).deserialize(&mut serde_json::Deserializer::from_slice(json));
    fault.map_or(Ok(()), |what| {
        Err(Error::data(format!("this is no usable safetensors file: {what}"))
            .hint("it may be damaged; get it again"))
    })
}

/// Visits the object with all tensors.
struct Names<'f>(&'f mut Option<String>);

/// Visits the object of one tensor.
struct Info<'f>(&'f mut Option<String>);

/// Visits the shape of a tensor.
struct Shape<'f>(&'f mut Option<String>);

macro_rules! seed {
    ($($name:ident as $what:ident),*) => {
        $(impl<'de> DeserializeSeed<'de> for $name<'_> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> std::result::Result<(), D::Error> {
                from.$what(self)
            }
        })*
    };
}

seed! { Names as deserialize_map, Info as deserialize_map, Shape as deserialize_seq }

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Info(self.0)).inspect_err(|_| {
                    if let Some(what) = self.0.as_mut() {
                        *what = format!("the tensor {} has {what}", Untrusted::short(&name));
                    }
                })?;
            }
            // The crate would take the last of several tensors of one name.
            if let Some(name) = seen.replace(name) {
                *self.0 = Some(format!("it has two entries \"{}\"", Untrusted::short(&name)));
            } else if seen.len() > MAX_TENSORS {
                *self.0 = Some(format!("it has more than {MAX_TENSORS} tensors"));
            } else {
                continue;
            }
            return Err(A::Error::custom("no usable header"));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Info<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "shape" => map.next_value_seed(Shape(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> std::result::Result<(), A::Error> {
        let mut rank = 0;
        while sizes.next_element::<IgnoredAny>()?.is_some() {
            rank += 1;
            if rank > MAX_RANK {
                *self.0 = Some(format!("more than {MAX_RANK} dimensions"));
                return Err(A::Error::custom("no usable header"));
            }
        }
        Ok(())
    }
}
