//! Converts the filters of a grouped convolution to filters of one group.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::{Description, Op, arity, layout};
use crate::kernels::shader::kernel;
use crate::kernels::{Buf, Recorder};
use crate::params;
use crate::tensor::{Layout, Shape, Value};

const SHADER: &str = include_str!("../../shaders/ungroup.wgsl");

params! {
    Params { total4: u32, c: u32, group_c: u32, k: u32, group_k: u32 }
}

#[derive(Debug)]
struct Ungroup {
    groups: usize,
}

#[derive(Debug)]
struct UngroupDx {
    groups: usize,
}

impl Graph {
    /// Filters `(R, S, C/G, K)` of a convolution in `groups` groups as `(R, S, C, K)`, zero outside the groups.
    ///
    /// # Errors
    /// [`Error::Usage`] if K is not a multiple of `groups`.
    pub fn ungroup(&mut self, w: Value, groups: usize) -> Result<Value> {
        self.push_op(Ungroup { groups }, &[w])
    }
}

fn params(total4: u32, [_, _, group_c, k]: [usize; 4], groups: usize) -> Params {
    Params {
        total4,
        c: (group_c * groups) as u32,
        group_c: group_c as u32,
        k: k as u32,
        group_k: (k / groups) as u32,
    }
}

impl Op for Ungroup {
    fn name(&self) -> &'static str {
        "ungroup"
    }

    fn describe(&self) -> Option<Description> {
        Some(Description::Ungroup { groups: self.groups })
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [w] = arity("ungroup", inputs)?;
        let [r, s, c, k] = layout("ungroup", w, Layout::Filter)?;
        if self.groups == 0 || k % self.groups != 0 {
            return Err(Error::usage(format!(
                "{k} output channels do not divide into {} groups",
                self.groups
            )));
        }
        Ok(Shape::filter(r, s, c * self.groups, k))
    }

    fn gradient(&self, g: &mut Graph, _x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push_op(UngroupDx { groups: self.groups }, &[dy])?)])
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = params(y.vec4s(), x[0].shape.dims(), self.groups);
        r.flat(kernel("ungroup", SHADER, "ungroup"), params, x, &[y], y.vec4s())
    }
}

impl Op for UngroupDx {
    fn name(&self) -> &'static str {
        "ungroup.dx"
    }

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [dy] = arity("ungroup.dx", inputs)?;
        let [r, s, c, k] = layout("ungroup.dx", dy, Layout::Filter)?;
        Ok(Shape::filter(r, s, c / self.groups, k))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let params = params(y.vec4s(), y.shape.dims(), self.groups);
        r.flat(kernel("ungroup.dx", SHADER, "ungroup_dx"), params, x, &[y], y.vec4s())
    }
}
