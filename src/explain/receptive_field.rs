//! The part of the input that a place of a layer depends on.

use crate::error::Result;
use crate::graph::{Description, Graph, PoolOptions, Source};
use crate::tensor::{Layout, Value};
use std::collections::HashMap;

/// First and last row, first and last column.
type Rows = [[i64; 2]; 2];

/// The rectangle of the input that a place of a value depends on: first row, first column, height and width, without what lies beyond
/// the border. `value` and `input` belong to `graph`.
///
/// # Errors
/// As [`Graph::node`].
pub(super) fn receptive_field(
    graph: &Graph,
    value: Value,
    [row, column]: [usize; 2],
    input: Value,
) -> Result<[usize; 4]> {
    let place = |i: usize| [i as i64; 2];
    let mut fields: HashMap<Value, Rows> = HashMap::from([(value, [place(row), place(column)])]);
    // The operands of a node have lower numbers than the node.
    for at in graph.values().rev().filter(|at| at.index() <= value.index()) {
        let Some(field) = fields.get(&at).copied() else { continue };
        let node = graph.node(at)?;
        let Source::Op(op) = &node.source else { continue };
        for (i, operand) in node.inputs.iter().enumerate() {
            let shape = graph.shape(*operand)?;
            if shape.layout() != Layout::Image {
                continue;
            }
            let [_, h, w, _] = shape.dims();
            let filter = node.inputs.get(1).map(|w| graph.shape(*w)).transpose()?;
            let sides = [(0, h), (1, w)].map(|(side, size)| {
                let read =
                    read_by(op.describe(), i, field[side], side, [size, node.shape.dims()[1 + side]], {
                        filter.map_or(1, |filter| filter.dims()[side])
                    });
                let last = size as i64 - 1;
                read.map(|place| place.clamp(0, last.max(0)))
            });
            let known = fields.entry(*operand).or_insert(sides);
            for (known, more) in known.iter_mut().zip(sides) {
                *known = [known[0].min(more[0]), known[1].max(more[1])];
            }
        }
    }
    let [[top, bottom], [left, right]] = fields.get(&input).copied().unwrap_or([[0, -1]; 2]);
    let length = |from: i64, to: i64| (to - from + 1).max(0) as usize;
    Ok([top as usize, left as usize, length(top, bottom), length(left, right)])
}

/// The places of operand `number` that the places `[first, last]` of the result read, along one side. `sizes` are those of the operand
/// and of the result, `taps` that of the filter.
fn read_by(
    operation: Option<Description>,
    number: usize,
    [first, last]: [i64; 2],
    side: usize,
    [from, to]: [usize; 2],
    taps: usize,
) -> [i64; 2] {
    let window = |stride: usize, pad: usize, taps: usize| {
        let (stride, pad) = (stride as i64, pad as i64);
        [first * stride - pad, last * stride - pad + taps as i64 - 1]
    };
    let pooled = |PoolOptions { kernel, stride, pad, .. }: PoolOptions| {
        window(stride[side], pad[side][0], kernel[side])
    };
    match operation {
        Some(Description::Conv2d(options)) => window(options.stride[side], options.pad[side], taps),
        Some(Description::MaxPool(options) | Description::AveragePool(options)) => pooled(options),
        Some(Description::AdaptiveAveragePool(_)) => {
            let (from, to) = (from as i64, (to as i64).max(1));
            [first * from / to, ((last + 1) * from + to - 1) / to - 1]
        }
        Some(Description::AddShortcut { stride }) if number == 1 => window(stride, 0, 1),
        Some(
            Description::BatchNorm { .. }
            | Description::Relu
            | Description::Lrn(_)
            | Description::Add
            | Description::AddShortcut { .. }
            | Description::Concat,
        ) => [first, last],
        // A reshape, or something unknown, may read everything.
        _ => [0, from as i64 - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Arch, Mode};

    fn of(arch: &str, layer: &str, place: [usize; 2]) -> [usize; 4] {
        let arch = Arch::find(arch).unwrap();
        let network = arch.network(&arch.settings(1), Mode::Inference).unwrap();
        let input = network.graph.values().find(|v| network.graph.node(*v).unwrap().name == "input").unwrap();
        let value = network.graph.values().rfind(|v| network.graph.node(*v).unwrap().name == layer).unwrap();
        receptive_field(&network.graph, value, place, input).unwrap()
    }

    #[test]
    fn sizes_are_those_of_the_papers() {
        // Far from the border: 3, 5 and 7 pixels of one, two and three 3x3 convolutions (Simonyan and Zisserman, section 2.3).
        assert_eq!(of("vgg16", "features.0", [100, 100]), [99, 99, 3, 3]);
        assert_eq!(of("vgg16", "features.2", [100, 100]), [98, 98, 5, 5]);
        // conv5_3 of VGG-16 sees 196 pixels.
        assert_eq!(of("vgg16", "features.28", [7, 7])[2..], [196, 196]);
        assert_eq!(of("resnet18", "conv1", [10, 0]), [17, 0, 7, 4]);
        assert_eq!(of("resnet18", "fc", [0, 0]), [0, 0, 224, 224]);
    }
}
