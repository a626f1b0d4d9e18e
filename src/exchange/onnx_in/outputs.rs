//! Which of several outputs has the classes.

use super::order::needed;
use crate::weights::onnx::{File, proto};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The most outputs that are looked at: each costs a walk through the graph.
const MOST: usize = 16;

/// Operators behind the last layer of a classifier.
const BEHIND: &[&str] = &[
    "Add",
    "Cast",
    "Dropout",
    "Flatten",
    "Identity",
    "LogSoftmax",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// The outputs of a graph, the one that is most likely that of the classes first: floating-point numbers in a batch
/// of rows, made by a fully connected layer, a softmax or a sigmoid, from which no other such output is made (as from
/// features), by the most nodes (not an auxiliary head).
pub(super) fn likely<'a>(file: &'a File, input: &str) -> Vec<&'a str> {
    let outputs = &file.graph().output;
    if let [one] = outputs.as_slice() {
        return vec![&one.name];
    }
    let makers: HashMap<&str, usize> = file
        .graph()
        .node
        .iter()
        .enumerate()
        .flat_map(|(i, node)| node.output.iter().map(move |name| (name.as_str(), i)))
        .collect();
    let looked: Vec<(&proto::ValueInfo, HashSet<usize>)> = outputs
        .iter()
        .take(MOST)
        .map(|output| (output, needed(file, input, &output.name).unwrap_or_default().into_iter().collect()))
        .collect();
    let heads: Vec<bool> =
        looked.iter().map(|(output, _)| is_float(output) && is_head(file, &makers, &output.name)).collect();
    let mut ranked: Vec<_> = looked
        .iter()
        .zip(&heads)
        .enumerate()
        .map(|(i, ((output, nodes), head))| {
            let own = makers.get(output.name.as_str());
            let feeds = looked.iter().zip(&heads).enumerate().any(|(j, ((_, others), head))| {
                j != i && *head && own.is_some_and(|own| others.contains(own)) && others.len() > nodes.len()
            });
            (Reverse((is_float(output), is_rows(output), *head, !feeds, nodes.len())), output.name.as_str())
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, name)| name).collect()
}

fn described(output: &proto::ValueInfo) -> Option<&proto::TensorType> {
    output.r#type.as_ref()?.tensor_type.as_ref()
}

/// Whether it may hold floating-point numbers.
fn is_float(output: &proto::ValueInfo) -> bool {
    use proto::tensor::{BFLOAT16, DOUBLE, FLOAT, FLOAT16};
    described(output).is_none_or(|t| [0, FLOAT, FLOAT16, DOUBLE, BFLOAT16].contains(&t.elem_type))
}

/// Whether it may be one row for each picture.
fn is_rows(output: &proto::ValueInfo) -> bool {
    let shape = described(output).and_then(|t| t.shape.as_ref());
    shape.is_none_or(|shape| shape.dim.len() == 2 && shape.dim.iter().skip(1).all(|d| d.dim_value != Some(1)))
}

/// Whether a fully connected layer makes it, with nothing behind but what a classifier ends in.
fn is_head(file: &File, makers: &HashMap<&str, usize>, output: &str) -> bool {
    let mut name = output;
    // Nodes come after what they read, so that this ends, but nobody has looked yet.
    for _ in 0..=BEHIND.len() {
        let Some(node) = makers.get(name).and_then(|i| file.graph().node.get(*i)) else { return false };
        match node.op_type.as_str() {
            "Gemm" | "MatMul" => return true,
            op if BEHIND.contains(&op) => {
                let Some(before) = node.input.iter().find(|name| makers.contains_key(name.as_str())) else {
                    return false;
                };
                name = before;
            }
            _ => return false,
        }
    }
    false
}
