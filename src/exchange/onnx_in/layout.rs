//! Whether the input of a file has channels first or last. The first operator that does not treat all axes alike shows it; if there is none, an
//! axis of size 3.

use crate::weights::onnx::{File, proto};
use std::collections::HashSet;

/// Operators that do not show the order. Their result has that of their input.
const EITHER: &[&str] = &[
    "Add", "Cast", "Clip", "Concat", "Div", "Dropout", "Gather", "Identity", "Mul", "Pad", "Relu", "Slice",
    "Split", "Sub", "Sum",
];

/// Operators with channels first.
const FIRST: &[&str] =
    &["AveragePool", "BatchNormalization", "Conv", "GlobalAveragePool", "GlobalMaxPool", "LRN", "MaxPool"];

/// Whether the channels of the input are the last axis.
pub(super) fn channels_last(file: &File, input: &str, sizes: [Option<usize>; 4]) -> bool {
    // Nodes are sorted; otherwise the graph is refused later.
    let mut same = HashSet::from([input]);
    for node in &file.graph().node {
        if !node.input.iter().any(|name| same.contains(name.as_str())) {
            continue;
        }
        match node.op_type.as_str() {
            "Transpose" => match order(node) {
                Some([0, 3, 1, 2]) => return true,
                Some([0, 2, 3, 1]) => return false,
                _ => {}
            },
            op if FIRST.contains(&op) => return false,
            op if EITHER.contains(&op) => same.extend(node.output.iter().map(String::as_str)),
            _ => {}
        }
    }
    let [_, first, _, last] = sizes;
    last == Some(3) && first != Some(3)
}

fn order(node: &proto::Node) -> Option<[i64; 4]> {
    node.attribute.iter().find(|a| a.name == "perm")?.ints.as_slice().try_into().ok()
}
