//! Small models, one for each operator and trap: `operators.py` made them and what ONNX Runtime computes.

use super::{distance, golden, graph_of, hashed, open, run_file};
use ocelli::exchange::onnx_in::Imported;
use ocelli::graph::Graph;
use ocelli::tensor::{Precision, Shape};
use ocelli::weights::Source;
use ocelli::weights::onnx::{File, ReadOptions, proto};
use prost::Message;
use serde_json::Value as Json;
use std::fs;

/// The largest relative L2 error of a small model: rounding of f32 over a few hundred terms.
const ALLOWED: f64 = 2e-6;

pub fn path(name: &str) -> std::path::PathBuf {
    golden("operators").join(format!("{name}.onnx"))
}

pub fn model(name: &str) -> proto::Model {
    proto::Model::decode(fs::read(path(name)).unwrap().as_slice()).unwrap()
}

fn expected() -> serde_json::Map<String, Json> {
    serde_json::from_str(include_str!("../golden/onnx/operators/expected.json")).unwrap()
}

/// The two pictures of `operators.py`.
fn input(name: &str, network: &Imported) -> Vec<f32> {
    let count: usize = 2 * network.input().into_iter().product::<usize>();
    (0..count).map(|i| 2.0 * hashed(name, i) - 1.0).collect()
}

fn error(name: &str, network: &Imported, want: &Json) -> f64 {
    let got = run_file(network, &input(name, network));
    let want = want.as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    distance(got.into_iter().map(f64::from), want)
}

#[test]
fn every_operator_gives_what_onnx_runtime_gives() {
    let expected = expected();
    assert!(expected.len() >= 49);
    let mut worst = (0.0, "");
    for (name, want) in &expected {
        let network = open(&path(name));
        let error = error(name, &network, want);
        assert!(error <= ALLOWED, "{name}: relative L2 error {error:.1e}");
        assert_eq!(network.ends_in_softmax(), name.starts_with("softmax"), "{name}");
        if error > worst.0 {
            worst = (error, name);
        }
    }
    println!("{} models, the largest relative L2 error {:.1e} of {}", expected.len(), worst.0, worst.1);
}

/// The first versions had other attributes, and the batch of a sum was said in words.
#[test]
fn old_versions_are_read() {
    let attribute = |name: &str, i: i64| proto::Attribute {
        name: name.to_owned(),
        i,
        kind: proto::attribute::INT,
        ..proto::Attribute::default()
    };
    let consumed = || proto::Attribute {
        name: "consumed_inputs".to_owned(),
        ints: vec![0, 0, 0, 1, 1],
        kind: proto::attribute::INTS,
        ..proto::Attribute::default()
    };
    let expected = expected();
    for (name, opset) in
        [("batch_norm", 3), ("batch_norm", 6), ("conv_with_bias_added", 6), ("dropout_with_mask", 6)]
    {
        let mut model = model(name);
        model.opset_import[0].version = opset;
        let graph = model.graph.as_mut().unwrap();
        for node in &mut graph.node {
            match node.op_type.as_str() {
                "BatchNormalization" => {
                    node.attribute.extend([consumed(), attribute("is_test", 1), attribute("spatial", 1)]);
                }
                "Dropout" => node.attribute.push(attribute("is_test", 1)),
                "Add" => node.attribute.extend([attribute("broadcast", 1), attribute("axis", 1)]),
                _ => {}
            }
            // Nor did they say of which kind an attribute is.
            node.attribute.iter_mut().for_each(|a| a.kind = 0);
        }
        // A constant of [C] along axis 1.
        let bias = graph.initializer.iter_mut().find(|t| t.name == "bias" && t.dims.len() == 4);
        bias.into_iter().for_each(|t| t.dims = vec![8]);
        let network = Imported::new(File::parse(model.encode_to_vec().into()).unwrap()).unwrap();
        let error = error(name, &network, &expected[name]);
        assert!(error <= ALLOWED, "{name} of version {opset}: relative L2 error {error:.1e}");
    }
}

/// Numbers in fields of their type, and in other types, are the numbers of raw data.
#[test]
fn tensors_are_read_in_every_form() {
    use proto::tensor::{BFLOAT16, DOUBLE, FLOAT16};
    let name = "conv_groups";
    let expected = expected();
    let raw = |t: &proto::Tensor| -> Vec<f32> {
        t.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let bits = |t: &proto::Tensor, kind: i32| -> Vec<i32> {
        let one = |x: &f32| match kind {
            FLOAT16 => half::f16::from_f32(*x).to_bits(),
            _ => half::bf16::from_f32(*x).to_bits(),
        };
        raw(t).iter().map(|x| i32::from(one(x))).collect()
    };
    type Change<'a> = &'a dyn Fn(&mut proto::Tensor);
    let forms: [(&str, f64, Change); 6] = [
        ("float_data", ALLOWED, &|t| t.float_data = raw(t)),
        ("double_data", ALLOWED, &|t| {
            t.double_data = raw(t).into_iter().map(f64::from).collect();
            t.data_type = DOUBLE;
        }),
        ("f16 in int32_data", 1e-3, &|t| (t.int32_data, t.data_type) = (bits(t, FLOAT16), FLOAT16)),
        ("bf16 in int32_data", 1e-2, &|t| (t.int32_data, t.data_type) = (bits(t, BFLOAT16), BFLOAT16)),
        ("f16", 1e-3, &|t| {
            let bytes: Vec<u8> = bits(t, FLOAT16).iter().flat_map(|b| (*b as u16).to_le_bytes()).collect();
            (t.raw_data, t.data_type) = (bytes.into(), FLOAT16);
        }),
        ("f64", ALLOWED, &|t| {
            let bytes: Vec<u8> = raw(t).iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
            (t.raw_data, t.data_type) = (bytes.into(), DOUBLE);
        }),
    ];
    for (form, allowed, change) in forms {
        let mut model = model(name);
        for tensor in &mut model.graph.as_mut().unwrap().initializer {
            let before = tensor.raw_data.clone();
            change(tensor);
            if tensor.raw_data == before {
                tensor.raw_data = Vec::new().into();
            }
        }
        let network = Imported::new(File::parse(model.encode_to_vec().into()).unwrap()).unwrap();
        let error = error(name, &network, &expected[name]);
        assert!(error <= allowed, "{form}: relative L2 error {error:.1e}");
    }
}

#[test]
fn numbers_in_a_file_beside_the_model_are_read_if_asked_for() {
    let folder = crate::support::fixtures::folder();
    let name = "conv_groups";
    let mut model = model(name);
    let mut data = vec![7u8; 16];
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let entry = |key: &str, value: String| proto::KeyValue { key: key.to_owned(), value };
        tensor.external_data = vec![
            entry("location", "weights.bin".to_owned()),
            entry("offset", data.len().to_string()),
            entry("length", tensor.raw_data.len().to_string()),
        ];
        tensor.data_location = 1;
        data.extend_from_slice(&std::mem::take(&mut tensor.raw_data));
    }
    fs::write(folder.path().join("weights.bin"), data).unwrap();
    let file = folder.path().join("model.onnx");
    fs::write(&file, model.encode_to_vec()).unwrap();
    let network =
        Imported::new(File::open(&file, ReadOptions::default().external_data(true)).unwrap()).unwrap();
    assert!(error(name, &network, &expected()[name]) <= ALLOWED);
    let refused = File::open(&file, ReadOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("weights.bin") && !refused.contains("--"), "{refused}");
    // Each command advises what helps there.
    crate::support::fixtures::write_pictures(&folder.path().join("data"), 2, 2, 1, 8);
    let say = |command: &[&str]| crate::support::fixtures::run(folder.path(), command).2;
    for command in [
        &["inspect", "model.onnx"][..],
        &["predict", "data/val/class0/000.png", "--weights", "model.onnx"],
        &["eval", "--data", "data", "--weights", "model.onnx"],
        &["bench", "--seconds", "0", "--mode", "infer", "--weights", "model.onnx"],
        &["convert", "model.onnx", "new.safetensors"],
    ] {
        let said = say(command);
        assert!(
            said.contains("weights.bin") && said.contains("other files of its folder (--external-data)"),
            "{said}"
        );
        let said = say(&[command, &["--external-data"]].concat());
        assert!(!said.contains("weights.bin"), "{said}");
    }
    let train = ["train", "--arch", "resnet20", "--data", "data", "--out", "new", "--weights", "model.onnx"];
    let said = say(&train);
    assert!(said.contains("weights.bin") && said.contains("`ocelli convert --external-data`"), "{said}");
}

#[test]
fn parameters_have_the_names_and_shapes_of_the_file() {
    let network = open(&path("matmul_then_add"));
    let shapes: Vec<(&str, &[usize])> =
        network.entries().iter().map(|(name, e)| (name.as_str(), e.shape.as_slice())).collect();
    assert_eq!(shapes, [("b", &[11][..]), ("last", &[6, 11]), ("w", &[11, 405])]);
    // Rows of a matrix that lies the other way round in the file.
    let whole = network.rows("last", 0..6).unwrap();
    assert_eq!(network.rows("last", 2..4).unwrap(), whole[22..44]);
    let stored = network.file().rows("last", 0..11).unwrap();
    assert_eq!(whole[1], stored[6], "row 0, column 1");
    // A layer whose filters got rows of zeros.
    let padded = open(&path("conv_uneven_pads"));
    let entry = &padded.entries()["conv.weight"];
    assert_eq!(entry.shape, [6, 5, 4, 7]);
    let filter = padded.rows("conv.weight", 0..1).unwrap();
    let stored = padded.file().rows("conv.weight", 0..1).unwrap();
    // One row of zeros at the bottom, three columns on the left.
    let line = |i: usize| &filter[7 * i..7 * i + 7];
    assert_eq!(line(0), [&[0.0; 3][..], &stored[..4]].concat());
    assert_eq!(line(3), [0.0; 7]);
}

#[test]
fn layers_may_share_weights() {
    let network = open(&path("weights_shared"));
    assert_eq!(network.entries().len(), 3, "{:?}", network.entries());
    let (.., parameters) = graph_of(&network, 1);
    assert_eq!(parameters.len(), 3);
}

#[test]
fn another_size_is_allowed_where_the_graph_allows_it() {
    let network = open(&path("classes_of_a_map"));
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(3, 14, 11, 5));
    let (logits, _) = network.build(&mut graph, x).unwrap();
    assert_eq!(graph.shape(logits).unwrap(), Shape::image(3, 1, 1, 6));
    // Half precision ends in f32.
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(3, 14, 11, 5).stored_as(Precision::F16));
    let (logits, _) = network.build(&mut graph, x).unwrap();
    assert_eq!(graph.shape(logits).unwrap(), Shape::image(3, 1, 1, 6));
    // A fully connected layer is made for one size.
    let network = open(&path("conv_valid"));
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 11, 9, 5));
    let error = network.build(&mut graph, x).unwrap_err().to_string();
    assert!(error.contains("(Gemm)") && error.contains("use the input size"), "{error}");
}
