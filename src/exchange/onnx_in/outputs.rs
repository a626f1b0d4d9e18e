//! Finds the output with the classes among several.

use super::order::needed;
use crate::weights::onnx::{File, proto};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// The most outputs that are examined. Each costs a walk through the graph.
const MOST: usize = 16;

/// Operators that reduce a map to one pixel, before or behind the last layer of a classifier.
const POOLING: &[&str] = &["AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"];

/// Operators that may follow the last layer of a classifier.
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

/// The outputs of a graph that may have the classes, the most likely one first. Such an output has floating-point numbers, a row for each
/// picture. A fully connected layer, or a convolution of one pixel, computes it; only a softmax or a sigmoid may follow. No other such
/// output is computed from it (as from features). Of several, the one with the most nodes is taken (an auxiliary head has fewer). Behind it
/// come other outputs of the same layer, for example its logits before a sigmoid.
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

/// Whether an output may have floating-point numbers.
fn is_float(output: &proto::ValueInfo) -> bool {
    use proto::tensor::{BFLOAT16, DOUBLE, FLOAT, FLOAT16};
    described(output).is_none_or(|t| [0, FLOAT, FLOAT16, DOUBLE, BFLOAT16].contains(&t.elem_type))
}

/// Whether an output may have one row for each picture.
fn is_rows(output: &proto::ValueInfo) -> bool {
    described(output).is_none_or(|t| {
        let rank = t.shape.as_ref().map(|shape| shape.dim.len());
        rank.is_none_or(|rank| rank >= 2 && (2..rank).all(|i| size(t, i) == Some(1)))
    })
}

/// A size, if it is fixed in the file.
fn size(described: &proto::TensorType, i: usize) -> Option<i64> {
    described.shape.as_ref()?.dim.get(i)?.dim_value
}

/// The last layer of a classifier that computes this output: fully connected, or a convolution of the pixel that a pooling makes.
fn head(file: &File, makers: &HashMap<&str, usize>, output: &str) -> Option<usize> {
    let (mut name, mut pooled, mut convolution) = (output, false, None);
    // In a sorted graph this ends. But it is not known yet whether the graph is sorted, so the steps are limited.
    for _ in 0..=BEHIND.len() {
        let place = *makers.get(name)?;
        let node = file.graph().node.get(place)?;
        match node.op_type.as_str() {
            "Gemm" | "MatMul" if convolution.is_none() => return Some(place),
            "Conv" if pooled && convolution.is_none() => return Some(place),
            "Conv" if convolution.is_none() => convolution = Some(place),
            op if POOLING.contains(&op) && convolution.is_some() => return convolution,
            op if POOLING.contains(&op) => pooled = true,
            // A sum of maps is often a feature.
            "Add" if pooled => return None,
            op if BEHIND.contains(&op) => {}
            _ => return None,
        }
        name = node.input.iter().find(|name| makers.contains_key(name.as_str()))?;
    }
    None
}
