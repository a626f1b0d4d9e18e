//! Graphs with several outputs: the likely one is taken and said, and another can be named.

use super::golden;
use super::operators::model;
use crate::support::fixtures;
use ocelli::error::Error;
use ocelli::exchange::onnx_in::Imported;
use ocelli::weights::onnx::File;
use ocelli::weights::onnx::proto::{self, Dimension, Node, Tensor, TensorShape, TensorType, Type, ValueInfo};
use prost::Message;

/// An average, its numbers in a row, a fully connected layer, with these outputs; beside it a layer with one output and a
/// convolution of the average.
pub fn with_outputs(outputs: &[&str]) -> Vec<u8> {
    let mut file = model("gemm_plain");
    let graph = file.graph.as_mut().unwrap();
    let [.., features, logits] = graph.node.as_mut_slice() else { panic!("three nodes") };
    features.output = vec!["features".into()];
    logits.output = vec!["logits".into()];
    logits.input[0] = "features".into();
    let average = graph.node[0].output[0].clone();
    let node = |op: &str, from: &str, to: &str| Node {
        op_type: op.into(),
        input: from.split(' ').map(str::to_owned).collect(),
        output: vec![to.into()],
        ..Node::default()
    };
    graph.node.extend([
        node("Softmax", "logits", "probabilities"),
        node("ArgMax", "logits", "best"),
        node("Sigmoid", "logits", "scores"),
        node("MatMul", "features one", "score"),
        node("Conv", &format!("{average} seven"), "map"),
    ]);
    let tensor = |name: &str, dims: &[i64]| Tensor {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: proto::tensor::FLOAT,
        float_data: vec![0.5; dims.iter().product::<i64>() as usize],
        ..Tensor::default()
    };
    graph.initializer.extend([tensor("one", &[5, 1]), tensor("seven", &[7, 5, 1, 1])]);
    graph.output = outputs
        .iter()
        .map(|name| {
            let dim = |size| Dimension { dim_value: Some(size), ..Dimension::default() };
            let elem_type = if *name == "best" { proto::tensor::INT64 } else { proto::tensor::FLOAT };
            let dim = match *name {
                "score" => vec![dim(2), dim(1)],
                "map" => vec![dim(2), dim(7), dim(1), dim(1)],
                _ => vec![dim(2), dim(5)],
            };
            let shape = Some(TensorShape { dim });
            let tensor_type = Some(TensorType { elem_type, shape });
            ValueInfo { name: (*name).into(), r#type: Some(Type { tensor_type }) }
        })
        .collect();
    file.encode_to_vec()
}

fn read(outputs: &[&str], named: Option<&str>) -> Result<Imported, Error> {
    Imported::with_output(File::parse(with_outputs(outputs).into()).unwrap(), named)
}

#[test]
fn the_output_with_the_classes_is_taken_and_said() {
    for (outputs, taken) in [
        (&["logits", "features"][..], "logits"),
        (&["features", "logits"], "logits"),
        (&["probabilities", "best"], "probabilities"),
        (&["best", "probabilities"], "probabilities"),
        (&["scores", "features", "best", "logits"], "logits"),
        (&["features", "score"], "score"),
        (&["features", "map"], "map"),
        (&["score", "logits"], "logits"),
    ] {
        let network = read(outputs, None).unwrap();
        assert_eq!(network.output(), taken, "{outputs:?}");
        let said = network.choice().unwrap().to_string();
        assert!(outputs.iter().all(|name| said.contains(name)), "{said}");
        assert!(said.contains(&format!("{taken} is taken")) && !said.contains("--"), "{said}");
    }
    assert_eq!(read(&["logits"], None).unwrap().choice(), None);
    assert_eq!(read(&["features", "map"], None).unwrap().classes(), 7);
}

/// Features have no classes: they do not stand in for classes that cannot be read.
#[test]
fn what_cannot_be_read_is_said() {
    for outputs in [["scores", "features"], ["features", "scores"], ["scores", "map"]] {
        let error = read(&outputs, None).unwrap_err().to_string();
        assert!(error.contains("output scores") && error.contains("Sigmoid"), "{error}");
        assert!(outputs.iter().all(|name| error.contains(name)), "{error}");
    }
    // The numbers that it is made of are those of the classes.
    let said = read(&["scores", "logits"], None).unwrap().choice().unwrap().to_string();
    assert!(said.contains("logits is taken") && said.contains("scores cannot be read"), "{said}");
}

#[test]
fn another_output_can_be_named() {
    let network = read(&["logits", "features"], Some("features")).unwrap();
    assert_eq!((network.output(), network.classes()), ("features", 5));
    assert_eq!(network.choice(), None, "nothing was chosen for whoever said it");
    let error = read(&["logits", "features"], Some("Logits")).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Usage(_)) && text.contains("logits, features"), "{text}");
    // One that cannot be read is not replaced by another.
    let error = read(&["logits", "scores"], Some("scores")).unwrap_err().to_string();
    assert!(error.contains("Sigmoid"), "{error}");
    let error = read(&["scores", "best"], None).unwrap_err().to_string();
    assert!(error.contains("Sigmoid"), "{error}");
}

/// The program says what it took, takes what is named, and lists what there is.
#[test]
fn the_program_says_which_output_it_takes() {
    let folder = fixtures::folder();
    let picture = folder.path().join("a.png");
    image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, 99]))
        .save(&picture)
        .unwrap();
    let file = golden("exporters").join("torch_several_heads.opset17.onnx");
    let network = super::open(&file);
    let (taken, other) = (network.output().to_owned(), network.outputs()[0].clone());
    let (picture, file) = (picture.to_str().unwrap(), file.to_str().unwrap());
    let predict = |more: &[&str]| {
        let all = [&["predict", picture, "--weights", file, "--json", "--logits"], more].concat();
        let (code, out, err) = fixtures::run(folder.path(), &all);
        let line: serde_json::Value = serde_json::from_str(&out).unwrap_or_default();
        (code, line["logits"].as_array().map_or(0, Vec::len), err)
    };
    let (code, classes, said) = predict(&[]);
    assert_eq!((code, classes), (0, 5), "{said}");
    assert!(said.contains(&format!("{taken} is taken for the classes (--output takes another)")), "{said}");
    let (code, classes, said) = predict(&["--output", &other]);
    assert_eq!((code, classes), (0, 7), "{said}");
    assert!(!said.contains("is taken for the classes"), "{said}");
    let (code, _, said) = predict(&["--output", "nothing"]);
    assert!(code == 2 && said.contains(&taken) && said.contains(&other), "{code} {said}");
    let (code, text, _) = fixtures::run(folder.path(), &["inspect", file]);
    assert_eq!(code, 0);
    assert!(text.contains(&format!("output {taken}, taken for the classes")), "{text}");
    assert!(text.contains(&format!("output {other}\n")), "{text}");
    // The speed is that of an output, too.
    let bench = |more: &[&str]| {
        let plain =
            ["bench", "--seconds", "0", "--weights", file, "--mode", "infer", "--batch-size", "1", "--json"];
        fixtures::run(folder.path(), &[&plain[..], more].concat())
    };
    let (code, _, said) = bench(&[]);
    assert!(code == 0 && said.contains(&format!("{taken} is taken for the classes (--output")), "{said}");
    let (code, _, said) = bench(&["--output", &other]);
    assert!(code == 0 && !said.contains("is taken for the classes"), "{said}");
    // Its tensors are those of the output.
    let to = folder.path().join("a.safetensors");
    let (code, _, said) = fixtures::run(folder.path(), &["convert", file, to.to_str().unwrap()]);
    assert!(code == 0 && said.contains("is taken for the classes"), "{said}");
}
