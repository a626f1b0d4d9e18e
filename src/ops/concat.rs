//! Concatenation of activations along the channels, and slices of channels, which are its gradient.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Inputs, Op, OpTraits, Storage, arity, image};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, RowGrid};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/concat.wgsl");

params! {
    Params {
        rows: u32,
        width: u32,
        channels: u32,
        x_pitch: u32, x_from: u32,
        y_pitch: u32, y_from: u32,
        lanes_log2: u32,
    }
}

#[derive(Debug)]
struct Concat;

#[derive(Debug)]
struct Channels {
    from: usize,
    count: usize,
}

impl Graph {
    /// Concatenates activations `(N, H, W, C1)`, `(N, H, W, C2)`, ... to `(N, H, W, C1 + C2 + ...)`. An input is not
    /// copied if its producer can write a slice of the result.
    ///
    /// # Errors
    /// [`Error::Usage`] if `parts` is empty or their maps differ.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        if let [one] = parts {
            return Ok(*one);
        }
        self.push_op(Concat, parts)
    }

    /// Channels `from` to `from + count` of `x` `(N, H, W, C)`: `(N, H, W, count)`. Nothing is copied if all consumers
    /// can read a slice of `x`. It has no gradient.
    ///
    /// # Errors
    /// [`Error::Usage`] if `x` has no such channels.
    pub fn channels(&mut self, x: Value, from: usize, count: usize) -> Result<Value> {
        self.push_op(Channels { from, count }, &[x])
    }
}

/// Copies `count` channels of each pixel. If they are the last channels of the result, its padding is written too.
fn copy(r: &mut Recorder, x: Buf, x_from: usize, y: Buf, y_from: usize, count: usize) -> Result<()> {
    let [n, h, w, c] = y.shape.dims();
    let [.., padded] = y.shape.padded();
    let width = if y_from + count == c { padded - y_from } else { count };
    let (from, to) = (x.pitch(), y.pitch());
    let [.., of_x] = x.shape.dims();
    // The padding of x holds zeros, so it may stand for that of y.
    let whole = count.is_multiple_of(4) || (x_from + count == of_x && width > count);
    let in_fours = whole && x_from.is_multiple_of(4) && y_from.is_multiple_of(4);
    // What is counted in vec4s in one kernel is counted in numbers in the other.
    let (entry, unit) = if in_fours { ("copy4", 4) } else { ("copy", 1) };
    let numbers = 4 / unit as u32;
    let rows = (n * h * w) as u32;
    let width = (width / unit) as u32;
    let RowGrid { lanes_log2, workgroups } = RowGrid::new(width, rows);
    let params = Params {
        rows,
        width,
        channels: count as u32,
        x_pitch: numbers * from.pitch4,
        x_from: numbers * from.from4 + (x_from / unit) as u32,
        y_pitch: numbers * to.pitch4,
        y_from: numbers * to.from4 + (y_from / unit) as u32,
        lanes_log2,
    };
    r.dispatch(kernel("concat", SHADER, entry), params, &[x], &[y], workgroups)
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Concat)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let first = inputs.first().ok_or_else(|| Error::usage("concat of nothing"))?;
        let [n, h, w, _] = image("concat", *first)?;
        let mut channels = 0usize;
        for input in inputs {
            let [n2, h2, w2, c] = image("concat", *input)?;
            if [n2, h2, w2] != [n, h, w] || input.precision() != first.precision() {
                return Err(Error::usage(format!("concat of {first} and {input}")));
            }
            channels = channels.saturating_add(c);
        }
        Ok(Shape::image(n, h, w, channels).stored_as(first.precision()))
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let mut from = 0;
        let mut parts = Vec::with_capacity(x.len());
        for part in x {
            let [.., c] = g.shape(*part)?.dims();
            parts.push(Some(g.channels(dy, from, c)?));
            from += c;
        }
        Ok(parts)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let mut from = 0;
        for part in x {
            let [.., c] = part.shape.dims();
            if !part.is_slice_of(&y, from) {
                copy(r, *part, 0, y, from, c)?;
            }
            from += c;
        }
        Ok(())
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::All,
            reads_slice: Inputs::All,
            storage: Storage::Concatenated,
            ..OpTraits::default()
        }
    }
}

impl Op for Channels {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [x] = arity(self.name(), inputs)?;
        let [n, h, w, c] = image(self.name(), x)?;
        if self.count == 0 || self.from.checked_add(self.count).is_none_or(|end| end > c) {
            return Err(Error::usage(format!("{} channels from {} on of {x}", self.count, self.from)));
        }
        Ok(Shape::image(n, h, w, self.count).stored_as(x.precision()))
    }

    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Err(Error::internal("channels are taken in gradients only, which have none themselves"))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        if y.is_slice_of(&x[0], self.from) { Ok(()) } else { copy(r, x[0], self.from, y, 0, self.count) }
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::All,
            reads_slice: Inputs::All,
            storage: Storage::Channels(self.from),
            ..OpTraits::default()
        }
    }
}
