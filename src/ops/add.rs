//! Sums of two tensors. The second one may be a smaller shortcut (He et al. 2015, section 4.2).

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Inputs, Op, OpTraits, arity, image, same};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder, Stage};
use crate::params;
use crate::tensor::{Shape, Value};

const SHADER: &str = include_str!("../../shaders/add.wgsl");

params! {
    Params { total4: u32, h: u32, w: u32, c: u32, p: u32, q: u32, k: u32, stride: u32, front: u32 }
}

#[derive(Debug)]
struct Add;

#[derive(Debug)]
struct Accumulate;

#[derive(Debug)]
struct AddShortcut {
    stride: usize,
}

#[derive(Debug)]
struct ShortcutDx {
    stride: usize,
    to: Shape,
}

impl Graph {
    /// `a + b`, where both have the same shape: activations, filters or vectors.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push_op(Add, &[a, b])
    }

    /// Adds `a` to the state `into`, in place.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes differ.
    pub fn accumulate(&mut self, a: Value, into: Value) -> Result<Value> {
        self.push_op(Accumulate, &[a, into])
    }

    /// `a` `(N, P, Q, K)` plus a shortcut without parameters ("option A"): every `stride`-th row and column of `s`
    /// `(N, H, W, C)`, where `P = ceil(H/stride)`. The channels of `s` are centred among those of `a`.
    ///
    /// # Errors
    /// [`Error::Usage`] if the shapes do not fit.
    pub fn add_shortcut(&mut self, a: Value, s: Value, stride: usize) -> Result<Value> {
        if stride == 1 && self.shape(a)? == self.shape(s)? {
            return self.add(a, s);
        }
        self.push_op(AddShortcut { stride }, &[a, s])
    }
}

fn params(total4: u32, s: Shape, y: Shape, stride: usize) -> Params {
    let [_, h, w, c] = s.dims().map(|d| d as u32);
    let [_, p, q, k] = y.dims().map(|d| d as u32);
    Params { total4, h, w, c, p, q, k, stride: stride as u32, front: (k - c) / 2 }
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Add)
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, b] = arity("add", inputs)?;
        same("add", a, b)
    }

    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(dy), Some(dy)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = Params { total4: y.vec4s(), ..Params::default() };
        r.flat(kernel("add", SHADER, "add"), params, x, &[y], y.vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits {
            per_image: Inputs::All,
            stage: Some((Inputs::All, Stage::Residual)),
            ..OpTraits::default()
        }
    }
}

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, into] = arity("accumulate", inputs)?;
        same("accumulate", a, into)?;
        Ok(Shape::nothing())
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], _y: Buf) -> Result<()> {
        let params = Params { total4: x[1].vec4s(), ..Params::default() };
        r.flat(kernel("accumulate", SHADER, "accumulate"), params, &x[..1], &x[1..], x[1].vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits { updates: &[1], ..OpTraits::default() }
    }
}

impl Op for AddShortcut {
    fn name(&self) -> &'static str {
        "add_shortcut"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::AddShortcut { stride: self.stride })
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, s] = arity("add_shortcut", inputs)?;
        let [n, p, q, k] = image("add_shortcut", a)?;
        let [m, h, w, c] = image("add_shortcut", s)?;
        let stride = self.stride;
        if stride == 0
            || n != m
            || a.precision() != s.precision()
            || h.div_ceil(stride) != p
            || w.div_ceil(stride) != q
            || c > k
        {
            return Err(Error::usage(format!("a shortcut of stride {stride} does not lead from {s} to {a}")));
        }
        Ok(a)
    }

    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        let to = g.shape(x[1])?;
        Ok(vec![Some(dy), Some(g.push_op(ShortcutDx { stride: self.stride, to }, &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = params(y.vec4s(), x[1].shape, y.shape, self.stride);
        r.flat(kernel("add_shortcut", SHADER, "add_shortcut"), params, x, &[y], y.vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}

impl Op for ShortcutDx {
    fn name(&self) -> &'static str {
        "add_shortcut.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [_] = arity("add_shortcut.dx", inputs)?;
        Ok(self.to)
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = params(y.vec4s(), y.shape, x[0].shape, self.stride);
        r.flat(kernel("add_shortcut.dx", SHADER, "shortcut_dx"), params, x, &[y], y.vec4s())
    }

    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE
    }
}
