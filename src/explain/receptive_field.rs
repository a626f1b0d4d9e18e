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
    use crate::tensor::Shape;

    fn of(arch: &str, layer: &str, place: [usize; 2]) -> [usize; 4] {
        let arch = Arch::find(arch).unwrap();
        let network = arch.network(&arch.settings(1), Mode::Inference).unwrap();
        let input = network.graph.values().find(|v| network.graph.node(*v).unwrap().name == "input").unwrap();
        let value = network.graph.values().rfind(|v| network.graph.node(*v).unwrap().name == layer).unwrap();
        receptive_field(&network.graph, value, place, input).unwrap()
    }

    /// By hand: which places of a side of 9 each place of the result reads.
    #[test]
    fn poolings_shortcuts_and_branches_read_what_they_should() {
        let mut g = Graph::new();
        let x = g.input("x", Shape::image(1, 9, 9, 4));
        let ceil = PoolOptions { kernel: [2; 2], stride: [2; 2], ..PoolOptions::square(2, 2).ceil() };
        let pooled = g.average_pool(x, ceil).unwrap();
        let adaptive = g.adaptive_average_pool(x, [2, 4]).unwrap();
        let padded = g.max_pool(x, PoolOptions::square(3, 1).padded(1)).unwrap();
        let both = g.concat(&[x, padded]).unwrap();
        let wide = g.input("wide", Shape::image(1, 5, 5, 8));
        let sum = g.add_shortcut(wide, x, 2).unwrap();
        let of = |value, place| receptive_field(&g, value, place, x).unwrap();
        // The last window of ceil mode has one place.
        assert_eq!((of(pooled, [4, 1]), of(pooled, [0, 4])), ([8, 2, 1, 2], [0, 8, 2, 1]));
        // floor(i 9/2) to ceil((i + 1) 9/2), and with 4 in place of 2.
        assert_eq!((of(adaptive, [0, 0]), of(adaptive, [1, 3])), ([0, 0, 5, 3], [4, 6, 5, 3]));
        // The branch that sees more counts.
        assert_eq!((of(both, [0, 4]), of(both, [8, 8])), ([0, 3, 2, 3], [7, 7, 2, 2]));
        assert_eq!(of(sum, [3, 4]), [6, 8, 1, 1]);
        assert_eq!(of(sum, [0, 0]), [0, 0, 1, 1]);
        assert_eq!(receptive_field(&g, sum, [3, 4], wide).unwrap(), [3, 4, 1, 1]);
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
