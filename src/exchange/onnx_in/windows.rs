//! Pooling, and the padding of windows.

use super::activation::Activation;
use super::axis::Axis;
use super::fold::axis;
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node, pair};
use crate::error::{Error, Result};
use crate::ops::PoolOptions;

/// The padding on each side: `[[top, bottom], [left, right]]`.
pub(super) type Padding = [[usize; 2]; 2];

/// The padding of a node, which gives it by numbers or by a rule.
///
/// # Errors
/// [`Error::Data`] if it is invalid.
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
        other => Err(Error::data(format!("its auto_pad is {other:?}")).hint(DAMAGED)),
    }
}

impl<'a> Importer<'a, '_> {
    pub(super) fn pool(&mut self, node: Node<'a>, max: bool) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [h, w, _] = x.as_map()?;
        let kernel = pair(node.sizes("kernel_shape", 2)?, 0);
        if kernel.contains(&0) {
            return Err(Error::data("it does not say how large its windows are").hint(DAMAGED));
        }
        node.dense()?;
        let stride = node.strides()?;
        let own = padding(node, [h, w], kernel, stride)?;
        let ceil = node.int("ceil_mode", 0)? != 0;
        let mut count_padding = node.int("count_include_pad", 0)? != 0;
        let mut pad = own;
        if x.pad != [[0; 2]; 2] {
            // Padding of an earlier node counts as part of the map.
            if max && !x.nonnegative {
                return Err(Error::data("zeros around a map with negative numbers could be its largest")
                    .hint("only maps behind a ReLU can be padded before their maximum is taken"));
            }
            if !max && own != [[0; 2]; 2] && !count_padding {
                return Err(Error::data("an average counts some of the zeros around it and others not")
                    .hint("the networks of the five families do not"));
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
        self.reduced(node, x, [true; 2], false)
    }

    /// Global max pooling.
    pub(super) fn global_max(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        x.as_map()?;
        self.reduced(node, x, [true; 2], true)
    }

    /// `ReduceMean` and `ReduceMax` over the map, its rows or its columns.
    pub(super) fn reduce(&mut self, node: Node<'a>, max: bool) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let rank = x.tail.len() + 1;
        let given = self.list(node, "axes")?.unwrap_or_default();
        let mut gone = given.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<_>>>()?;
        gone.sort_unstable();
        let counts = gone.iter().map(|a| x.axis_at(*a)).collect::<Result<Vec<_>>>().unwrap_or_default();
        let over = |axis: Axis| counts.contains(&axis) || counts.contains(&Axis::Pixel);
        let over = [over(Axis::Row), over(Axis::Column)];
        if !over.contains(&true) || counts.contains(&Axis::Channel) {
            let kind = if max { "takes the largest" } else { "averages" };
            return Err(Error::data(format!("it {kind} over the axes {gone:?} of a batch of {:?}", x.tail))
                .hint("the networks of the five families do so over height and width"));
        }
        let keep = node.int("keepdims", 1)? != 0;
        let tail = x.tail.iter().enumerate().filter_map(|(i, size)| match gone.contains(&(i + 1)) {
            true => keep.then_some(1),
            false => Some(*size),
        });
        let (tail, last) = (tail.collect(), x.last);
        let Item::Activation(mut made) = self.reduced(node, x, over, max)? else {
            return Err(Error::internal("an average of a constant"));
        };
        made.last = last;
        Ok(Item::Activation(made.shaped(tail)?))
    }

    /// Averages or maxima over rows, columns or both.
    fn reduced(&mut self, node: Node<'a>, x: Activation, over: [bool; 2], max: bool) -> Result<Item> {
        self.unpadded(&x)?;
        let [h, w, _] = x.sizes();
        let value = self.plain(node, 0)?;
        let kernel = [if over[0] { h } else { 1 }, if over[1] { w } else { 1 }];
        let options = PoolOptions { kernel, stride: kernel, ..PoolOptions::square(1, 1) };
        let graph = self.emit.graph.layer(node.name());
        let y = match (max, over) {
            (true, _) => graph.max_pool(value, options)?,
            (false, [true, true]) => graph.global_average_pool(value)?,
            (false, _) => graph.average_pool(value, options)?,
        };
        let mut made = Activation::new(y, self.map_of(y)?);
        made.nonnegative = x.nonnegative;
        Ok(Item::Activation(made))
    }
}
