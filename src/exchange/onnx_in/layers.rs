//! Convolutions, fully connected layers and batch norm.

use super::activation::{Activation, Base, Product};
use super::axes::Axis;
use super::constant::Constant;
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node};
use super::weight::Weight;
use super::windows::{Padding, padding};
use crate::error::{Error, Result};
use crate::ops::ConvOptions;
use std::sync::Arc;

impl<'a> Importer<'a, '_> {
    /// A constant that must be floating-point, as a parameter.
    fn weight(&self, node: Node, i: usize, what: &str) -> Result<Weight> {
        let Some(constant) = self.constant(node, i)? else {
            return Err(Error::data(format!("its {what} are computed from the input"))
                .hint("only weights that are in the file can be read"));
        };
        let weight = Weight::new(constant);
        if !weight.is_float() {
            return Err(Error::data(format!("its {what} are integers"))
                .hint("quantised networks are not read; give the one with floating-point weights"));
        }
        Ok(weight)
    }

    /// The same of a number a channel.
    fn vector(&self, node: Node, i: usize, what: &str, channels: usize) -> Result<Weight> {
        let weight = self.weight(node, i, what)?;
        if weight.shape() != [channels] {
            let what = format!("its {what} have the sizes {:?} for {channels} channels", weight.shape());
            return Err(Error::data(what).hint(DAMAGED));
        }
        Ok(weight)
    }

    pub(super) fn conv(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [h, w, c] = x.as_map()?;
        let weight = self.weight(node, 1, "filters")?;
        let [k, group_c, r, s] = *weight.shape() else {
            return Err(Error::data(format!("its filters have the sizes {:?}", weight.shape()))
                .hint("only convolutions over pictures, with two spatial sizes, are read"));
        };
        if k == 0 || r == 0 || s == 0 {
            return Err(Error::data(format!("its filters have the sizes {:?}", weight.shape())).hint(DAMAGED));
        }
        if let Some(kernel) = node.sizes("kernel_shape", 2)?
            && kernel != [r, s]
        {
            return Err(
                Error::data(format!("its kernel is {kernel:?}, but its filters are {r}x{s}")).hint(DAMAGED)
            );
        }
        if [r, s] != [1; 2] {
            node.dense()?;
        }
        let stride = node.strides()?;
        let groups = super::node::size("group", node.int("group", 1)?)?;
        if groups == 0 || c % groups != 0 || k % groups != 0 || c / groups != group_c {
            let what = format!("filters of {group_c} channels in {groups} groups do not fit {c} channels");
            return Err(Error::data(what).hint(DAMAGED));
        }
        let bias = match node.input(2) {
            Some(_) => Some(self.vector(node, 2, "biases", k)?),
            None => None,
        };
        // Zeros that were put around before belong to it.
        let [rows, columns] = x.pad;
        let own = padding(node, [h, w], [r, s], stride)?;
        let outer = |own: [usize; 2], before: [usize; 2]| {
            [own[0].saturating_add(before[0]), own[1].saturating_add(before[1])]
        };
        let pad = [outer(own[0], rows), outer(own[1], columns)];
        let (widen, pad) = symmetric(pad);
        let x = self.plain(node, 0)?;
        let [_, height, width, _] = self.emit.graph.shape(x)?.dims();
        let layer = node.name().to_owned();
        if [height, width] == [r, s] && pad == [0; 2] && widen == [[0; 2]; 2] && groups == 1 {
            // A window over the whole map is a fully connected layer, whose weights may be kept in pieces.
            let weight = weight.shaped(vec![k, c.saturating_mul(r).saturating_mul(s)]);
            let product = Product { layer, x, weight, bias, convolution: None };
            return Ok(Item::Activation(Activation::of(Base::Product(Arc::new(product)), [1, 1, k])));
        }
        let weight = if widen == [[0; 2]; 2] { weight } else { widened(weight, widen)? };
        let along = |size: usize, kernel: usize, i: usize| -> Result<usize> {
            let (pad, widen) = (pad[i], widen[i]);
            let kernel = kernel.saturating_add(widen[0]).saturating_add(widen[1]);
            let room = size.saturating_add(pad.saturating_mul(2)).checked_sub(kernel).ok_or_else(|| {
                Error::data(format!("a map of {height}x{width} is smaller than its kernel of {r}x{s}"))
                    .hint("use a larger input size")
            })?;
            Ok(room / stride[i] + 1)
        };
        let map = [along(height, r, 0)?, along(width, s, 1)?, k];
        if super::constant::elements(&map)? as u64 > MOST_NUMBERS {
            let what = format!("it makes {}x{} pixels of {k} channels of one picture", map[0], map[1]);
            return Err(Error::data(what).hint(DAMAGED));
        }
        let convolution = Some(ConvOptions { stride, pad, groups });
        let product = Product { layer, x, weight, bias, convolution };
        Ok(Item::Activation(Activation::of(Base::Product(Arc::new(product)), map)))
    }

    /// `Gemm` and `MatMul`.
    pub(super) fn matrix(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [h, w, c] = x.sizes();
        let inputs = h.saturating_mul(w).saturating_mul(c);
        self.unpadded(&x)?;
        // A product of each pixel, where the channels are the last size.
        let pixels =
            (node.op() == "MatMul" || x.together) && x.channel_axis().is_some_and(|i| i + 1 == x.tail.len());
        if x.tail != [inputs] && !pixels {
            return Err(Error::data(format!("its input has the sizes {:?} behind the batch", x.tail))
                .hint("a fully connected layer takes all numbers of a picture in a row"));
        }
        if node.int("transA", 0)? != 0 {
            return Err(Error::data("its input is transposed, so that pictures would mix").hint(DAMAGED));
        }
        let Some(constant) = self.constant(node, 1)? else {
            return Err(Error::data("it multiplies two values that are computed from the input")
                .hint("the networks of the five families do not"));
        };
        if constant.shape.len() != 2 {
            return Err(Error::data(format!("its weights have the sizes {:?}", constant.shape)).hint(DAMAGED));
        }
        let constant =
            if node.int("transB", 0)? == 0 { constant.transposed(&[1, 0], &self.budget)? } else { constant };
        let (k, rows) = match *constant.shape.as_slice() {
            [k, rows] if k > 0 => (k, rows),
            _ => return Err(Error::data("it has no outputs").hint(DAMAGED)),
        };
        let takes = if pixels { c } else { inputs };
        if rows != takes {
            return Err(Error::data(format!("its weights take {rows} numbers, but its input has {takes}"))
                .hint("use the input size that the network was made for"));
        }
        let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
        let bias = if node.input(2).is_none() { None } else { self.constant(node, 2)? };
        let bias = match bias {
            None if node.input(2).is_some() => {
                return Err(Error::data("it adds a value that is computed from the input")
                    .hint("only a bias that is in the file can be read"));
            }
            None => None,
            Some(bias) => Some(self.bias(bias, k)?.scaled(beta)),
        };
        let mut weight = Weight::new(constant.clone());
        if !weight.is_float() {
            return Err(Error::data("its weights are integers")
                .hint("quantised networks are not read; give the one with floating-point weights"));
        }
        let axes = x.axes().filter(|_| pixels).unwrap_or_else(|| vec![Axis::Channel]);
        let convolution =
            (pixels && !x.is_vector()).then_some(ConvOptions { stride: [1; 2], pad: [0; 2], groups: 1 });
        let map = if convolution.is_some() { [h, w, k] } else { [1, 1, k] };
        if convolution.is_some() {
            weight = weight.shaped(vec![k, c, 1, 1]);
        } else if x.last && !x.is_either() {
            // Its rows are in the order of the file, and those of a layer here in that of channels first.
            weight = Weight::new(constant.channels_first([h, w, c], &self.budget)?).shaped(vec![k, rows]);
        }
        let x_together = x.together;
        let x = self.plain(node, 0)?;
        let layer = node.name().to_owned();
        let product = Product { layer, x, weight: weight.scaled(alpha), bias, convolution };
        let mut made = Activation::of(Base::Product(Arc::new(product)), map);
        made.lies(&axes);
        if x_together {
            (made.last, made.together) = (true, true);
        }
        Ok(Item::Activation(made))
    }

    /// One number for each output, however the file spreads it.
    fn bias(&self, bias: Constant, outputs: usize) -> Result<Weight> {
        let count = bias.elements()?;
        let row = bias.shape.iter().rev().skip(1).all(|d| *d == 1);
        match bias.shape.last() {
            Some(last) if *last == outputs && row => {
                Ok(Weight::new(bias.reshaped(vec![outputs], &self.budget)?))
            }
            _ if count == 1 => {
                let value = bias.to_floats(&self.budget)?.first().copied().unwrap_or(0.0);
                self.budget.take(outputs)?;
                Ok(Weight::new(Constant::floats(&bias.name, vec![outputs], vec![value; outputs])))
            }
            _ => Err(Error::data(format!("its bias has the sizes {:?} for {outputs} outputs", bias.shape))
                .hint(DAMAGED)),
        }
    }

    pub(super) fn batch_norm(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [.., c] = x.sizes();
        if x.channel_axis() != Some(0) {
            return Err(
                Error::data(format!("its input has the sizes {:?} behind the batch", x.tail)).hint(DAMAGED)
            );
        }
        if node.is_per_pixel()? {
            return Err(Error::data("it normalises each pixel by statistics of its own (spatial = 0)")
                .hint("the networks of the five families do not"));
        }
        let epsilon = node.float("epsilon", 1e-5)?;
        if !(0.0..1.0).contains(&epsilon) {
            return Err(Error::data(format!("its epsilon is {epsilon}")).hint(DAMAGED));
        }
        let names = ["scales", "shifts", "means", "variances"];
        let mut weights = Vec::with_capacity(4);
        for (i, what) in names.into_iter().enumerate() {
            weights.push(self.vector(node, i + 1, what, c)?);
        }
        let [gamma, beta, mean, variance] = &weights[..] else { return Err(Error::internal("four vectors")) };
        if self.is_input(&x) {
            // A part of how pixels become numbers.
            self.budget.take(c.saturating_mul(8))?;
            let numbers =
                |w: &Weight| -> Result<Vec<f64>> { Ok(w.rows(0..c)?.into_iter().map(f64::from).collect()) };
            let (gamma, beta, mean, variance) =
                (numbers(gamma)?, numbers(beta)?, numbers(mean)?, numbers(variance)?);
            let scale: Vec<f64> =
                gamma.iter().zip(&variance).map(|(g, v)| g / (v + f64::from(epsilon)).sqrt()).collect();
            let shift: Vec<f64> =
                beta.iter().zip(mean.iter().zip(&scale)).map(|(b, (m, s))| b - m * s).collect();
            if scale.iter().chain(&shift).any(|x| !x.is_finite()) {
                return Err(Error::data("its variances make no finite scale").hint(DAMAGED));
            }
            return Ok(Item::Activation(x.scaled(&scale, &shift, None)?));
        }
        let [gamma, beta, mean, variance] = [gamma.clone(), beta.clone(), mean.clone(), variance.clone()];
        self.unpadded(&x)?;
        let value = self.plain(node, 0)?;
        let y = self.emit.batch_norm(node.name(), value, [&gamma, &beta, &mean, &variance], epsilon)?;
        self.made(y, &x)
    }
}

/// The most numbers of an activation of one picture.
const MOST_NUMBERS: u64 = u32::MAX as u64;

/// Filters may grow by so many times: those of one pixel and a zero on one side become 2x2.
const MOST_GROWTH: usize = 9;

/// Filters with zeros around them, as long as those are few.
fn widened(weight: Weight, widen: Padding) -> Result<Weight> {
    let before = super::constant::elements(weight.shape())?;
    let weight = weight.padded(widen);
    if super::constant::elements(weight.shape())? > before.saturating_mul(MOST_GROWTH) {
        return Err(Error::data(format!("its padding differs from side to side by {widen:?}"))
            .hint("only a padding that differs by less than the kernel can be read"));
    }
    Ok(weight)
}

/// Zeros on each side as those that a convolution here can have, as many on both sides: filters get rows and
/// columns of zeros where fewer zeros lie around the map, so that those of the map may be more. Each window
/// then reaches further by as much as it begins earlier, and there are as many of them, whatever the stride.
fn symmetric(pad: Padding) -> ([[usize; 2]; 2], [usize; 2]) {
    let each = pad.map(|[before, after]| {
        let most = before.max(after);
        ([most - before, most - after], most)
    });
    // Padding before, of more zeros: the window begins earlier, so its first rows are zeros.
    (each.map(|(widen, _)| widen), each.map(|(_, most)| most))
}
