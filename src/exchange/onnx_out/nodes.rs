//! A list of nodes under construction, with unique names.

use crate::error::{Error, Result};
use crate::weights::onnx::proto::{Attribute, Node, Tensor, attribute, tensor};
use std::collections::HashSet;

/// The nodes so far. A node and its result have the same name.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    list: Vec<Node>,
    names: HashSet<String>,
}

impl Nodes {
    /// Reserves a name, so that no node gets it.
    ///
    /// # Errors
    /// [`Error::Usage`] if the name is taken.
    pub(super) fn reserve(&mut self, name: &str) -> Result<()> {
        if self.names.insert(name.to_owned()) {
            return Ok(());
        }
        Err(Error::usage("two values of an ONNX file cannot have the same name").at(name))
    }

    /// Adds a node and returns the name of its result: `name`, or a similar one if it is taken.
    pub(super) fn add(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        let name = self.unique(name);
        self.list.push(Node {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.to_owned(),
            attribute: attributes,
            domain: String::new(),
        });
        name
    }

    /// Adds a constant of integers.
    pub(super) fn constant(&mut self, name: &str, numbers: &[i64]) -> String {
        let value = Tensor {
            dims: vec![super::integer(numbers.len())],
            data_type: tensor::INT64,
            int64_data: numbers.to_vec(),
            ..Tensor::default()
        };
        let value = Attribute { t: Some(value), kind: attribute::TENSOR, ..named("value") };
        self.add("Constant", name, &[], vec![value])
    }

    /// Gives the result of the last node a reserved name.
    pub(super) fn rename_last(&mut self, name: &str) {
        if let Some(output) = self.list.last_mut().and_then(|node| node.output.first_mut()) {
            name.clone_into(output);
        }
    }

    /// The name of the last node.
    pub(super) fn last(&self) -> Option<&String> {
        self.list.last().map(|node| &node.name)
    }

    pub(super) fn into_list(self) -> Vec<Node> {
        self.list
    }

    fn unique(&mut self, name: &str) -> String {
        let mut found = name.to_owned();
        for i in 2usize.. {
            if self.names.insert(found.clone()) {
                break;
            }
            found = format!("{name}.{i}");
        }
        found
    }
}

fn named(name: &str) -> Attribute {
    Attribute { name: name.to_owned(), ..Attribute::default() }
}

pub(super) fn int(name: &str, i: usize) -> Attribute {
    Attribute { i: super::integer(i), kind: attribute::INT, ..named(name) }
}

pub(super) fn ints(name: &str, list: &[usize]) -> Attribute {
    let ints = list.iter().copied().map(super::integer).collect();
    Attribute { ints, kind: attribute::INTS, ..named(name) }
}

pub(super) fn float(name: &str, f: f32) -> Attribute {
    Attribute { f, kind: attribute::FLOAT, ..named(name) }
}
