//! Files for `tests/golden/onnx_out/check.py`: networks with drawn weights, an input, and the logits computed
//! here.

use super::{Drawn, network, parameter};
use crate::ops::harness::gpu;
use half::f16;
use ocelli::exchange::onnx_out::{Content, write_network};
use ocelli::graph::Graph;
use ocelli::kernels::ConvOptions;
use ocelli::models::{ARCHS, Arch, Mode, Network, Parameter, Settings};
use ocelli::ops::PoolOptions;
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Layout, Shape, Value};
use ocelli::weights::{Dtype, Entry, Source, Tensor, import};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

const BATCH: usize = 2;

/// Numbers as an f16 file holds them.
struct Rounded<'a>(&'a Drawn);

impl Source for Rounded<'_> {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        self.0.entries()
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> ocelli::Result<Vec<f32>> {
        Ok(self.0.rows(name, rows)?.into_iter().map(|x| f16::from_f32(x).to_f32()).collect())
    }
}

fn pixels(count: usize) -> Vec<u8> {
    (0..count).map(|i| (super::unit("pixels", i) * 256.0) as u8).collect()
}

/// The logits of a batch of pictures.
fn logits(network: &Network, source: &dyn Source, pixels: &[u8]) -> Vec<f32> {
    let gpu = gpu();
    let plan = Plan::new(&network.graph, &[network.logits], &PlanOptions::for_gpu(&gpu)).unwrap();
    let session = Session::new(gpu, plan, None).unwrap();
    for p in &network.parameters {
        let mut shape = p.torch_shape.clone();
        shape[0] = p.rows.len();
        let tensor = Tensor { shape, data: source.rows(&p.name, p.rows.clone()).unwrap() };
        let stored = import(&tensor.data, p.shape).unwrap();
        assert!(matches!(p.shape.layout(), Layout::Filter | Layout::Vector));
        session.write_stored(p.value, &p.shape.encode(&stored)).unwrap();
    }
    session.write_stored(network.pixels, pixels).unwrap();
    session.run().unwrap();
    session.output(network.logits).unwrap()
}

/// Writes the file of `whole`, and what `runs`, the same network for a batch, makes of an input.
fn case(folder: &Path, name: &str, whole: &Network, runs: &Network, settings: &Settings, dtype: Dtype) {
    let source = Drawn::of(whole);
    let rounded = Rounded(&source);
    let numbers: &dyn Source = if dtype == Dtype::F16 { &rounded } else { &source };
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    let metadata = BTreeMap::from([("ocelli.case".to_owned(), name.to_owned())]);
    write_network(file("onnx"), name, whole, Content { source: &source, metadata: &metadata, dtype })
        .unwrap();
    let [_, h, w, _] = runs.graph.shape(runs.pixels).unwrap().dims();
    let pixels = pixels(BATCH * h * w * 4);
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut input = Vec::with_capacity(BATCH * 3 * h * w);
    for picture in pixels.chunks_exact(h * w * 4) {
        for channel in 0..3 {
            let (mean, std) = (f64::from(settings.mean[channel]), f64::from(settings.std[channel]));
            let values = picture.chunks_exact(4).map(|rgba| f64::from(rgba[channel]));
            input.extend(values.map(|v| ((v / 255.0 - mean) / std) as f32));
        }
    }
    std::fs::write(file("input"), bytes(&input)).unwrap();
    std::fs::write(file("logits"), bytes(&logits(runs, numbers, &pixels))).unwrap();
    let sizes = serde_json::json!({ "input": [BATCH, 3, h, w], "name": name });
    std::fs::write(file("json"), sizes.to_string()).unwrap();
    println!("{name}");
}

fn variant(folder: &Path, arch: &Arch, size: [usize; 2], classes: usize, dtype: Dtype) {
    let settings = Settings { size, classes, ..arch.settings(BATCH) };
    let name = format!("{}-{}x{}-{}", arch.name, size[0], size[1], dtype.name());
    let whole = arch.whole_network(&Settings { batch_size: 1, ..settings }, Mode::Inference).unwrap();
    let runs = arch.network(&settings, Mode::Inference).unwrap();
    case(folder, &name, &whole, &runs, &settings, dtype);
}

/// Small networks that no variant has: poolings at the border of the map, groups of odd sizes.
fn odd(folder: &Path, name: &str, size: [usize; 2], layer: impl Fn(&mut Graph, Value) -> Value) {
    let build = |g: &mut Graph, list: &mut Vec<Parameter>, x: Value| {
        let w = parameter(g, list, "conv.weight", Shape::filter(3, 3, 3, 6), vec![6, 3, 3, 3]);
        let x = g.layer("conv").conv2d(x, w, None, ConvOptions::square(1, 1))?;
        let x = layer(g.layer("odd"), x);
        let w = parameter(g, list, "group.weight", Shape::filter(1, 1, 2, 9), vec![9, 2, 1, 1]);
        g.layer("group").conv2d(x, w, None, ConvOptions { groups: 3, ..ConvOptions::square(1, 0) })
    };
    let settings = Arch::find("resnet20").unwrap().settings(1);
    case(folder, name, &network(1, size, build), &network(BATCH, size, build), &settings, Dtype::F32);
}

fn poolings(folder: &Path) {
    let options = [
        PoolOptions::square(3, 2).ceil(),
        PoolOptions::square(3, 2).padded(1),
        PoolOptions::square(3, 2).padded(1).ceil(),
        PoolOptions { count_padding: false, ..PoolOptions::square(3, 2).padded(1).ceil() },
        PoolOptions { pad: [[0, 1], [2, 0]], ..PoolOptions::square(3, 2) },
        PoolOptions { pad: [[0, 1], [2, 0]], ..PoolOptions::square(3, 2).ceil() },
        PoolOptions {
            kernel: [2, 3],
            stride: [3, 3],
            pad: [[1, 1], [1, 2]],
            ..PoolOptions::square(1, 1).ceil()
        },
        PoolOptions { kernel: [4, 2], stride: [2, 3], ..PoolOptions::square(1, 1).ceil() },
    ];
    for size in [[8, 9], [9, 8], [5, 6], [3, 11]] {
        for (i, options) in options.into_iter().enumerate() {
            let name = |kind: &str| format!("{kind}{i}-{}x{}", size[0], size[1]);
            odd(folder, &name("max"), size, |g, x| g.max_pool(x, options).unwrap());
            odd(folder, &name("average"), size, |g, x| g.average_pool(x, options).unwrap());
        }
        for to in [[7, 7], [3, 2], [4, 3], [1, 1], [9, 2]] {
            let name = format!("adaptive{}x{}-{}x{}", to[0], to[1], size[0], size[1]);
            odd(folder, &name, size, |g, x| g.adaptive_average_pool(x, to).unwrap());
        }
    }
}

/// `OCELLI_ONNX_CASES` names the folder; `OCELLI_ONNX_ONLY` a part of the names of the variants, or
/// `poolings`.
#[test]
#[ignore = "writes gigabytes for tests/golden/onnx_out/check.py"]
fn files_for_onnx_runtime() {
    let folder = std::env::var_os("OCELLI_ONNX_CASES").expect("OCELLI_ONNX_CASES names a folder");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let only = std::env::var("OCELLI_ONNX_ONLY").unwrap_or_default();
    if "poolings".contains(&only) {
        poolings(folder);
    }
    for arch in ARCHS.iter().filter(|a| a.name.contains(&only)) {
        let full = arch.size;
        let sizes = match arch.name {
            "alexnet" | "zfnet" | "vgg16" | "resnet50" => vec![[full; 2], [99, 115]],
            // One row of 6x6 from one of 1x3, and from 12x6.
            "alexnet-tv" => vec![[63, 130], [415, 224]],
            // Windows that overlap, and windows that divide the map.
            "vgg11" => vec![[300, 230], [224, 448], [33, 70]],
            "googlenet" | "googlenet-tv" => vec![[full; 2], [65, 97]],
            _ if full == 32 => vec![[32, 32], [33, 30]],
            _ if ["AlexNet", "ZFNet"].contains(&arch.family) => vec![[101, 90]],
            _ => vec![[70, 45]],
        };
        for size in sizes {
            variant(folder, arch, size, arch.classes.min(100), Dtype::F32);
        }
        if ["resnet18", "googlenet", "resnet20"].contains(&arch.name) {
            variant(folder, arch, [65, 70], 10, Dtype::F16);
        }
    }
}
