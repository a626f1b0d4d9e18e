//! Operators that change the shape of activations: reshapes, transpositions, slices and padding.

use super::activation::{Activation, Base};
use super::axis::{Axis, MAP};
use super::fold::{axis, cuts, squeezed, unsqueezed};
use super::import::{Importer, Item};
use super::node::{DAMAGED, Node};
use crate::error::{Error, Result};

impl Importer<'_, '_> {
    pub(super) fn flatten(&mut self, node: Node<'_>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let rank = x.tail.len() as i64 + 1;
        let along = node.int("axis", 1)?;
        if along != 1 && along != 1 - rank {
            return Err(Error::data(format!("it flattens from axis {along} on, so that pictures would mix"))
                .hint("the networks of the five families flatten from axis 1 on"));
        }
        let count = x.numbers()?;
        Ok(Item::Activation(x.shaped(vec![count])?))
    }

    pub(super) fn reshape(&mut self, node: Node<'_>) -> Result<Item> {
        let mut x = self.activation(node, 0)?;
        let wanted = self.list(node, "shape")?.unwrap_or_default();
        let keep_zero = node.int("allowzero", 0)? != 0;
        if let Some(pixels) = self.together(&x, &wanted, keep_zero) {
            return Ok(Item::Activation(pixels));
        }
        if x.together {
            // Rows and columns become separate axes again.
            let [h, w, c] = x.sizes();
            (x.together, x.tail) = (false, vec![h, w, c]);
        }
        let wrong = || {
            Error::data(format!("it gives a batch of {:?} the sizes {wanted:?}", x.tail))
                .hint("only a map, or all of its numbers in a row, can be read")
        };
        let count = x.numbers()?;
        let (first, rest) = wanted.split_first().ok_or_else(wrong)?;
        let mut tail = Vec::with_capacity(rest.len());
        for (i, size) in rest.iter().enumerate() {
            tail.push(match size {
                0 if !keep_zero => x.tail.get(i).copied().ok_or_else(wrong)?,
                -1 => 1,
                size => super::node::size("shape", *size)?,
            });
        }
        let known =
            tail.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n > 0).ok_or_else(wrong)?;
        let free = rest.iter().position(|s| *s == -1);
        match (first, free) {
            // The size of the batch is inferred, so the other sizes must be those of a picture.
            (-1, None) => {}
            (-1, Some(_)) => return Err(wrong()),
            (batch, Some(free)) => {
                // A file is made for a batch size, which is 1 if it is not given. Here any batch size is possible.
                let made_for = self.batch_of_file.unwrap_or(1);
                let one = (*batch == 0 && !keep_zero)
                    || usize::try_from(*batch).is_ok_and(|b| b == self.batch || b == made_for);
                if !one || count % known != 0 {
                    return Err(wrong());
                }
                if let Some(size) = tail.get_mut(free) {
                    *size = count / known;
                }
            }
            (_, None) => {}
        }
        if tail.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) != Some(count) {
            return Err(wrong());
        }
        Ok(Item::Activation(x.shaped(tail)?))
    }

    /// Reshapes a map with channels last to a batch of pixels, if these are the sizes.
    fn together(&self, x: &Activation, wanted: &[i64], keep_zero: bool) -> Option<Activation> {
        let [h, w, c] = x.sizes();
        let [rows, channels] = *wanted else { return None };
        let pixels = h.checked_mul(w).filter(|n| *n > 1)?;
        let of = |batch: usize| batch.checked_mul(pixels).and_then(|n| i64::try_from(n).ok()) == Some(rows);
        // If batch and pixels are one axis already, 0 keeps it, and the inferred size is that of the channels.
        let kept = x.together && rows == 0 && !keep_zero;
        let all = rows == -1 || kept || of(self.batch) || of(self.batch_of_file.unwrap_or(1));
        let left = x.together && channels == -1 && rows != -1;
        let fits =
            all && (left || channels == i64::try_from(c).ok()?) && x.channel_axis()? + 1 == x.tail.len();
        fits.then(|| Activation { tail: vec![c], last: true, together: true, ..x.clone() })
    }

    pub(super) fn squeeze(&mut self, node: Node<'_>, more: bool) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let axes = self.list(node, "axes")?;
        // The axis of the batch may have any size.
        let batch = usize::MAX;
        let shape: Vec<usize> = std::iter::once(batch).chain(x.tail.iter().copied()).collect();
        let shape = if more {
            unsqueezed(&shape, &axes.unwrap_or_default())?
        } else {
            squeezed(&shape, axes.as_deref())?
        };
        match shape.split_first() {
            Some((first, tail)) if *first == batch => Ok(Item::Activation(x.shaped(tail.to_vec())?)),
            _ => Err(Error::data("it moves the batch").hint(DAMAGED)),
        }
    }

    /// `Transpose`.
    pub(super) fn transpose(&mut self, node: Node<'_>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        let rank = x.tail.len() + 1;
        let order = match node.ints("perm")? {
            Some(order) => order.iter().map(|i| axis(*i, rank)).collect::<Result<Vec<_>>>()?,
            None => (0..rank).rev().collect(),
        };
        Ok(Item::Activation(x.transposed(&order)?))
    }

    pub(super) fn slice(&mut self, node: Node<'_>) -> Result<Item> {
        let mut x = self.activation(node, 0)?;
        self.unpadded(&x)?;
        let shape: Vec<usize> = std::iter::once(usize::MAX >> 1).chain(x.tail.iter().copied()).collect();
        for cut in cuts(&|name| self.list(node, name), &shape)? {
            let whole = cut.start == 0 && cut.step == 1;
            let size = shape.get(cut.axis).copied().unwrap_or(0);
            if whole && cut.count == size {
                continue;
            }
            if cut.axis == 0 {
                return Err(Error::data("it takes some pictures of a batch").hint(DAMAGED));
            }
            match x.axis_at(cut.axis)? {
                Axis::Channel => {
                    let channels = x.channels();
                    let mut taken = Vec::with_capacity(cut.count);
                    self.budget.take(cut.count.saturating_mul(4))?;
                    for i in 0..cut.count as i64 {
                        let at = usize::try_from(cut.start + i * cut.step).ok();
                        let one = at.and_then(|at| channels.of.get(at)).copied();
                        taken.push(one.ok_or_else(|| Error::internal("a channel beyond a map"))?);
                    }
                    x = self.channels_taken(x, taken)?;
                }
                axis @ (Axis::Row | Axis::Column) => {
                    let i = usize::from(axis == Axis::Column);
                    let step = usize::try_from(cut.step).unwrap_or(0);
                    if cut.start != 0 || step == 0 || cut.count != size.div_ceil(step) {
                        return Err(Error::data("it cuts pixels off a map")
                            .hint("only every n-th row and column, from the first on, can be taken"));
                    }
                    let axes = x.axes().unwrap_or_default();
                    if let Some(along) = x.step.get_mut(i) {
                        *along = along.saturating_mul(step);
                    }
                    x.lies(&axes);
                }
                Axis::Pixel | Axis::One => {
                    return Err(Error::data(format!("it takes some of axis {}", cut.axis))
                        .hint("only channels, rows and columns can be taken"));
                }
            }
        }
        Ok(Item::Activation(x))
    }

    /// Takes some of the channels of a map.
    fn channels_taken(&self, x: Activation, of: Vec<(Option<usize>, f64, f64)>) -> Result<Activation> {
        if of.is_empty() {
            return Err(Error::data("no channel of its input is left").hint(DAMAGED));
        }
        let nonnegative = x.nonnegative && x.channels.is_none();
        let mut made = x.with_channels(super::activation::Channels { of, added: None })?;
        made.nonnegative = nonnegative;
        Ok(made)
    }

    /// `Gather` of channels with constant indices.
    pub(super) fn gather(&mut self, node: Node<'_>) -> Result<Item> {
        let x = self.activation(node, 0)?;
        self.unpadded(&x)?;
        let along = axis(node.int("axis", 0)?, x.tail.len() + 1)?;
        let Some(indices) = self.constant(node, 1)? else {
            return Err(Error::data("what it takes is computed from the input").hint(DAMAGED));
        };
        if x.channel_axis().map(|i| i + 1) != Some(along) || indices.shape.len() > 1 {
            return Err(Error::data(format!("it takes parts of axis {along}"))
                .hint("only channels can be taken from a map"));
        }
        let channels = x.channels();
        let mut taken = Vec::new();
        for i in indices.to_ints(&self.budget)? {
            let at = axis(i, channels.of.len())?;
            taken.extend(channels.of.get(at).copied());
        }
        let scalar = indices.shape.is_empty();
        let made = self.channels_taken(x, taken)?;
        if !scalar {
            return Ok(Item::Activation(made));
        }
        let tail = made.tail.iter().enumerate().filter(|(i, _)| i + 1 != along).map(|(_, d)| *d).collect();
        Ok(Item::Activation(made.shaped(tail)?))
    }

    /// `Split` of channels.
    pub(super) fn split(&mut self, node: Node<'_>) -> Result<Vec<Item>> {
        let x = self.activation(node, 0)?;
        let [.., c] = x.sizes();
        self.unpadded(&x)?;
        let along = axis(node.int("axis", 0)?, x.tail.len() + 1)?;
        let parts = node.outputs().len().max(1);
        let sizes = match self.list(node, "split")? {
            Some(sizes) => {
                sizes.iter().map(|s| super::node::size("split", *s)).collect::<Result<Vec<_>>>()?
            }
            None if c % parts != 0 && !node.splits_unevenly()? => {
                return Err(Error::data(format!("{c} channels cannot be split into {parts} equal parts"))
                    .hint(DAMAGED));
            }
            None => {
                let each = c.div_ceil(parts);
                (0..parts).map(|i| each.min(c.saturating_sub(each * i))).collect()
            }
        };
        let total = sizes.iter().try_fold(0usize, |n, s| n.checked_add(*s));
        if x.channel_axis().map(|i| i + 1) != Some(along) || sizes.len() != parts || total != Some(c) {
            return Err(Error::data(format!("it divides axis {along} into {sizes:?}"))
                .hint("only the channels of a map can be divided"));
        }
        let channels = x.channels();
        self.budget.take(c.saturating_mul(4))?;
        let mut from = 0;
        let mut items = Vec::with_capacity(parts);
        for size in sizes {
            let taken = channels.of.get(from..from + size).unwrap_or_default().to_vec();
            from += size;
            items.push(Item::Activation(self.channels_taken(x.clone(), taken)?));
        }
        Ok(items)
    }

    /// Zeros around a map, or channels of zeros.
    pub(super) fn pad(&mut self, node: Node<'_>) -> Result<Item> {
        let mut x = self.activation(node, 0)?;
        let pads = self.pads(node, x.tail.len() + 1)?;
        let mode = node.text("mode")?.unwrap_or("constant");
        let value = self.number(node, "value", 0.0)?;
        if pads.iter().all(|pad| *pad == [0; 2]) {
            return Ok(Item::Activation(x));
        }
        let [channels, rows, columns] = pads_of_map(&x, &pads)?;
        if mode != "constant" || value != 0.0 {
            return Err(Error::data(format!("it pads in the mode {mode} with {value}"))
                .hint("only zeros around a map can be read"));
        }
        let sizes = |[before, after]: [i64; 2]| -> Result<[usize; 2]> {
            Ok([super::node::size("padding", before)?, super::node::size("padding", after)?])
        };
        let [front, back] = sizes(channels)?;
        if front + back > 0 {
            x = self.with_zero_channels(x, front, back)?;
        }
        let shifted = x.channels.as_ref().is_some_and(|c| c.of.iter().any(|(.., shift)| *shift != 0.0));
        if shifted || matches!(x.base, Base::Product(_)) {
            // The zeros are put around the sum, so the sum is computed first.
            let value = self.emit.value(&x, node.name(), &self.budget)?;
            let (nonnegative, axes) = (x.nonnegative, x.axes());
            let pad = x.pad;
            x = Activation::new(value, self.map_of(value)?);
            (x.nonnegative, x.pad) = (nonnegative, pad);
            x.lies(axes.as_deref().unwrap_or(MAP));
        }
        let axes = x.axes();
        let sum = |[a, b]: [usize; 2], [c, d]: [usize; 2]| [a.saturating_add(c), b.saturating_add(d)];
        x.pad = [sum(x.pad[0], sizes(rows)?), sum(x.pad[1], sizes(columns)?)];
        x.lies(axes.as_deref().unwrap_or(MAP));
        Ok(Item::Activation(x))
    }

    /// The padding before and behind each of the `rank` axes of a `Pad` node.
    fn pads(&mut self, node: Node<'_>, rank: usize) -> Result<Vec<[i64; 2]>> {
        // The first version of the operator called the attribute `paddings`.
        let first = || node.ints("paddings").map(|p| p.unwrap_or_default().to_vec());
        let pads = self.list(node, "pads")?.map_or_else(first, Ok)?;
        if node.input(3).is_some() {
            let axes = self.integers(node, 3)?;
            let mut all = vec![[0; 2]; rank];
            for (i, along) in axes.iter().enumerate() {
                let at = axis(*along, rank)?;
                if let Some(place) = all.get_mut(at) {
                    let (before, after) = (pads.get(i), pads.get(i + axes.len()));
                    *place = [*before.unwrap_or(&place[0]), *after.unwrap_or(&place[1])];
                }
            }
            return Ok(all);
        }
        if pads.len() != 2 * rank {
            let what = format!("it has {} sizes of padding, not {}", pads.len(), 2 * rank);
            return Err(Error::data(what).hint(DAMAGED));
        }
        let (before, after) = pads.split_at(rank);
        Ok(before.iter().zip(after).map(|(before, after)| [*before, *after]).collect())
    }

    /// An activation with channels of zeros before and behind its own.
    fn with_zero_channels(&mut self, x: Activation, front: usize, back: usize) -> Result<Activation> {
        self.unpadded(&x)?;
        let channels = x.channels();
        let total = channels.of.len().saturating_add(front).saturating_add(back);
        self.budget.take(total.saturating_mul(4))?;
        let zeros = |n: usize| std::iter::repeat_n((None, 0.0, 0.0), n);
        let of = zeros(front).chain(channels.of).chain(zeros(back)).collect();
        self.channels_taken(x, of)
    }
}

/// The padding of channels, rows and columns.
///
/// # Errors
/// [`Error::Data`] if another axis is padded.
fn pads_of_map(x: &Activation, pads: &[[i64; 2]]) -> Result<[[i64; 2]; 3]> {
    let mut of_map = [[0; 2]; 3];
    let mut elsewhere = None;
    for (i, pad) in pads.iter().enumerate().filter(|(_, pad)| **pad != [0; 2]) {
        match i.checked_sub(1).map(|_| x.axis_at(i)).transpose()? {
            Some(Axis::Channel) => of_map[0] = *pad,
            Some(Axis::Row) => of_map[1] = *pad,
            Some(Axis::Column) => of_map[2] = *pad,
            _ => elsewhere = elsewhere.or(Some(i)),
        }
    }
    match elsewhere {
        None => Ok(of_map),
        Some(along) => Err(Error::data(format!("it pads axis {along} of a batch of {:?}", x.tail))
            .hint("only rows, columns and channels of a map can be padded")),
    }
}
