//! Pooling, and the padding of windows.

use super::activation::Activation;
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node, pair};
use crate::error::{Error, Result};
use crate::ops::PoolOptions;

/// Zeros on each side: `[[top, bottom], [left, right]]`.
pub(super) type Padding = [[usize; 2]; 2];

/// The padding that a node asks for, by numbers or by a rule.
///
/// # Errors
/// [`Error::Data`] if it makes no sense.
pub(super) fn padding(
    node: Node,
    map: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Result<Padding> {
    let given = match node.sizes("pads", 4)?.as_deref() {
        Some([top, left, bottom, right]) => [[*top, *bottom], [*left, *right]],
        _ => [[0; 2]; 2],
    };
    let rule = node.text("auto_pad")?.unwrap_or("NOTSET");
    match rule {
        "" | "NOTSET" => Ok(given),
        "VALID" => Ok([[0; 2]; 2]),
        "SAME_UPPER" | "SAME_LOWER" => {
            let along = |i: usize| -> [usize; 2] {
                let windows = map[i].div_ceil(stride[i].max(1)).max(1);
                let reach = (windows - 1).saturating_mul(stride[i]).saturating_add(kernel[i]);
                let total = reach.saturating_sub(map[i]);
                let (less, more) = (total / 2, total - total / 2);
                if rule == "SAME_UPPER" { [less, more] } else { [more, less] }
            };
            Ok([along(0), along(1)])
        }
        other => Err(Error::data(format!("its auto_pad is {other:?}")).cure(DAMAGED)),
    }
}

impl<'a> Importer<'a, '_> {
    pub(super) fn pool(&mut self, node: Node<'a>, max: bool) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [h, w, _] = x.as_map()?;
        let kernel = pair(node.sizes("kernel_shape", 2)?, 0);
        if kernel.contains(&0) {
            return Err(Error::data("it does not say how large its windows are").cure(DAMAGED));
        }
        node.dense()?;
        let stride = node.strides()?;
        let own = padding(node, [h, w], kernel, stride)?;
        let ceil = node.int("ceil_mode", 0)? != 0;
        let mut count_padding = node.int("count_include_pad", 0)? != 0;
        let mut pad = own;
        if x.pad != [[0; 2]; 2] {
            // Zeros that were put around before count as numbers of the map.
            if max && !x.nonnegative {
                return Err(Error::data("zeros around a map with negative numbers could be its largest")
                    .cure("only maps behind a ReLU can be padded before their maximum is taken"));
            }
            if !max && own != [[0; 2]; 2] && !count_padding {
                return Err(Error::data("an average counts some of the zeros around it and others not")
                    .cure("the networks of the five families do not"));
            }
            count_padding = true;
            for (pad, before) in pad.iter_mut().zip(x.pad) {
                *pad = [pad[0].saturating_add(before[0]), pad[1].saturating_add(before[1])];
            }
        }
        let value = self.plain(node, 0)?;
        let options = PoolOptions { kernel, stride, pad, ceil, count_padding };
        let graph = self.emit.graph.layer(node.name());
        let y = if max { graph.max_pool(value, options)? } else { graph.average_pool(value, options)? };
        let mut made = Activation::new(y, self.map_of(y)?);
        made.nonnegative = x.nonnegative;
        Ok(Item::Activation(made))
    }

    pub(super) fn global_average(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        x.as_map()?;
        self.unpadded(&x)?;
        let value = self.plain(node, 0)?;
        let y = self.emit.graph.layer(node.name()).global_average_pool(value)?;
        let mut made = Activation::new(y, self.map_of(y)?);
        made.nonnegative = x.nonnegative;
        Ok(Item::Activation(made))
    }

    /// `ReduceMean` over the map.
    pub(super) fn mean(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        x.as_map()?;
        let axes = self.list(node, "axes")?;
        let mut axes: Vec<i64> = axes
            .unwrap_or_default()
            .into_iter()
            .map(|a| if a < 0 { a.saturating_add(4) } else { a })
            .collect();
        axes.sort_unstable();
        if axes != [2, 3] {
            return Err(Error::data(format!("it averages over the axes {axes:?}, not over the map"))
                .cure("the networks of the five families average over height and width"));
        }
        let Item::Activation(made) = self.global_average(node)? else {
            return Err(Error::internal("an average of a constant"));
        };
        let [.., c] = made.sizes();
        let tail = if node.int("keepdims", 1)? == 0 { vec![c] } else { vec![c, 1, 1] };
        Ok(Item::Activation(made.shaped(tail)?))
    }
}
