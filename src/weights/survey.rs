//! What a header of safetensors would cost, and what its reader does not mind, before anything is made of it.

use crate::error::{Error, Result, Untrusted};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// Tensors of a file; the deepest network here has 7,000, its checkpoint twice as many.
const MAX_TENSORS: usize = 1 << 16;
/// Dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Refuses a header that speaks of too much, or twice of one tensor. What is no header is left to its reader.
///
/// # Errors
/// [`Error::Data`] saying what is too much.
pub(super) fn survey(json: &[u8]) -> Result<()> {
    let mut fault = None;
    // Only a fault of ours counts: what is no JSON is the crate's to refuse, which stops there too.
    let _ = Names(&mut fault).deserialize(&mut serde_json::Deserializer::from_slice(json));
    fault.map_or(Ok(()), |what| {
        Err(Error::data(format!("this is no usable safetensors file: {what}"))
            .hint("it may be damaged; get it again"))
    })
}

/// The object of all tensors.
struct Names<'f>(&'f mut Option<String>);

/// The object of one.
struct Info<'f>(&'f mut Option<String>);

/// Its shape.
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
            // The crate takes the last of several tensors of one name.
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
