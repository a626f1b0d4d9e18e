//! Elementwise operators: ReLU, sums, arithmetic with constants, softmax; and concatenation of channels.

use super::activation::{Activation, Base, Channels};
use super::constant::Constant;
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node, size};
use super::unknown::does;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::ops::LrnOptions;
use crate::tensor::Value;
use crate::weights::onnx::proto::tensor::{BFLOAT16, DOUBLE, FLOAT, FLOAT16};

impl<'a> Importer<'a, '_> {
    pub(super) fn relu(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let value = self.plain(node, 0)?;
        let y = self.emit.graph.layer(node.name()).relu(value)?;
        // ReLU does not change the padding.
        let made = Activation {
            base: Base::Value(y),
            map: self.map_of(y)?,
            channels: None,
            step: [1; 2],
            nonnegative: true,
            ..x
        };
        Ok(Item::Activation(made))
    }

    /// `Clip` as a ReLU.
    pub(super) fn clip(&mut self, node: Node<'a>) -> Result<Item> {
        let min = self.number(node, "min", f32::NEG_INFINITY)?;
        let max = self.number(node, "max", f32::INFINITY)?;
        // Exporters write the largest number for "no upper bound".
        let unbounded = max >= f32::MAX;
        if min == 0.0 && unbounded {
            return self.relu(node);
        }
        if min <= f32::MIN && unbounded {
            return Ok(Item::Activation(self.activation(node, 0)?));
        }
        Err(Error::data(format!("it keeps numbers between {min} and {max}"))
            .hint("only a ReLU, from 0 on without an upper bound, is read"))
    }

    pub(super) fn lrn(&mut self, node: Node<'a>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        x.as_map()?;
        self.unpadded(&x)?;
        let options = LrnOptions {
            size: size("size", node.int("size", 0)?)?,
            alpha: node.float("alpha", 1e-4)?,
            beta: node.float("beta", 0.75)?,
            bias: node.float("bias", 1.0)?,
        };
        let value = self.plain(node, 0)?;
        let y = self.emit.graph.layer(node.name()).lrn(value, options)?;
        self.made(y, &x)
    }

    /// `Add` and `Sum`.
    pub(super) fn add(&mut self, node: Node<'a>) -> Result<Item> {
        let count = node.inputs().len();
        if count == 2 && (self.constant(node, 0)?.is_some() || self.constant(node, 1)?.is_some()) {
            return self.by_constant(node);
        }
        let mut terms = Vec::with_capacity(count);
        for i in 0..count {
            let term = self.activation(node, i)?;
            self.unpadded(&term)?;
            terms.push(term);
        }
        let first = terms.first().ok_or_else(|| Error::data("it adds nothing").hint(DAMAGED))?.clone();
        let same = |t: &&Activation| {
            (t.sizes(), &t.tail, t.together) == (first.sizes(), &first.tail, first.together)
                && (t.last == first.last || t.is_either())
        };
        if let Some(other) = terms.iter().find(|t| !same(t)) {
            return Err(Error::data(format!("it adds {:?} and {:?}", first.tail, other.tail))
                .hint("only values of the same sizes, in the same order, can be added"));
        }
        // The operation of this crate takes a shortcut without parameters as its second operand.
        let shortcut = terms.iter().position(|t| self.shortcut(t).is_some()).filter(|_| count == 2);
        let y = match shortcut.and_then(|i| Some((i, self.shortcut(terms.get(i)?)?))) {
            Some((i, (from, step))) => {
                let to = self.plain(node, 1 - i)?;
                self.emit.graph.layer(node.name()).add_shortcut(to, from, step)?
            }
            None => {
                let mut sum = self.plain(node, 0)?;
                for i in 1..count {
                    let term = self.plain(node, i)?;
                    sum = self.emit.graph.layer(node.name()).add(sum, term)?;
                }
                sum
            }
        };
        let mut made = Activation::new(y, self.map_of(y)?);
        made.nonnegative = terms.iter().all(|t| t.nonnegative);
        (made.tail, made.last, made.together) = (first.tail, first.last, first.together);
        Ok(Item::Activation(made))
    }

    /// Whether an activation is a shortcut of option A (He et al. 2015): a value with a stride and channels of zeros on both sides.
    fn shortcut(&self, x: &Activation) -> Option<(Value, usize)> {
        let (Base::Value(value), [step, across]) = (&x.base, x.step) else { return None };
        if x.channels.is_none() && step == 1 {
            return None;
        }
        let channels = x.channels();
        let [.., c] = x.map;
        let front = channels.of.len().checked_sub(c)? / 2;
        let inside = |(i, (from, scale, shift)): (usize, &(Option<usize>, f64, f64))| {
            let wanted = i.checked_sub(front).filter(|i| *i < c);
            *from == wanted && (from.is_none() || *scale == 1.0) && *shift == 0.0
        };
        let fits = step == across && channels.of.iter().enumerate().all(inside);
        fits.then_some((*value, step))
    }

    /// A constant operand: one number, or one for each channel.
    fn per_channel(&self, node: Node, x: &Activation, constant: &Constant) -> Result<Vec<f64>> {
        let rank = x.tail.len() + 1;
        let [.., c] = x.sizes();
        let count = constant.elements()?;
        let mut sizes = constant.shape.clone();
        if let Some(along) = node.broadcast_axis()?.filter(|_| count != 1) {
            let axis = super::fold::axis(along, rank)?;
            sizes.resize(rank.saturating_sub(axis).max(sizes.len()), 1);
        }
        let channel_at = x.channel_axis().map(|i| rank - 1 - (i + 1));
        let fits = count == 1
            || sizes.iter().rev().enumerate().all(|(i, d)| *d == 1 || (Some(i) == channel_at && *d == c));
        if !fits || sizes.len() > rank {
            return Err(Error::data(format!(
                "a constant of the sizes {:?} meets {:?}",
                constant.shape, x.tail
            ))
            .hint("only one number, or one for each channel, can be added or multiplied"));
        }
        Ok(constant.to_floats(&self.budget)?.into_iter().map(f64::from).collect())
    }

    /// `Add`, `Sub`, `Mul` and `Div` of an activation and a constant.
    pub(super) fn by_constant(&mut self, node: Node<'a>) -> Result<Item> {
        let (first, second) = (self.constant(node, 0)?, self.constant(node, 1)?);
        let (i, constant) = match (first, second) {
            (None, Some(constant)) => (0, constant),
            (Some(constant), None) => (1, constant),
            _ => {
                return Err(Error::data("both of its inputs are computed from the picture")
                    .hint("of two such values only the sum is read"));
            }
        };
        let x = self.activation(node, i)?;
        let numbers = self.per_channel(node, &x, &constant)?;
        let [.., c] = x.sizes();
        self.budget.take(c.saturating_mul(4))?;
        let each = |f: fn(f64) -> f64| numbers.iter().map(|n| f(*n)).collect::<Vec<_>>();
        let one = |value: f64| vec![value];
        let mut added = None;
        let (scale, shift) = match (node.op(), i) {
            ("Add" | "Sum", _) => {
                if numbers.len() == c && constant.elements()? == c {
                    added = Some(Weight::new(constant.reshaped(vec![c], &self.budget)?));
                }
                (one(1.0), numbers)
            }
            ("Sub", 0) => (one(1.0), each(|n| -n)),
            ("Sub", _) => (one(-1.0), numbers),
            ("Mul", _) => (numbers, one(0.0)),
            ("Div", 0) if numbers.iter().all(|n| *n != 0.0) => (each(|n| 1.0 / n), one(0.0)),
            ("Div", 0) => return Err(Error::data("it divides by 0").hint(DAMAGED)),
            _ => {
                return Err(Error::data("it divides by a value that is computed from the picture")
                    .hint("the networks of the five families do not"));
            }
        };
        if scale.iter().chain(&shift).any(|n| !n.is_finite() || n.abs() > f64::from(f32::MAX)) {
            return Err(Error::data("its constant makes numbers that are not finite").hint(DAMAGED));
        }
        Ok(Item::Activation(x.scaled(&scale, &shift, added)?))
    }

    /// `Concat` along the channels.
    pub(super) fn concat(&mut self, node: Node<'a>) -> Result<Item> {
        let mut parts = Vec::with_capacity(node.inputs().len());
        for i in 0..node.inputs().len() {
            let part = self.activation(node, i)?;
            self.unpadded(&part)?;
            parts.push(part);
        }
        let first = parts.first().ok_or_else(|| Error::data("it joins nothing").hint(DAMAGED))?.clone();
        let rank = first.tail.len() + 1;
        let along = super::fold::axis(node.concat_axis()?, rank)?;
        let axes = first.axes().unwrap_or_default();
        let fits = |p: &Activation| p.axes().is_some_and(|a| a == axes);
        if first.channel_axis().map(|i| i + 1) != Some(along) || !parts.iter().all(fits) {
            return Err(Error::data(format!("it joins values along axis {along}"))
                .hint("only maps side by side along their channels are read"));
        }
        let nonnegative = parts.iter().all(|p| p.nonnegative);
        if let Some(joined) = self.channels_of_one(&parts)? {
            return Ok(Item::Activation(joined));
        }
        let mut values = Vec::with_capacity(parts.len());
        for i in 0..parts.len() {
            values.push(self.plain(node, i)?);
        }
        let y = self.emit.graph.layer(node.name()).concat(&values)?;
        let mut made = Activation::new(y, self.map_of(y)?);
        made.nonnegative = nonnegative;
        made.lies(&axes);
        Ok(Item::Activation(made))
    }

    /// The parts as channels of one value, if they all come from the same one.
    fn channels_of_one(&self, parts: &[Activation]) -> Result<Option<Activation>> {
        let Some(Activation { base: Base::Value(base), step, .. }) = parts.first() else { return Ok(None) };
        let same = |p: &Activation| matches!(p.base, Base::Value(b) if b == *base) && p.step == *step;
        if parts.len() < 2 || !parts.iter().all(same) || parts.iter().all(|p| p.channels.is_none()) {
            return Ok(None);
        }
        let of: Vec<_> = parts.iter().flat_map(|p| p.channels().of).collect();
        self.budget.take(of.len().saturating_mul(4))?;
        let Some(first) = parts.first() else { return Ok(None) };
        Ok(Some(first.clone().with_channels(Channels { of, added: None })?))
    }

    /// Softmax at the end of a classifier. It is left out, because a network here gives logits.
    pub(super) fn softmax(&mut self, node: Node<'a>) -> Result<Item> {
        let mut x = self.activation(node, 0)?;
        let rank = x.tail.len() + 1;
        let (axis, flattens) = node.softmax_axis()?;
        let axis = super::fold::axis(axis, rank)?;
        let at = x.channel_axis().map(|i| i + 1);
        let whole = at == Some(axis) || (flattens && axis > 0 && at > Some(axis));
        if !x.is_vector() || !whole {
            return Err(Error::data(format!("it takes the softmax of {:?} along axis {axis}", x.tail))
                .hint("a softmax is read as the last operation, over the classes, only"));
        }
        x.softmax = true;
        Ok(Item::Activation(x))
    }

    /// Sigmoid at the end of a network with one output. It is left out, and applied where a probability is shown.
    pub(super) fn sigmoid(&mut self, node: Node<'a>) -> Result<Item> {
        let mut x = self.activation(node, 0)?;
        if !x.is_vector() || x.tail.iter().product::<usize>() != 1 {
            return Err(Error::data(format!("it {}", does(node.op()).unwrap_or("is no ReLU")))
                .hint("a sigmoid is read as the last operation of a network with one output only"));
        }
        x.softmax = true;
        Ok(Item::Activation(x))
    }

    pub(super) fn cast(&mut self, node: Node<'a>) -> Result<Item> {
        let to = i32::try_from(node.int("to", 0).unwrap_or(0)).unwrap_or(0);
        let named = node.text("to").is_ok_and(|t| t.is_some_and(|t| t.starts_with("FLOAT")));
        if named || [FLOAT, FLOAT16, BFLOAT16, DOUBLE].contains(&to) {
            // All values are computed in f32, so a cast has no effect.
            return Ok(Item::Activation(self.any_activation(node, 0)?));
        }
        Err(Error::data(format!("it makes numbers of type {to} of activations"))
            .hint("the networks of the five families compute on floating-point numbers"))
    }
}
