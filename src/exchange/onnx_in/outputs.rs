//! Which of several outputs has the classes.

use super::order::needed;
use crate::weights::onnx::{File, proto};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The most outputs that are looked at: each costs a walk through the graph.
const MOST: usize = 16;

/// Operators that make one pixel of a map, before or behind the last layer of a classifier.
const POOLING: &[&str] = &["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"];

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
/// of rows, made by a fully connected layer or a convolution of one pixel, at most with a softmax or a sigmoid behind it, from
/// which no other such output is made (as from features), by the most nodes (not an auxiliary head). Behind it the others of the
/// same layer, such as its numbers before a sigmoid.
pub(super) fn likely<'a>(file: &'a File, input: &str) -> Vec<&'a str> {
    let outputs = &file.graph().output;
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
    let heads: Vec<Option<usize>> = looked
        .iter()
        .map(|(output, _)| head(file, &makers, &output.name).filter(|_| is_float(output)))
        .collect();
    let mut ranked: Vec<_> = looked
        .iter()
        .zip(&heads)
        .enumerate()
        .map(|(i, ((output, nodes), head))| {
            let own = makers.get(output.name.as_str());
            let feeds = looked.iter().zip(&heads).enumerate().any(|(j, ((_, others), head))| {
                j != i
                    && head.is_some()
                    && own.is_some_and(|own| others.contains(own))
                    && others.len() > nodes.len()
            });
            let is_several = described(output).is_none_or(|t| size(t, 1) != Some(1));
            let rank = (is_float(output), head.is_some(), is_rows(output), !feeds, is_several, nodes.len());
            (Reverse(rank), *head, output.name.as_str())
        })
        .collect();
    ranked.sort_by_key(|(rank, ..)| *rank);
    let layer = ranked.first().and_then(|(_, layer, _)| *layer);
    let same = |(place, (_, head, _)): &(usize, (_, Option<usize>, &str))| {
        *place == 0 || (layer.is_some() && *head == layer)
    };
    ranked.into_iter().enumerate().filter(same).map(|(_, (.., name))| name).collect()
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
    described(output).is_none_or(|t| {
        let rank = t.shape.as_ref().map(|shape| shape.dim.len());
        rank.is_none_or(|rank| rank >= 2 && (2..rank).all(|i| size(t, i) == Some(1)))
    })
}

/// A size that is in the file.
fn size(described: &proto::TensorType, i: usize) -> Option<i64> {
    described.shape.as_ref()?.dim.get(i)?.dim_value
}

/// The layer that makes it, fully connected or a convolution of the pixel that a pooling makes, with nothing behind but what a
/// classifier ends in.
fn head(file: &File, makers: &HashMap<&str, usize>, output: &str) -> Option<usize> {
    let (mut name, mut pooled, mut convolution) = (output, false, None);
    // Nodes come after what they read, so that this ends, but nobody has looked yet.
    for _ in 0..=BEHIND.len() {
        let place = *makers.get(name)?;
        let node = file.graph().node.get(place)?;
        match node.op_type.as_str() {
            "Gemm" | "MatMul" if convolution.is_none() => return Some(place),
            "Conv" if pooled && convolution.is_none() => return Some(place),
            "Conv" if convolution.is_none() => convolution = Some(place),
            op if POOLING.contains(&op) && convolution.is_some() => return convolution,
            op if POOLING.contains(&op) => pooled = true,
            // Features are often a sum of maps.
            "Add" if pooled => return None,
            op if BEHIND.contains(&op) => {}
            _ => return None,
        }
        name = node.input.iter().find(|name| makers.contains_key(name.as_str()))?;
    }
    None
}
