//! A node of the file, with typed access to its inputs and attributes.

use crate::error::{Error, Result, Untrusted};
use crate::weights::onnx::proto::{self, attribute};

/// A node, and the version of the operators in its file.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    proto: &'a proto::Node,
    pub(super) opset: i64,
}

impl<'a> Node<'a> {
    pub(super) fn new(proto: &'a proto::Node, opset: i64) -> Self {
        Self { proto, opset }
    }

    pub(super) fn op(&self) -> &'a str {
        &self.proto.op_type
    }

    /// Its name. If it has none, as in files of old exporters, that of its result.
    pub(super) fn name(&self) -> &'a str {
        let named = Some(self.proto.name.as_str()).filter(|n| !n.is_empty());
        named.or_else(|| self.proto.output.first().map(String::as_str)).unwrap_or_default()
    }

    pub(super) fn inputs(&self) -> &'a [String] {
        &self.proto.input
    }

    pub(super) fn outputs(&self) -> &'a [String] {
        &self.proto.output
    }

    /// The name of an input, if it is present.
    pub(super) fn input(&self, i: usize) -> Option<&'a str> {
        self.proto.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn attribute(&self, name: &str, kind: i32) -> Result<Option<&'a proto::Attribute>> {
        let Some(found) = self.proto.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
        // Files of the first version of the format do not give the kind.
        if found.kind != kind && found.kind != 0 {
            return Err(Error::data(format!("its attribute {name} is of another kind")).hint(DAMAGED));
        }
        Ok(Some(found))
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attribute(name, attribute::INT)?.map_or(default, |a| a.i))
    }

    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32> {
        let value = self.attribute(name, attribute::FLOAT)?.map_or(default, |a| a.f);
        if value.is_nan() {
            return Err(Error::data(format!("its attribute {name} is no number")).hint(DAMAGED));
        }
        Ok(value)
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.attribute(name, attribute::FLOATS)?.map(|a| a.floats.as_slice()))
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.attribute(name, attribute::INTS)?.map(|a| a.ints.as_slice()))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(found) = self.attribute(name, attribute::STRING)? else { return Ok(None) };
        std::str::from_utf8(&found.s)
            .map(Some)
            .map_err(|_| Error::data(format!("its attribute {name} is no text")).hint(DAMAGED))
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a proto::Tensor>> {
        Ok(self.attribute(name, attribute::TENSOR)?.and_then(|a| a.t.as_ref()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|a| a.name == name)
    }

    /// The sizes in an attribute. It must have `count` of them, if it is present.
    pub(super) fn sizes(&self, name: &str, count: usize) -> Result<Option<Vec<usize>>> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        if ints.len() != count {
            let what = format!("its attribute {name} has {} numbers, not {count}", ints.len());
            return Err(Error::data(what).hint("only networks on pictures, with two spatial sizes, are read"));
        }
        let sizes = ints.iter().map(|i| size(name, *i)).collect::<Result<_>>()?;
        Ok(Some(sizes))
    }

    /// The strides of a window, at least 1.
    pub(super) fn strides(&self) -> Result<[usize; 2]> {
        let strides = pair(self.sizes("strides", 2)?, 1);
        if strides.contains(&0) {
            return Err(Error::data(format!("its strides are {strides:?}")).hint(DAMAGED));
        }
        Ok(strides)
    }

    /// Refuses dilation.
    pub(super) fn dense(&self) -> Result<()> {
        match pair(self.sizes("dilations", 2)?, 1) {
            [1, 1] => Ok(()),
            [h, w] => Err(Error::data(format!("its windows have gaps: dilations {h}x{w}"))
                .hint("the networks of the five families have none")),
        }
    }
}

/// A pair of sizes, or the default for both.
pub(super) fn pair(sizes: Option<Vec<usize>>, default: usize) -> [usize; 2] {
    match sizes.as_deref() {
        Some([a, b]) => [*a, *b],
        _ => [default; 2],
    }
}

/// A size: not negative, and not larger than that of any map.
pub(super) fn size(name: &str, value: i64) -> Result<usize> {
    usize::try_from(value)
        .ok()
        .filter(|n| *n <= i32::MAX as usize)
        .ok_or_else(|| Error::data(format!("its {name} has {value} in it")).hint(DAMAGED))
}

/// The place of an error in a node.
pub(super) fn place(node: &proto::Node) -> String {
    let named = Some(&node.name).filter(|n| !n.is_empty()).or(node.output.first());
    format!("node {} ({})", Untrusted::short(named.map_or("", |n| n)), Untrusted::short(&node.op_type))
}

pub(super) const DAMAGED: &str = "the file is damaged, or was not made by an ONNX exporter";
