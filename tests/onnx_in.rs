//! ONNX files: what they compute here against ONNX Runtime, which variants they are, and files that lie.

mod exporters;
mod exports;
pub mod hostile;
mod layouts;
mod light;
pub mod operators;
mod outputs;
mod versions;

use crate::ops::harness::gpu;
use ocelli::exchange::onnx_in::Imported;
use ocelli::graph::Graph;
use ocelli::kernels::KernelFamily;
use ocelli::models::Parameter;
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Shape, Value};
use ocelli::weights::onnx::{File, ReadOptions};
use ocelli::weights::{Source, Tensor, import};
use std::path::{Path, PathBuf};

/// A file beside the scripts that made it.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx").join(name)
}

pub fn open(path: &Path) -> Imported {
    Imported::new(File::open(path, ReadOptions::default()).unwrap()).unwrap()
}

/// The hash of `light.py`: the finaliser of MurmurHash3 over the places, seeded by the name; in [0, 1).
pub fn hashed(name: &str, place: usize) -> f32 {
    let seed = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let mut h = (place as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    ((h ^ (h >> 16)) >> 8) as f32 / (1 << 24) as f32
}

/// Writes rows of parameters as `rows` gives them.
pub fn fill(session: &Session, parameters: &[Parameter], rows: &dyn Fn(&Parameter) -> Vec<f32>) {
    for parameter in parameters.iter().filter(|p| session.has(p.value)) {
        let mut shape = parameter.torch_shape.clone();
        shape[0] = parameter.rows.len();
        let tensor = Tensor { shape, data: rows(parameter) };
        let stored = import(&tensor.data, parameter.shape).unwrap();
        session.write_stored(parameter.value, bytemuck::cast_slice(&stored)).unwrap();
    }
}

/// Numbers in the order of the file (N, C, H, W) in that of a value.
pub fn to_nhwc(x: &[f32], [n, h, w, c]: [usize; 4]) -> Vec<f32> {
    let at = |i: usize| {
        let (image, row, column, channel) = (i / (h * w * c), i / (w * c) % h, i / c % w, i % c);
        x[((image * c + channel) * h + row) * w + column]
    };
    (0..n * h * w * c).map(at).collect()
}

/// A graph on floating-point input of a file's size.
pub fn graph_of(network: &Imported, batch: usize) -> (Graph, Value, Value, Vec<Parameter>) {
    let [h, w, c] = network.input();
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(batch, h, w, c));
    let (logits, parameters) = network.build(&mut graph, x).unwrap();
    (graph, x, logits, parameters)
}

pub fn session(graph: &Graph, logits: Value) -> Session {
    let options = PlanOptions::new(KernelFamily::for_adapter(gpu().info()), gpu().limits());
    let plan = Plan::new(graph, &[logits], &options).unwrap();
    Session::new(gpu(), plan, None).unwrap()
}

/// The logits of a batch in the order of the file.
pub fn run(network: &Imported, input: &[f32], rows: &dyn Fn(&Parameter) -> Vec<f32>) -> Vec<f32> {
    let [h, w, c] = network.input();
    let batch = input.len() / (h * w * c);
    let (graph, x, logits, parameters) = graph_of(network, batch);
    let session = session(&graph, logits);
    fill(&session, &parameters, rows);
    session.write(x, &to_nhwc(input, [batch, h, w, c])).unwrap();
    session.run().unwrap();
    session.output(logits).unwrap()
}

/// The same with the weights of the file.
pub fn run_file(network: &Imported, input: &[f32]) -> Vec<f32> {
    run(network, input, &|p| network.rows(&p.name, p.rows.clone()).unwrap())
}

/// Relative L2 distance.
pub fn distance(got: impl IntoIterator<Item = f64>, want: impl IntoIterator<Item = f64>) -> f64 {
    let (mut off, mut norm) = (0.0, 0.0);
    let (mut got, mut want) = (got.into_iter(), want.into_iter());
    loop {
        match (got.next(), want.next()) {
            (Some(a), Some(b)) => {
                off += (a - b) * (a - b);
                norm += b * b;
            }
            (None, None) => return (off / norm).sqrt(),
            _ => panic!("not as many numbers"),
        }
    }
}
