//! An operation of one's own: SiLU, y = x sigmoid(x), with its gradient, checked by differences. `cargo run --example custom_op`

use ocelli::gpu::{Gpu, GpuOptions, Kernel};
use ocelli::graph::{Graph, Op, OpTraits, op};
use ocelli::kernels::{Buf, FLAT, Recorder};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Shape, Value};
use ocelli::{Error, Result};
use std::sync::Arc;
// `Stored` is f32 or f16, as the activations are; `flat` is the index of an invocation.
const SHADER: &str = "
struct Params { total4: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<Stored>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<Stored>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<Stored>>;
fn sigmoid(v: vec4<f32>) -> vec4<f32> { return 1.0 / (1.0 + exp(-v)); }
@compute @workgroup_size(64)
fn silu(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups, lane);
    if i < params.total4 { let v = vec4<f32>(x[i]); y[i] = vec4<Stored>(v * sigmoid(v)); }
}
@compute @workgroup_size(64)
fn silu_dx(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group, groups, lane);
    let v = vec4<f32>(x[i]);
    let s = sigmoid(v);
    if i < params.total4 { dx[i] = vec4<Stored>(vec4<f32>(dy[i]) * (s + v * s * (1.0 - s))); }
}";

ocelli::params! { Params { total4: u32 } }
/// The forward pass, or the gradient from x and dy: both have one shape and one kernel over all numbers.
#[derive(Debug)]
struct Silu(&'static str);

impl Op for Silu {
    fn name(&self) -> &'static str {
        self.0
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let first = *inputs.first().ok_or_else(|| Error::usage("silu of nothing"))?;
        op::image(self.0, first)?;
        inputs.iter().try_fold(first, |first, other| op::same(self.0, first, *other))
    }
    fn gradient(&self, g: &mut Graph, x: &[Value], _y: Value, dy: Value) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.add_op(Silu("silu_dx"), &[x[0], dy])?)])
    }
    fn traits(&self) -> OpTraits {
        OpTraits::PER_IMAGE // a large batch may be computed some pictures at a time
    }
    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        r.flat(Kernel::new(self.0, &[SHADER, FLAT], self.0), Params { total4: y.vec4s() }, x, &[y], y.vec4s())
    }
}

/// Runs it.
pub fn main() -> Result<()> {
    let mut graph = Graph::new();
    let shape = Shape::image(2, 5, 7, 3);
    let (x, dy) = (graph.input("x", shape), graph.input("dy", shape));
    let y = graph.add_op(Silu("silu"), &[x])?;
    let dx = graph.gradients(y, dy, &[x])?[0].ok_or_else(|| Error::internal("y depends on x"))?;
    let gpu = Arc::new(Gpu::open(&GpuOptions::default())?);
    let session = Session::new(gpu.clone(), Plan::new(&graph, &[y, dx], &PlanOptions::for_gpu(&gpu))?, None)?;
    let numbers = |of: fn(f32) -> f32| (0..210).map(|i| of(i as f32)).collect::<Vec<f32>>();
    let (at, weights) = (numbers(|i| (0.7 * i).sin() * 3.0), numbers(|i| (1.3 * i).cos()));
    session.write(dy, &weights)?;
    let run = |step: f32| -> Result<[Vec<f32>; 2]> {
        session.write(x, &at.iter().zip(&weights).map(|(x, w)| x + step * w).collect::<Vec<f32>>())?;
        session.run()?;
        Ok([session.output(y)?, session.output(dx)?])
    };
    let dot = |a: &[f32]| a.iter().zip(&weights).map(|(a, w)| f64::from(a * w)).sum::<f64>();
    let ([above, _], [below, _], [_, gradient]) = (run(1e-2)?, run(-1e-2)?, run(0.0)?);
    let (difference, exact) = ((dot(&above) - dot(&below)) / 2e-2, dot(&gradient));
    println!("along dy: {difference:.4} by differences, {exact:.4} by the gradient");
    let wrong = (difference - exact).abs() > 1e-3 * exact.abs();
    if wrong { Err(Error::internal("the gradient is wrong")) } else { Ok(()) }
}
