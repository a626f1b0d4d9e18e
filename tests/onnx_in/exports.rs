//! Networks as torch.onnx exports them: `exports.py` made the files.

use super::light::refilled;
use super::{distance, fill, golden, hashed, open, session};
use ocelli::exchange::onnx_in::Imported;
use ocelli::models::{Mode, Network, Parameter, Settings};
use ocelli::weights::Source;
use ocelli::weights::onnx::{File, proto};
use prost::Message;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};

/// The variants that a file may be, by how its name begins. Where an exporter folds batch norm into the
/// biases of its convolutions, it is another network, which computes the same.
const VARIANTS: [(&str, &[&str]); 13] = [
    ("alexnet.", &["alexnet-tv"]),
    ("vgg11.", &["vgg11"]),
    ("vgg11_bn.", &["vgg11-bn", "vgg11"]),
    ("vgg16_bn.", &["vgg16-bn", "vgg16"]),
    ("googlenet", &["googlenet-tv"]),
    ("resnet18.", &["resnet18"]),
    ("resnet50.", &["resnet50"]),
    ("resnet18_mxnet.", &["resnet18"]),
    ("resnet50_mxnet.", &["resnet50-v1"]),
    ("resnet152.", &["resnet152"]),
    ("resnet20.", &["resnet20"]),
    ("resnet1202.", &["resnet1202"]),
    ("preresnet110.", &["preresnet110"]),
];

/// The bytes of `exports.py`.
fn pixels(size: usize, pictures: usize) -> Vec<u8> {
    let rgb = |i: usize| (hashed("pixels", i) * 256.0) as u8;
    (0..pictures * size * size).flat_map(|i| [rgb(3 * i), rgb(3 * i + 1), rgb(3 * i + 2), 255]).collect()
}

fn settings(network: &Imported, batch_size: usize) -> Settings {
    let [h, w, _] = network.input();
    let imagenet = ocelli::models::ARCHS[0].settings(batch_size);
    Settings { size: [h, w], classes: network.classes(), ..imagenet }
}

fn logits(network: &Network, source: &dyn Source, pixels: &[u8]) -> Vec<f64> {
    let session = session(&network.graph, network.logits);
    let rows = |p: &Parameter| source.rows(&p.name, p.rows.clone()).unwrap();
    fill(&session, &network.parameters, &rows);
    session.write_stored(network.pixels, pixels).unwrap();
    session.run().unwrap();
    session.output(network.logits).unwrap().into_iter().map(f64::from).collect()
}

/// Errors of the network as it is and as a variant; what was recognised.
fn errors(imported: &Imported, want: &[f64]) -> ([f64; 2], &'static str) {
    let batch_size = want.len() / imported.classes();
    let settings = settings(imported, batch_size);
    let pixels = pixels(settings.size[0], batch_size);
    let got = logits(&imported.network(&settings).unwrap(), imported, &pixels);
    let as_it_is = distance(got, want.iter().copied());

    let variant = imported.variant().expect("this is a variant");
    let mut settings = settings;
    if let Some(transform) = variant.transform {
        assert_eq!(transform.order, [0, 1, 2]);
        // scale * (x - mean)/std + shift is another mean and deviation.
        for i in 0..3 {
            let std = settings.std[i] / transform.scale[i];
            settings.mean[i] -= transform.shift[i] * std;
            settings.std[i] = std;
        }
    }
    let network = variant.found.arch.network(&settings, Mode::Inference).unwrap();
    let names: Vec<&String> = variant.source.entries().keys().collect();
    let mut wanted: Vec<&String> = network.parameters.iter().map(|p| &p.name).collect();
    wanted.sort();
    wanted.dedup();
    assert_eq!(names, wanted);
    let got = logits(&network, &variant.source, &pixels);
    ([as_it_is, distance(got, want.iter().copied())], variant.found.arch.name)
}

fn check(file: &Path, imported: &Imported, want: &[f64]) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let started = std::time::Instant::now();
    assert!(imported.variant().is_some(), "{name} is no variant");
    let took = started.elapsed();
    let (errors, arch) = errors(imported, want);
    println!("{name}: {arch} in {took:.0?}, relative L2 errors {:.1e} and {:.1e}", errors[0], errors[1]);
    let (_, variants) = VARIANTS.iter().find(|(start, _)| name.starts_with(start)).unwrap();
    assert!(variants.contains(&arch), "{name} is {arch}");
    assert!(errors.iter().all(|e| *e <= 2e-5), "{name}: {errors:?}");
}

/// A file of `exports.py strip` with weights: each is a hash of its name, as `light.py` computes them too.
fn with_weights(file: &Path) -> Imported {
    let mut model = proto::Model::decode(fs::read(file).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let (constants, nodes): (Vec<_>, Vec<_>) = std::mem::take(&mut graph.node)
        .into_iter()
        .partition(|n| n.input.first().is_some_and(|i| i.ends_with("__SHAPE")));
    graph.node = nodes;
    for node in constants {
        let shape = graph.initializer.iter().find(|t| t.name == node.input[0]).unwrap();
        let dims: Vec<i64> =
            shape.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
        let torch_shape: Vec<usize> = dims.iter().map(|d| *d as usize).collect();
        let parameter = Parameter {
            name: node.output[0].clone(),
            value: ocelli::tensor::Value::default(),
            shape: ocelli::tensor::Shape::nothing(),
            rows: 0..torch_shape[0],
            torch_shape,
            init: ocelli::models::Init::Constant(0.0),
            trained: true,
        };
        graph.initializer.push(proto::Tensor {
            dims,
            data_type: proto::tensor::FLOAT,
            raw_data: bytemuck::cast_slice::<f32, u8>(&refilled(&parameter)).to_vec().into(),
            name: parameter.name,
            ..proto::Tensor::default()
        });
    }
    Imported::new(File::parse(model.encode_to_vec().into()).unwrap()).unwrap()
}

fn stripped(begin: &str) {
    let golden_logits: Json =
        serde_json::from_str(include_str!("../golden/onnx/exports/exports.json")).unwrap();
    let labels = golden_logits.as_object().unwrap();
    let chosen: Vec<_> = labels.iter().filter(|(label, _)| label.starts_with(begin)).collect();
    assert!(!chosen.is_empty());
    for (label, want) in chosen {
        let file = golden("exports").join(format!("{label}.onnx"));
        let want: Vec<f64> = want.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        check(&file, &with_weights(&file), &want);
    }
}

#[test]
fn exports_of_alexnet_agree_with_onnx_runtime() {
    stripped("alexnet");
}

#[test]
fn exports_of_vgg_agree_with_onnx_runtime() {
    stripped("vgg");
}

#[test]
fn exports_of_googlenet_agree_with_onnx_runtime() {
    stripped("googlenet");
}

#[test]
fn exports_of_resnet_agree_with_onnx_runtime() {
    stripped("resnet");
}

/// A file of one variant with the rows of another layer mixed in is not that variant.
#[test]
fn what_differs_in_one_place_is_no_variant() {
    let file = golden("exports").join("resnet20.opset16.torch1.onnx");
    assert!(open(&file).variant().is_some());
    let mut model = proto::Model::decode(fs::read(&file).unwrap().as_slice()).unwrap();
    let relu = model.graph.as_mut().unwrap().node.iter_mut().filter(|n| n.op_type == "Relu").nth(4).unwrap();
    relu.op_type = "Identity".to_owned();
    let changed = Imported::new(File::parse(model.encode_to_vec().into()).unwrap()).unwrap();
    assert!(changed.variant().is_none(), "a ReLU is missing");
}

#[test]
fn what_is_done_to_the_input_is_told_apart_from_the_variant() {
    let file = golden("exports").join("resnet20.opset16.torch1.onnx");
    let mut model = proto::Model::decode(fs::read(&file).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let constant = |name: &str, dims: &[i64], numbers: &[f32]| proto::Tensor {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: proto::tensor::FLOAT,
        float_data: numbers.to_vec(),
        ..proto::Tensor::default()
    };
    graph.initializer.extend([
        proto::Tensor {
            name: "order".to_owned(),
            dims: vec![3],
            data_type: proto::tensor::INT64,
            int64_data: vec![2, 1, 0],
            ..proto::Tensor::default()
        },
        constant("times", &[], &[4.0]),
        constant("mean", &[1, 3, 1, 1], &[1.0, 2.0, 3.0]),
    ]);
    let node = |op: &str, input: [&str; 2], output: &str| proto::Node {
        op_type: op.to_owned(),
        input: input.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        attribute: if op == "Gather" {
            vec![proto::Attribute {
                name: "axis".to_owned(),
                i: 1,
                kind: proto::attribute::INT,
                ..proto::Attribute::default()
            }]
        } else {
            Vec::new()
        },
        ..proto::Node::default()
    };
    let first = graph.node.iter_mut().find(|n| n.op_type == "Conv").unwrap();
    first.input[0] = "t2".to_owned();
    let before = [
        node("Gather", ["x", "order"], "t0"),
        node("Mul", ["t0", "times"], "t1"),
        node("Sub", ["t1", "mean"], "t2"),
    ];
    graph.node.splice(0..0, before);
    let imported = Imported::new(File::parse(model.encode_to_vec().into()).unwrap()).unwrap();
    let variant = imported.variant().unwrap();
    assert_eq!(variant.found.arch.name, "resnet20");
    let transform = variant.transform.unwrap();
    assert_eq!(
        (transform.order, transform.scale, transform.shift),
        ([2, 1, 0], [4.0; 3], [-1.0, -2.0, -3.0])
    );
    assert!(open(&file).variant().unwrap().transform.is_none());
}

/// The files that `exports.py make` writes are large: only where they are.
#[test]
fn exports_give_the_logits_of_pytorch() {
    let Some(folder) = std::env::var_os("OCELLI_ONNX_EXPORTS").map(PathBuf::from) else {
        return crate::support::fixtures::skipped(
            "exports_give_the_logits_of_pytorch",
            "OCELLI_ONNX_EXPORTS is not set",
        );
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "onnx")) {
        let golden: Json = serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
        let rows = golden["logits"].as_array().unwrap();
        let want: Vec<f64> =
            rows.iter().flat_map(|row| row.as_array().unwrap()).map(|x| x.as_f64().unwrap()).collect();
        check(file, &open(file), &want);
    }
}
