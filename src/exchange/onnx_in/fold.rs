//! Constant folding: the arithmetic on shapes that exporters leave in a graph, and nodes that make constants.

use super::budget::Budget;
use super::constant::{Constant, Numbers, elements, row_major};
use super::node::{DAMAGED, Node};
use super::versions::Given;
use crate::error::{Error, Result};
use crate::weights::onnx::{File, Stored, proto};
use std::sync::Arc;

/// The inputs of a node whose inputs are all constant; `None` for an input that is left out.
pub(super) struct Fold<'a> {
    pub(super) file: &'a File,
    pub(super) node: Node<'a>,
    pub(super) inputs: &'a [Option<Constant>],
    pub(super) budget: &'a Budget,
}

/// The index of an axis of a value with `rank` axes. A negative number counts from the end.
///
/// # Errors
/// [`Error::Data`] if there is no such axis.
pub(super) fn axis(value: i64, rank: usize) -> Result<usize> {
    let from_end = if value < 0 { value.checked_add(rank as i64) } else { Some(value) };
    from_end
        .and_then(|a| usize::try_from(a).ok())
        .filter(|a| *a < rank)
        .ok_or_else(|| Error::data(format!("axis {value} of {rank} sizes")).hint(DAMAGED))
}

impl Fold<'_> {
    /// The results of a node; `None` for an operator that is not folded.
    ///
    /// # Errors
    /// [`Error::Data`] if the constants do not fit the operator, or it would compute too much.
    pub(super) fn run(&self) -> Result<Option<Vec<Constant>>> {
        let one = match self.node.op() {
            "Constant" => self.constant()?,
            "ConstantOfShape" => self.constant_of_shape()?,
            "Shape" => {
                let shape: Vec<i64> = self.input(0)?.shape.iter().map(|d| *d as i64).collect();
                shape_part(self.node, &shape)?
            }
            "Identity" | "Dropout" => self.input(0)?.clone(),
            "Cast" => self.cast()?,
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic()?,
            "Sum" if self.inputs.len() == 1 => self.input(0)?.clone(),
            "Neg" | "Reciprocal" | "Sqrt" => self.each()?,
            "Concat" => self.concat()?,
            "Expand" => self.expand()?,
            "ReduceProd" => self.product()?,
            "Gather" => self.gather()?,
            "Slice" => self.slice()?,
            "Reshape" => self.reshape()?,
            "Flatten" => self.flatten()?,
            "Squeeze" => self.squeeze()?,
            "Unsqueeze" => self.unsqueeze()?,
            "Transpose" => {
                let x = self.input(0)?;
                let order = match self.node.ints("perm")? {
                    Some(order) => {
                        order.iter().map(|i| axis(*i, x.shape.len())).collect::<Result<Vec<_>>>()?
                    }
                    None => (0..x.shape.len()).rev().collect(),
                };
                x.transposed(&order, self.budget)?
            }
            _ => return Ok(None),
        };
        let name = self.node.outputs().first().map(String::as_str).unwrap_or_default();
        Ok(Some(vec![one.called(name)]))
    }

    fn input(&self, i: usize) -> Result<&Constant> {
        self.optional(i).ok_or_else(|| Error::data(format!("its input {} is missing", i + 1)).hint(DAMAGED))
    }

    fn optional(&self, i: usize) -> Option<&Constant> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    fn constant(&self) -> Result<Constant> {
        if let Some(tensor) = self.node.tensor("value")? {
            let name = self.node.outputs().first().cloned().unwrap_or_default();
            let tensor = proto::Tensor { name, ..tensor.clone() };
            return Ok(Constant::stored(&Arc::new(Stored::new(tensor, self.file.folder())?)));
        }
        if let Some(values) = self.node.ints("value_ints")? {
            return Ok(Constant::ints("", vec![values.len()], values.to_vec()));
        }
        if let Some(values) = self.node.floats("value_floats")? {
            return Ok(Constant::floats("", vec![values.len()], values.to_vec()));
        }
        if self.node.has("value_int") {
            return Ok(Constant::ints("", Vec::new(), vec![self.node.int("value_int", 0)?]));
        }
        if self.node.has("value_float") {
            return Ok(Constant::floats("", Vec::new(), vec![self.node.float("value_float", 0.0)?]));
        }
        Err(Error::data("it has no value that is read")
            .hint("numbers are; sparse tensors and strings are not"))
    }

    fn constant_of_shape(&self) -> Result<Constant> {
        let sizes = self.input(0)?.to_ints(self.budget)?;
        let shape = sizes.iter().map(|i| super::node::size("shape", *i)).collect::<Result<Vec<_>>>()?;
        let numbers = match self.node.tensor("value")? {
            None => Numbers::Fill(0.0),
            Some(tensor) => {
                let value = Constant::stored(&Arc::new(Stored::new(tensor.clone(), self.file.folder())?));
                if value.elements()? != 1 {
                    let what = format!("its value has {} numbers, not one", value.elements()?);
                    return Err(Error::data(what).hint(DAMAGED));
                }
                if value.is_integer() {
                    Numbers::FillInt(value.to_ints(self.budget)?.first().copied().unwrap_or(0))
                } else {
                    Numbers::Fill(value.to_floats(self.budget)?.first().copied().unwrap_or(0.0))
                }
            }
        };
        Constant::repeated("", shape, numbers)
    }

    fn cast(&self) -> Result<Constant> {
        use proto::tensor::{BFLOAT16, BOOL, DOUBLE, FLOAT, FLOAT16, INT32, INT64};
        let x = self.input(0)?;
        let to = i32::try_from(self.node.int("to", 0)?).unwrap_or(0);
        // The first versions give the type by name.
        let float = [FLOAT, FLOAT16, BFLOAT16, DOUBLE].contains(&to)
            || self.node.text("to").is_ok_and(|t| t == Some("FLOAT"));
        let integer = [INT32, INT64, BOOL].contains(&to);
        match x.is_integer() {
            true if float => {
                let values = x.to_ints(self.budget)?.into_iter().map(|i| i as f32).collect();
                Ok(Constant::floats(&x.name, x.shape.clone(), values))
            }
            false if integer => {
                let values = x.to_floats(self.budget)?.into_iter().map(|f| f as i64).collect();
                Ok(Constant::ints(&x.name, x.shape.clone(), values))
            }
            _ if float || integer => Ok(x.clone()),
            _ => Err(Error::data(format!("numbers of type {to} are not made")).hint(DAMAGED)),
        }
    }

    fn arithmetic(&self) -> Result<Constant> {
        let (a, b) = (self.input(0)?, self.input(1)?);
        if a.is_integer() != b.is_integer() {
            return Err(Error::data("its inputs are integers and fractions").hint(DAMAGED));
        }
        let shape = broadcast(&a.shape, &b.shape)?;
        let count = elements(&shape)?;
        self.budget.take(count)?;
        let (left, right) = (spread(&a.shape, &shape), spread(&b.shape, &shape));
        let places = super::constant::places(&shape, &left, 0, count)
            .zip(super::constant::places(&shape, &right, 0, count));
        let beyond = || Error::internal("a place beyond a constant");
        if a.is_integer() {
            let (a, b) = (a.to_ints(self.budget)?, b.to_ints(self.budget)?);
            let compute = |x: i64, y: i64| match self.node.op() {
                "Add" => x.checked_add(y),
                "Sub" => x.checked_sub(y),
                "Mul" => x.checked_mul(y),
                _ => x.checked_div(y),
            };
            let each = |(i, j): (usize, usize)| {
                let (x, y) = a.get(i).zip(b.get(j)).ok_or_else(beyond)?;
                compute(*x, *y)
                    .ok_or_else(|| Error::data(format!("{x} and {y} have no result")).hint(DAMAGED))
            };
            return Ok(Constant::ints("", shape.clone(), places.map(each).collect::<Result<_>>()?));
        }
        let (a, b) = (a.to_floats(self.budget)?, b.to_floats(self.budget)?);
        let compute = |x: f32, y: f32| match self.node.op() {
            "Add" => x + y,
            "Sub" => x - y,
            "Mul" => x * y,
            _ => x / y,
        };
        let each =
            |(i, j): (usize, usize)| a.get(i).zip(b.get(j)).map(|(x, y)| compute(*x, *y)).ok_or_else(beyond);
        Ok(Constant::floats("", shape.clone(), places.map(each).collect::<Result<_>>()?))
    }

    /// A function of each number. Exporters may leave a batch norm as such functions.
    fn each(&self) -> Result<Constant> {
        let x = self.input(0)?;
        if x.is_integer() {
            let values = x.to_ints(self.budget)?.into_iter().map(i64::checked_neg);
            let values = values.filter(|_| self.node.op() == "Neg").collect::<Option<Vec<_>>>();
            let values = values.filter(|v| x.elements().is_ok_and(|n| n == v.len()));
            let none = || Error::data("its integers have no result").hint(DAMAGED);
            return Ok(Constant::ints("", x.shape.clone(), values.ok_or_else(none)?));
        }
        let compute = match self.node.op() {
            "Neg" => |v: f32| -v,
            "Reciprocal" => f32::recip,
            _ => f32::sqrt,
        };
        let values = x.to_floats(self.budget)?.into_iter().map(compute).collect();
        Ok(Constant::floats("", x.shape.clone(), values))
    }

    /// The product of some sizes.
    fn product(&self) -> Result<Constant> {
        let x = self.input(0)?;
        let axes = self.list("axes")?.unwrap_or_default();
        if axes.is_empty() && self.node.int("noop_with_empty_axes", 0)? != 0 {
            return Ok(x.clone());
        }
        if x.shape.len() != 1 || !matches!(axes.as_slice(), [] | [0 | -1]) {
            return Err(Error::data("it multiplies the numbers of a constant along some axes")
                .hint("only products of all numbers of a list are read"));
        }
        let product = x.to_ints(self.budget)?.into_iter().try_fold(1i64, i64::checked_mul);
        let product = product.ok_or_else(|| Error::data("its product is too large").hint(DAMAGED))?;
        let keep = self.node.int("keepdims", 1)? != 0;
        Ok(Constant::ints("", if keep { vec![1] } else { Vec::new() }, vec![product]))
    }

    /// Broadcasts numbers to a shape.
    fn expand(&self) -> Result<Constant> {
        let x = self.input(0)?;
        let to = self.input(1)?.to_ints(self.budget)?;
        let to = to.iter().map(|i| super::node::size("shape", *i)).collect::<Result<Vec<_>>>()?;
        let shape = broadcast(&x.shape, &to)?;
        let count = elements(&shape)?;
        self.budget.take(count)?;
        let places: Vec<usize> =
            super::constant::places(&shape, &spread(&x.shape, &shape), 0, count).collect();
        x.picked(shape, &places, self.budget)
    }

    fn concat(&self) -> Result<Constant> {
        let first = self.input(0)?;
        let along = axis(self.node.concat_axis()?, first.shape.len())?;
        let (mut ints, mut floats) = (Vec::new(), Vec::new());
        let outer: usize = first.shape.iter().take(along).product();
        let mut total = 0usize;
        for i in 0..self.inputs.len() {
            let part = self.input(i)?;
            let same = part.shape.len() == first.shape.len()
                && part.is_integer() == first.is_integer()
                && part.shape.iter().zip(&first.shape).enumerate().all(|(i, (a, b))| i == along || a == b);
            if !same {
                let what = format!("{:?} and {:?} do not fit side by side", first.shape, part.shape);
                return Err(Error::data(what).hint(DAMAGED));
            }
            total = total.saturating_add(part.shape.get(along).copied().unwrap_or(0));
            // All parts have the same type, so one of the two lists is empty.
            if part.is_integer() {
                ints.push(part.to_ints(self.budget)?);
            } else {
                floats.push(part.to_floats(self.budget)?);
            }
        }
        let mut shape = first.shape.clone();
        if let Some(size) = shape.get_mut(along) {
            *size = total;
        }
        self.budget.take(elements(&shape)?)?;
        if first.is_integer() {
            return Ok(Constant::ints("", shape, interleave(&ints, outer)));
        }
        Ok(Constant::floats("", shape, interleave(&floats, outer)))
    }

    fn gather(&self) -> Result<Constant> {
        let (x, indices) = (self.input(0)?, self.input(1)?);
        let along = axis(self.node.int("axis", 0)?, x.shape.len())?;
        let size = x.shape.get(along).copied().unwrap_or(0);
        let picks = indices.to_ints(self.budget)?;
        let picks = picks.into_iter().map(|i| axis(i, size)).collect::<Result<Vec<_>>>()?;
        let (before, after) = x.shape.split_at(along);
        let after = after.get(1..).unwrap_or_default();
        let shape: Vec<usize> = before.iter().chain(&indices.shape).chain(after).copied().collect();
        let (outer, inner) = (elements(before)?, elements(after)?);
        self.budget.take(elements(&shape)?)?;
        let places: Vec<usize> = (0..outer)
            .flat_map(|o| picks.iter().map(move |p| (o, *p)))
            .flat_map(|(o, p)| (0..inner).map(move |i| (o * size + p) * inner + i))
            .collect();
        x.picked(shape, &places, self.budget)
    }

    fn slice(&self) -> Result<Constant> {
        let x = self.input(0)?;
        let mut starts = vec![0i64; x.shape.len()];
        let mut steps = vec![1i64; x.shape.len()];
        let mut shape = x.shape.clone();
        for cut in cuts(&|name| self.list(name), &x.shape)? {
            if let (Some(start), Some(step), Some(size)) =
                (starts.get_mut(cut.axis), steps.get_mut(cut.axis), shape.get_mut(cut.axis))
            {
                (*start, *step, *size) = (cut.start, cut.step, cut.count);
            }
        }
        let count = elements(&shape)?;
        self.budget.take(count)?;
        let (rows, order) = (row_major(&x.shape), row_major(&shape));
        let place = |i: usize| -> usize {
            let axes = shape.iter().zip(&order).zip(&rows).zip(starts.iter().zip(&steps));
            let along = axes.map(|(((size, row), from), (start, step))| {
                let at = start + ((i / row.max(&1)) % size.max(&1)) as i64 * step;
                usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(*from)
            });
            along.fold(0usize, usize::saturating_add)
        };
        let places: Vec<usize> = (0..count).map(place).collect();
        x.picked(shape, &places, self.budget)
    }

    fn reshape(&self) -> Result<Constant> {
        let x = self.input(0)?;
        let wanted = self.list("shape")?.unwrap_or_default();
        let keep_zero = self.node.int("allowzero", 0)? != 0;
        let mut shape = Vec::with_capacity(wanted.len());
        for (i, size) in wanted.iter().enumerate() {
            shape.push(match size {
                0 if !keep_zero => x.shape.get(i).copied().unwrap_or(0),
                -1 => 1,
                size => super::node::size("shape", *size)?,
            });
        }
        if let Some(free) = wanted.iter().position(|s| *s == -1) {
            let rest = elements(&shape)?.max(1);
            if let Some(size) = shape.get_mut(free) {
                *size = x.elements()? / rest;
            }
        }
        x.reshaped(shape, self.budget)
    }

    fn flatten(&self) -> Result<Constant> {
        let x = self.input(0)?;
        let along = self.node.int("axis", 1)?;
        let at = if along == x.shape.len() as i64 { x.shape.len() } else { axis(along, x.shape.len())? };
        let (before, after) = x.shape.split_at(at);
        x.reshaped(vec![elements(before)?, elements(after)?], self.budget)
    }

    /// A list of integers: an input or an attribute, depending on the version of the operator.
    fn list(&self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(match self.node.given(name)? {
            Given::Input(i) => Some(self.input(i)?.to_ints(self.budget)?),
            Given::Attribute => self.node.ints(name)?.map(<[i64]>::to_vec),
            Given::Nowhere => None,
        })
    }

    fn squeeze(&self) -> Result<Constant> {
        let x = self.input(0)?;
        x.reshaped(squeezed(&x.shape, self.list("axes")?.as_deref())?, self.budget)
    }

    fn unsqueeze(&self) -> Result<Constant> {
        let x = self.input(0)?;
        x.reshaped(unsqueezed(&x.shape, &self.list("axes")?.unwrap_or_default())?, self.budget)
    }
}

/// A shape without these axes, whose size must be 1; without axes, without all axes of size 1.
pub(super) fn squeezed(shape: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>> {
    let Some(axes) = axes else { return Ok(shape.iter().copied().filter(|d| *d != 1).collect()) };
    let gone = axes.iter().map(|a| axis(*a, shape.len())).collect::<Result<Vec<_>>>()?;
    if let Some(size) = gone.iter().filter_map(|a| shape.get(*a)).find(|d| **d != 1) {
        return Err(Error::data(format!("a size of {size} cannot be left out")).hint(DAMAGED));
    }
    Ok(shape.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, d)| *d).collect())
}

/// A shape with axes of size 1 at these positions of the result.
pub(super) fn unsqueezed(shape: &[usize], axes: &[i64]) -> Result<Vec<usize>> {
    let rank = shape.len() + axes.len();
    let new = axes.iter().map(|a| axis(*a, rank)).collect::<Result<Vec<_>>>()?;
    let mut old = shape.iter();
    Ok((0..rank).map(|i| if new.contains(&i) { 1 } else { old.next().copied().unwrap_or(1) }).collect())
}

/// The part of a shape that a `Shape` node takes.
pub(super) fn shape_part(node: Node, shape: &[i64]) -> Result<Constant> {
    let rank = shape.len() as i64;
    let clamp =
        |i: i64| usize::try_from(if i < 0 { i.saturating_add(rank) } else { i }.clamp(0, rank)).unwrap_or(0);
    let (start, end) = (clamp(node.int("start", 0)?), clamp(node.int("end", rank)?));
    let part = shape.get(start..end).unwrap_or_default().to_vec();
    Ok(Constant::ints("", vec![part.len()], part))
}

/// A slice of an axis.
pub(super) struct Cut {
    pub(super) axis: usize,
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

/// The slices of a `Slice` node, for a value of this shape. `list` reads one of its lists.
///
/// # Errors
/// [`Error::Data`] if its inputs do not fit.
pub(super) fn cuts(list: &dyn Fn(&str) -> Result<Option<Vec<i64>>>, shape: &[usize]) -> Result<Vec<Cut>> {
    let missing = || Error::data("it does not say where to cut").hint(DAMAGED);
    let (starts, ends) = (list("starts")?.ok_or_else(missing)?, list("ends")?.ok_or_else(missing)?);
    let axes = list("axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list("steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(Error::data("its starts, ends, axes and steps are not as many").hint(DAMAGED));
    }
    let mut cuts: Vec<Cut> = Vec::with_capacity(starts.len());
    for (((start, end), along), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let axis = axis(along, shape.len())?;
        if step == 0 || step == i64::MIN || cuts.iter().any(|c| c.axis == axis) {
            return Err(Error::data(format!("a step of {step} along axis {axis}")).hint(DAMAGED));
        }
        let size = shape.get(axis).copied().unwrap_or(0) as i64;
        let from_end = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
        let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
        let (start, end) = (from_end(start).clamp(low.max(0), high.max(0)), from_end(end).clamp(low, high));
        let span = if step > 0 { end - start } else { start - end };
        let count = if span <= 0 { 0 } else { (span - 1) / step.abs() + 1 };
        cuts.push(Cut { axis, start, step, count: usize::try_from(count).unwrap_or(0) });
    }
    Ok(cuts)
}

/// The broadcast shape of two operands.
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len()).checked_sub(rank).and_then(|i| shape.get(i)).copied().unwrap_or(1)
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (1, n) | (n, 1) => Ok(n),
            (n, m) if n == m => Ok(n),
            _ => Err(Error::data(format!("{a:?} and {b:?} do not fit together")).hint(DAMAGED)),
        })
        .collect()
}

/// The strides of a constant that is broadcast to a larger shape.
fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    let strides = row_major(from);
    let missing = to.len().saturating_sub(from.len());
    let own = from.iter().zip(strides).map(|(size, stride)| if *size == 1 { 0 } else { stride });
    std::iter::repeat_n(0, missing).chain(own).collect()
}

/// Concatenates parts along an inner axis: each part has `outer` pieces, which alternate in the result.
fn interleave<T: Copy>(parts: &[Vec<T>], outer: usize) -> Vec<T> {
    let mut joined = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for i in 0..outer {
        for part in parts {
            let each = part.len() / outer.max(1);
            joined.extend_from_slice(part.get(i * each..(i + 1) * each).unwrap_or_default());
        }
    }
    joined
}
