//! Convolutions, fully connected layers and batch norm.

use super::activation::{Activation, Base, Product};
use super::axis::Axis;
use super::constant::Constant;
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node};
use super::weight::Weight;
use super::windows::{Padding, padding};
use crate::error::{Error, Result};
use crate::ops::ConvOptions;
use std::sync::Arc;

impl<'a> Importer<'a, '_> {
    /// A floating-point constant as a parameter.
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

    /// A parameter with one number for each channel.
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
        // Padding of an earlier node becomes part of the convolution.
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
            // A window over the whole map is a fully connected layer. The weights of such a layer may be stored in pieces.
            let weight = weight.shaped(vec![k, c.saturating_mul(r).saturating_mul(s)]);
            let product = Product { layer, x, weight, bias, convolution: None };
            return Ok(Item::Activation(Activation::of(Base::Product(Arc::new(product)), [1, 1, k])));
        }
        let weight = if widen == [[0; 2]; 2] { weight } else { widened(weight, widen)? };
        let options = ConvOptions { stride, pad, groups };
        let [rows, columns] = windows([height, width], [r, s], widen, &options)?;
        let map = [rows, columns, k];
        if super::constant::elements(&map)? as u64 > MOST_NUMBERS {
            let what = format!("it makes {rows}x{columns} pixels of {k} channels of one picture");
            return Err(Error::data(what).hint(DAMAGED));
        }
        let product = Product { layer, x, weight, bias, convolution: Some(options) };
        Ok(Item::Activation(Activation::of(Base::Product(Arc::new(product)), map)))
    }

    /// `Gemm` and `MatMul`.
    pub(super) fn matrix(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let [h, w, c] = x.sizes();
        let inputs = h.saturating_mul(w).saturating_mul(c);
        self.unpadded(&x)?;
        // If the channels are the last axis, it may be a product of each pixel.
        let pixels =
            (node.op() == "MatMul" || x.together) && x.channel_axis().is_some_and(|i| i + 1 == x.tail.len());
        if x.tail != [inputs] && !pixels {
            return Err(Error::data(format!("its input has the sizes {:?} behind the batch", x.tail))
                .hint("a fully connected layer takes all numbers of a picture in a row"));
        }
        if node.int("transA", 0)? != 0 {
            return Err(Error::data("its input is transposed, so that pictures would mix").hint(DAMAGED));
        }
        let (constant, [k, rows]) = self.matrix_weights(node)?;
        let takes = if pixels { c } else { inputs };
        if rows != takes {
            return Err(Error::data(format!("its weights take {rows} numbers, but its input has {takes}"))
                .hint("use the input size that the network was made for"));
        }
        let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
        let bias = self.matrix_bias(node, k)?.map(|bias| bias.scaled(beta));
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
            // Rows in the file have channels last; those of a layer here have channels first.
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

    /// The weights of a matrix product as `[outputs, inputs]`, and these sizes.
    fn matrix_weights(&mut self, node: Node<'a>) -> Result<(Constant, [usize; 2])> {
        let Some(constant) = self.constant(node, 1)? else {
            return Err(Error::data("it multiplies two values that are computed from the input")
                .hint("the networks of the five families do not"));
        };
        if constant.shape.len() != 2 {
            return Err(Error::data(format!("its weights have the sizes {:?}", constant.shape)).hint(DAMAGED));
        }
        let constant =
            if node.int("transB", 0)? == 0 { constant.transposed(&[1, 0], &self.budget)? } else { constant };
        match *constant.shape.as_slice() {
            [outputs, inputs] if outputs > 0 => Ok((constant, [outputs, inputs])),
            _ => Err(Error::data("it has no outputs").hint(DAMAGED)),
        }
    }

    /// The bias of a matrix product, if it has one.
    fn matrix_bias(&mut self, node: Node<'a>, outputs: usize) -> Result<Option<Weight>> {
        if node.input(2).is_none() {
            return Ok(None);
        }
        match self.constant(node, 2)? {
            Some(bias) => self.bias(bias, outputs).map(Some),
            None => Err(Error::data("it adds a value that is computed from the input")
                .hint("only a bias that is in the file can be read")),
        }
    }

    /// One number for each output. The file may have a single number for all.
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
            // A batch norm of the input is part of the preprocessing.
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

/// How many windows of a kernel fit into a map, along rows and columns. `widen` are the zeros that were added to the filters.
fn windows(
    map: [usize; 2],
    kernel: [usize; 2],
    widen: [[usize; 2]; 2],
    options: &ConvOptions,
) -> Result<[usize; 2]> {
    let along = |i: usize| -> Result<usize> {
        let side = kernel[i].saturating_add(widen[i][0]).saturating_add(widen[i][1]);
        let padded = map[i].saturating_add(options.pad[i].saturating_mul(2));
        let room = padded.checked_sub(side).ok_or_else(|| {
            let ([height, width], [r, s]) = (map, kernel);
            Error::data(format!("a map of {height}x{width} is smaller than its kernel of {r}x{s}"))
                .hint("use a larger input size")
        })?;
        Ok(room / options.stride[i] + 1)
    };
    Ok([along(0)?, along(1)?])
}

/// The most numbers of an activation for one picture.
const MOST_NUMBERS: u64 = u32::MAX as u64;

/// How many times larger padding may make filters. A filter of one pixel with a zero on one side becomes 2x2.
const MOST_GROWTH: usize = 9;

/// Pads filters with zeros, within this limit.
fn widened(weight: Weight, widen: Padding) -> Result<Weight> {
    let before = super::constant::elements(weight.shape())?;
    let weight = weight.padded(widen);
    if super::constant::elements(weight.shape())? > before.saturating_mul(MOST_GROWTH) {
        return Err(Error::data(format!("its padding differs from side to side by {widen:?}"))
            .hint("only a padding that differs by less than the kernel can be read"));
    }
    Ok(weight)
}

/// Replaces asymmetric padding of a map by symmetric padding and padding of the filters. A convolution here has the same padding on both
/// sides. On the side with less padding, the map gets more and the filters get as many zeros. Each window then starts earlier and is
/// larger by the same amount, so the number of windows does not change, whatever the stride.
fn symmetric(pad: Padding) -> ([[usize; 2]; 2], [usize; 2]) {
    let each = pad.map(|[before, after]| {
        let most = before.max(after);
        ([most - before, most - after], most)
    });
    // With more padding in front a window starts earlier, so its first rows are zeros.
    (each.map(|(widen, _)| widen), each.map(|(_, most)| most))
}
