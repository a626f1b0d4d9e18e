//! Poolings, slices and padding, in forms that all runtimes compute in the same way.

use super::nodes::{Nodes, int, ints};
use crate::ops::PoolOptions;
use crate::weights::onnx::proto::Attribute;

/// The height and width of the input and the output.
type Maps = [[usize; 2]; 2];

/// The axis of `[batch, C, H, W]`, start, end and step.
type Cut = (usize, usize, usize, usize);

/// How far the last window reaches beyond map and padding, and whether ONNX's ceil mode gives the same windows. Runtimes before ONNX 1.16
/// also count a window that starts behind the map.
fn beyond([before, after]: Maps, options: PoolOptions) -> ([usize; 2], bool) {
    let PoolOptions { kernel, stride, pad, ceil, .. } = options;
    let (mut reach, mut plain) = ([0; 2], ceil);
    for (i, reach) in reach.iter_mut().enumerate() {
        let padded = before[i] + pad[i][0] + pad[i][1];
        *reach = (after[i].saturating_sub(1) * stride[i] + kernel[i]).saturating_sub(padded);
        plain &= padded.checked_sub(kernel[i]).is_some_and(|room| room.div_ceil(stride[i]) + 1 == after[i]);
    }
    (reach, plain)
}

fn window(options: PoolOptions, more: [usize; 2]) -> Vec<Attribute> {
    let [[top, bottom], [left, right]] = options.pad;
    vec![
        ints("kernel_shape", &options.kernel),
        ints("pads", &[top, left, bottom + more[0], right + more[1]]),
        ints("strides", &options.stride),
    ]
}

/// The maximum of each window. It uses ceil mode, or more padding if the windows of ceil mode differ.
pub(super) fn maximum(nodes: &mut Nodes, layer: &str, x: &str, maps: Maps, options: PoolOptions) -> String {
    let (reach, plain) = beyond(maps, options);
    let mut attributes = window(options, if plain { [0; 2] } else { reach });
    if plain {
        attributes.push(int("ceil_mode", 1));
    }
    nodes.add("MaxPool", layer, &[x], attributes)
}

/// The average of each window. Runtimes differ in the divisor of a window that reaches beyond the padding. So padding that counts becomes
/// part of the map, and other padding is not counted.
pub(super) fn average(nodes: &mut Nodes, layer: &str, x: &str, maps: Maps, options: PoolOptions) -> String {
    let (reach, _) = beyond(maps, options);
    let padded = options.pad != [[0; 2]; 2];
    if options.kernel == maps[0] && maps[1] == [1; 2] && !padded {
        return nodes.add("GlobalAveragePool", layer, &[x], Vec::new());
    }
    let counted = padded && options.count_padding;
    if counted && reach != [0; 2] {
        let [[top, bottom], [left, right]] = options.pad;
        let zeros = pad(nodes, &format!("{layer}.pad"), x, [[0, 0, top, left], [0, 0, bottom, right]]);
        let attributes = window(PoolOptions { pad: [[0; 2]; 2], ..options }, reach);
        return nodes.add("AveragePool", layer, &[&zeros], attributes);
    }
    let mut attributes = window(options, reach);
    if counted {
        attributes.push(int("count_include_pad", 1));
    }
    nodes.add("AveragePool", layer, &[x], attributes)
}

/// The average over windows that are spread evenly over the map and may overlap.
pub(super) fn adaptive(nodes: &mut Nodes, layer: &str, x: &str, maps: Maps) -> String {
    let [[h, w], [p, q]] = maps;
    if h % p == 0 && w % q == 0 {
        let kernel = [h / p, w / q];
        let options = PoolOptions { kernel, stride: kernel, ..PoolOptions::square(1, 1) };
        return average(nodes, layer, x, maps, options);
    }
    // The average over a rectangle is the average over columns of the averages over rows.
    let mut x = x.to_owned();
    let axes = [("rows", 2, h, p), ("columns", 3, w, q)];
    for (name, axis, from, to) in axes.into_iter().filter(|(.., from, to)| from != to) {
        let mut parts = Vec::with_capacity(to);
        for at in 0..to {
            let part = format!("{layer}.{name}.{at}");
            let (start, end) = (at * from / to, ((at + 1) * from).div_ceil(to));
            let cut = slice(nodes, &format!("{part}.slice"), &x, &[(axis, start, end, 1)]);
            let attributes = vec![ints("axes", &[axis]), int("keepdims", 1)];
            parts.push(nodes.add("ReduceMean", &part, &[&cut], attributes));
        }
        let last = axis == 3 || w == q;
        let joined = if last { layer.to_owned() } else { format!("{layer}.{name}") };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        x = nodes.add("Concat", &joined, &parts, vec![int("axis", axis)]);
    }
    x
}

/// A slice of a map.
pub(super) fn slice(nodes: &mut Nodes, name: &str, x: &str, cuts: &[Cut]) -> String {
    let sizes = |pick: fn(&Cut) -> usize| cuts.iter().map(|c| super::integer(pick(c))).collect::<Vec<_>>();
    let steps = sizes(|c| c.3);
    let mut inputs = vec![
        x.to_owned(),
        nodes.constant(&format!("{name}.starts"), &sizes(|c| c.1)),
        nodes.constant(&format!("{name}.ends"), &sizes(|c| c.2)),
        nodes.constant(&format!("{name}.axes"), &sizes(|c| c.0)),
    ];
    if steps.iter().any(|s| *s != 1) {
        inputs.push(nodes.constant(&format!("{name}.steps"), &steps));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    nodes.add("Slice", name, &inputs, Vec::new())
}

/// Pads a map with zeros: `before` and `after` each axis.
pub(super) fn pad(nodes: &mut Nodes, name: &str, x: &str, pads: [[usize; 4]; 2]) -> String {
    let pads: Vec<i64> = pads.into_iter().flatten().map(super::integer).collect();
    let pads = nodes.constant(&format!("{name}.pads"), &pads);
    nodes.add("Pad", name, &[x, &pads], Vec::new())
}
