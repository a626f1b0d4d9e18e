//! Networks as ONNX files: what is in them, what they are refused for. `tests/golden/onnx_out/check.py` runs
//! the files of [`cases`] in ONNX Runtime.

mod cases;
mod faults;
mod structure;

use ocelli::graph::Graph;
use ocelli::models::{Arch, Mode, Network, Parameter, Settings};
use ocelli::tensor::{Shape, Value};
use ocelli::weights::{Dtype, Entry, Source, entry};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tensors whose numbers are a function of name and place: nothing is kept.
struct Drawn {
    entries: BTreeMap<String, Entry>,
    /// The scales of batch norm, at most: small where sums of many branches would grow.
    gamma: f32,
    /// A number of this tensor is replaced.
    wrong: Option<(&'static str, usize, f32)>,
    /// The most numbers that were asked for at once.
    most: AtomicUsize,
}

impl Drawn {
    fn of(network: &Network) -> Self {
        let entry =
            |p: &Parameter| (p.name.clone(), Entry { shape: p.torch_shape.clone(), dtype: Dtype::F32 });
        let entries: BTreeMap<_, _> = network.parameters.iter().map(entry).collect();
        let residual = entries.keys().any(|name| name.starts_with("layer"));
        Self { entries, gamma: if residual { 0.5 } else { 1.2 }, wrong: None, most: AtomicUsize::new(0) }
    }

    fn range(&self, name: &str, shape: &[usize]) -> (f32, f32) {
        let (_, kind) = name.rsplit_once('.').unwrap();
        match kind {
            // Variance 2/fan-in, which keeps the size of activations (He et al. 2015).
            _ if shape.len() > 1 => {
                let bound = (6.0 / shape[1..].iter().product::<usize>() as f32).sqrt();
                (-bound, bound)
            }
            "weight" => (0.6 * self.gamma, self.gamma),
            "running_var" => (0.5, 1.5),
            _ => (-0.2, 0.2),
        }
    }
}

/// A number in [0, 1) for a place of a tensor: the finaliser of MurmurHash3.
fn unit(name: &str, place: usize) -> f32 {
    let seed = name.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let mut h = (place as u32).wrapping_mul(0x9e37_79b9).wrapping_add(seed);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    ((h ^ (h >> 16)) >> 8) as f32 / (1 << 24) as f32
}

impl Source for Drawn {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let shape = &entry(&self.entries, name, &rows)?.shape;
        let row: usize = shape[1..].iter().product();
        self.most.fetch_max(rows.len() * row, Ordering::Relaxed);
        let (low, high) = self.range(name, shape);
        let places = rows.start * row..rows.end * row;
        let mut numbers: Vec<f32> = places.clone().map(|i| low + (high - low) * unit(name, i)).collect();
        if let Some((_, place, value)) = self.wrong.filter(|w| w.0 == name && places.contains(&w.1)) {
            numbers[place - places.start] = value;
        }
        Ok(numbers)
    }
}

fn settings(arch: &Arch, size: [usize; 2], classes: usize) -> Settings {
    Settings { size, classes, ..arch.settings(1) }
}

fn whole(name: &str, size: [usize; 2], classes: usize) -> Network {
    let arch = Arch::find(name).unwrap();
    arch.whole_network(&settings(arch, size, classes), Mode::Inference).unwrap()
}

/// A network that is no variant: what `build` adds to normalised pixels, then a fully connected layer of 5
/// classes.
fn network(
    batch: usize,
    [h, w]: [usize; 2],
    build: impl FnOnce(&mut Graph, &mut Vec<Parameter>, Value) -> Result<Value>,
) -> Network {
    let mut graph = Graph::new();
    let pixels = graph.input("pixels", Shape::pixels(batch, h, w));
    let settings = Arch::find("resnet20").unwrap().settings(1);
    let x = graph.layer("input").preprocess(pixels, settings.mean, settings.std, settings.precision).unwrap();
    let mut parameters = Vec::new();
    let x = build(&mut graph, &mut parameters, x).unwrap();
    let [_, h, w, c] = graph.shape(x).unwrap().dims();
    let weight =
        parameter(&mut graph, &mut parameters, "fc.weight", Shape::filter(h, w, c, 5), vec![5, c * h * w]);
    let logits = graph.layer("fc").logits(x, weight, None).unwrap();
    Network { graph, pixels, logits, parameters, noise: None, auxiliary: Vec::new(), limited: Vec::new() }
}

fn parameter(
    graph: &mut Graph,
    parameters: &mut Vec<Parameter>,
    name: &str,
    shape: Shape,
    torch_shape: Vec<usize>,
) -> Value {
    let value = graph.state(name, shape);
    let (rows, init) = (0..torch_shape[0], ocelli::models::Init::He);
    parameters.push(Parameter {
        name: name.to_owned(),
        value,
        shape,
        torch_shape,
        rows,
        init,
        trained: true,
    });
    value
}

/// The error that must come, and that says all of these words in one line.
#[track_caller]
fn says(result: Result<()>, words: &[&str]) -> Error {
    let error = result.expect_err("this must be refused");
    let text = error.to_string();
    assert!(words.iter().all(|w| text.contains(w)) && !text.contains('\n'), "{text}");
    error
}
