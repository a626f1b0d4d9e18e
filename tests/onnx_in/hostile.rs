//! Files that are damaged or made to do harm: one sentence for each, of bad data, and soon.

use super::golden;
use super::operators::{model, path};
use ocelli::Error;
use ocelli::exchange::onnx_in::Imported;
use ocelli::weights::Source;
use ocelli::weights::onnx::{File, ReadOptions, is_onnx, proto};
use prost::Message;
use proto::{Attribute, Graph, Model, Node, Tensor, attribute};
use std::fs;
use std::time::{Duration, Instant};

/// Reads a file to the end; its error must be of bad data, and come soon.
fn refused(bytes: Vec<u8>) -> String {
    let started = Instant::now();
    let error =
        File::parse(bytes.into()).and_then(Imported::new).map(|_| ()).expect_err("this should not be read");
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{error} took {:?}", started.elapsed());
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    assert!(!error.report().hint.is_empty(), "{text}");
    text
}

/// A good model, changed.
fn changed(name: &str, change: impl FnOnce(&mut Graph)) -> String {
    let mut model = model(name);
    change(model.graph.as_mut().unwrap());
    refused(model.encode_to_vec())
}

fn node_of<'a>(graph: &'a mut Graph, op: &str) -> &'a mut Node {
    graph.node.iter_mut().find(|n| n.op_type == op).unwrap()
}

fn tensor_of<'a>(graph: &'a mut Graph, name: &str) -> &'a mut Tensor {
    graph.initializer.iter_mut().find(|t| t.name == name).unwrap()
}

fn ints(name: &str, ints: &[i64]) -> Attribute {
    let kind = attribute::INTS;
    Attribute { name: name.to_owned(), ints: ints.to_vec(), kind, ..Attribute::default() }
}

fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.to_owned(), i, kind: attribute::INT, ..Attribute::default() }
}

/// Sets an attribute of the first node of an operator.
fn set(name: &str, op: &str, attribute: Attribute) -> String {
    changed(name, |graph| {
        let node = node_of(graph, op);
        node.attribute.retain(|a| a.name != attribute.name);
        node.attribute.push(attribute);
    })
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "\"{part}\" is not in: {text}");
    }
}

#[test]
fn strangers_are_told_apart() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04 zip of torch.save", "a file of PyTorch"),
        (b"\x80\x02}q\x00", "a file of PyTorch"),
        (b"just some text\n", "no usable ONNX file"),
    ];
    for (bytes, part) in cases {
        says(&refused(bytes.to_vec()), &[part]);
        assert!(!is_onnx(bytes), "{part}");
    }
    for folder in ["light", "operators", "exports"] {
        for entry in fs::read_dir(golden(folder)).unwrap() {
            let path = entry.unwrap().path();
            let model = path.extension().is_some_and(|e| e == "onnx");
            assert_eq!(is_onnx(&fs::read(&path).unwrap()), model, "{}", path.display());
        }
    }
    let missing = File::open("no/such.onnx", ReadOptions::default()).unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing:?}");
    assert!(matches!(File::open(golden("light"), ReadOptions::default()), Err(Error::Data(_))));
}

#[test]
fn a_damaged_file_is_an_error_or_another_network_wherever_it_is_cut_or_changed() {
    let whole = fs::read(path("gemm_plain")).unwrap();
    let mut errors = 0;
    let mut read = |bytes: Vec<u8>| {
        match File::parse(bytes.into()).and_then(Imported::new) {
            Err(error) => {
                assert!(matches!(error, Error::Data(_)), "{error:?}");
                errors += 1;
            }
            Ok(network) => {
                for (name, entry) in network.entries() {
                    // NaN in place of a number is bad data too.
                    match network.rows(name, 0..entry.rows()) {
                        Ok(numbers) => assert_eq!(numbers.len(), entry.elements()),
                        Err(error) => assert!(matches!(error, Error::Data(_)), "{error:?}"),
                    }
                }
                let _ = network.variant();
            }
        }
    };
    for length in 0..whole.len() {
        read(whole[..length].to_vec());
    }
    for i in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[i] ^= 1 << bit;
            read(bytes);
        }
    }
    assert!(errors > whole.len(), "{errors} errors");
}

/// A field of a message with a length.
pub fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut value in [number << 3 | 2, content.len() as u64] {
        while value > 0x7f {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn lengths_and_depths_that_lie_are_refused() {
    // A length of 2^31 and one of 2^64 - 1.
    refused([&[0x08, 8, 0x3a][..], &[0x80, 0x80, 0x80, 0x80, 0x08]].concat());
    refused([&[0x08, 8, 0x3a][..], &[0xff; 9], &[1]].concat());
    // Nested 10,000 deep: graphs in attributes of nodes, groups, messages in a field that is not read.
    for around in [&[6, 5, 1][..], &[9]] {
        let mut inner = Vec::new();
        for i in 0..10_000 {
            inner = field(around[i % around.len()], &inner);
        }
        let deep = [vec![0x08, 8], field(7, &field(1, &inner))].concat();
        refused(deep);
    }
    refused([&[0x08, 8][..], &[0x3b; 10_000]].concat());
    // Two bytes for a message of hundreds.
    let text = refused([vec![0x08, 8], field(7, &[0x0a, 0].repeat(4 << 20))].concat());
    says(&text, &["memory"]);
    let text = refused([vec![0x08, 8], field(7, &[0x2a, 0].repeat(1 << 20))].concat());
    says(&text, &["memory"]);
    says(&refused(vec![0x08, 8]), &["no graph"]);
}

#[test]
fn graphs_that_are_none_are_refused() {
    let text = changed("batch_norm", |g| g.node.swap(0, 1));
    says(&text, &["node n1 (BatchNormalization)", "not sorted"]);
    let text = changed("batch_norm", |g| {
        let last = g.node.last().unwrap().output[0].clone();
        g.node[0].input[0] = last;
    });
    says(&text, &["node n0 (Conv)", "cycle"]);
    says(&changed("batch_norm", |g| g.node[0].input[0] = "nothing".into()), &["node n0 (Conv)", "nothing"]);
    says(
        &changed("batch_norm", |g| g.node[1].input[0].clear()),
        &["(BatchNormalization)", "input 1 is missing"],
    );
    let text = changed("batch_norm", |g| g.initializer.retain(|t| t.name != "conv.weight"));
    says(&text, &["node n0 (Conv)", "conv.weight"]);
    says(&changed("batch_norm", |g| g.output.clear()), &["no output"]);
    says(&changed("batch_norm", |g| g.output[0].name = "x".into()), &["output x"]);
    says(&changed("batch_norm", |g| g.input.clear()), &["0 inputs"]);
    says(&changed("batch_norm", |g| g.node[1].output = g.node[0].output.clone()), &["made twice"]);
    says(
        &changed("batch_norm", |g| g.initializer.push(g.initializer[0].clone())),
        &["conv.weight", "two tensors"],
    );
    let text = changed("batch_norm", |g| {
        let shape = g.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap();
        shape.dim[2].dim_value = Some(1 << 40);
    });
    says(&text, &["input input", "16384"]);
    // Of a network with no class scores.
    says(
        &changed("conv_valid", |g| g.output[0].name = g.node[0].output[0].clone()),
        &["one number for each class"],
    );
}

#[test]
fn unknown_operators_are_named_all_at_once() {
    let mut file = model("batch_norm");
    let graph = file.graph.as_mut().unwrap();
    graph.node[0].op_type = "QLinearConv".into();
    graph.node[2].op_type = "Gelu".into();
    graph.node[2].domain = "com.microsoft".into();
    let text = refused(file.encode_to_vec());
    says(&text, &["QLinearConv (1)", "com.microsoft.Gelu (1)", "quantised"]);
    // Functions of the file, and graphs in a node.
    let mut file = model("batch_norm");
    file.functions.push(proto::Function { name: "Mine".into() });
    let graph = file.graph.as_mut().unwrap();
    (graph.node[2].op_type, graph.node[2].domain) = ("Mine".into(), "own".into());
    says(&refused(file.encode_to_vec()), &["own.Mine (1)", "functions"]);
    says(&changed("batch_norm", |g| g.node[2].op_type = "If".into()), &["If (1)"]);
    // The first by its name and what it does.
    let text = changed("batch_norm", |g| g.node[2].op_type = "LeakyRelu".into());
    says(&text, &["LeakyRelu (1)", "node n2 (LeakyRelu) is another function of each number than ReLU"]);
    // What the result does not need may be anything.
    let mut file = model("batch_norm");
    let graph = file.graph.as_mut().unwrap();
    graph.node.push(Node { op_type: "ArgMax".into(), output: vec!["aside".into()], ..Node::default() });
    Imported::new(File::parse(file.encode_to_vec().into()).unwrap()).unwrap();
    // A version that is not there yet may mean something else by operators that are.
    let mut file = model("conv_valid");
    file.opset_import[0].version = 28;
    Imported::new(File::parse(file.encode_to_vec().into()).unwrap()).unwrap();
    file.opset_import[0].version = 999;
    says(&refused(file.encode_to_vec()), &["opset 999", "older opset"]);
}

#[test]
fn attributes_that_make_no_sense_are_refused() {
    let conv = |attribute| set("conv_uneven_pads", "Conv", attribute);
    for attribute in [
        ints("strides", &[0, 1]),
        ints("strides", &[1]),
        ints("strides", &[-1, 1]),
        ints("strides", &[i64::MIN, i64::MAX]),
        ints("pads", &[-1, 0, 0, 0]),
        ints("pads", &[1, 1]),
        ints("pads", &[i64::MAX; 4]),
        ints("pads", &[i32::MAX as i64; 4]),
        ints("kernel_shape", &[3, 3]),
        ints("dilations", &[2, 2]),
        int("group", 0),
        int("group", -1),
        int("group", 3),
        int("group", i64::MAX),
        int("strides", 1),
    ] {
        let text = conv(attribute.clone());
        says(&text, &["node n0 (Conv)"]);
    }
    let auto = Attribute {
        name: "auto_pad".into(),
        s: "EVEN".into(),
        kind: attribute::STRING,
        ..Attribute::default()
    };
    says(&conv(auto), &["EVEN"]);
    // A kernel larger than the input, a window too.
    says(&set("max_pool_uneven", "MaxPool", ints("kernel_shape", &[30, 2])), &["(MaxPool)"]);
    says(&set("max_pool_uneven", "MaxPool", ints("kernel_shape", &[0, 2])), &["(MaxPool)"]);
    says(&set("max_pool_uneven", "MaxPool", ints("pads", &[3, 3, 3, 3])), &["(MaxPool)"]);
    says(&set("max_pool_uneven", "MaxPool", ints("strides", &[1 << 40, 1])), &["(MaxPool)"]);
    let text = changed("conv_valid", |g| {
        let shape = g.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap();
        shape.dim[2].dim_value = Some(2);
    });
    says(&text, &["node n0 (Conv)", "smaller than its kernel"]);
    says(&set("lrn", "LRN", int("size", 0)), &["(LRN)"]);
    says(&set("lrn", "LRN", int("size", 1 << 33)), &["(LRN)"]);
    says(&set("batch_norm", "BatchNormalization", int("spatial", 0)), &["spatial"]);
    says(&set("batch_norm", "BatchNormalization", int("training_mode", 1)), &["training mode"]);
    says(&set("gemm_plain", "Gemm", int("transA", 1)), &["(Gemm)"]);
    says(&set("conv_valid", "Flatten", int("axis", 2)), &["(Flatten)"]);
    says(&set("concat_of_branches", "Concat", int("axis", 2)), &["(Concat)"]);
    says(&set("softmax_along_an_axis", "LogSoftmax", int("axis", 3)), &["(LogSoftmax)"]);
    says(&set("mean_by_attribute", "ReduceMean", ints("axes", &[1, 2])), &["(ReduceMean)"]);
    let clip = Attribute { name: "max".into(), f: 6.0, kind: attribute::FLOAT, ..Attribute::default() };
    says(&set("relu_by_bounds", "Clip", clip), &["between 0 and 6"]);
}

#[test]
fn what_a_network_would_compute_otherwise_is_refused() {
    // A softmax in the middle.
    says(&changed("batch_norm", |g| g.node[2].op_type = "Softmax".into()), &["(Softmax)"]);
    // A reshape that mixes channels and pixels.
    let text = changed("conv_valid", |g| {
        g.initializer.push(Tensor {
            name: "shape".into(),
            dims: vec![3],
            data_type: proto::tensor::INT64,
            int64_data: vec![0, 49, 4],
            ..Tensor::default()
        });
        (g.node[1].op_type, g.node[1].attribute) = ("Reshape".into(), Vec::new());
        g.node[1].input.push("shape".into());
    });
    says(&text, &["(Reshape)", "mixes channels and pixels"]);
    // Pictures of a batch in one row.
    let mut file = model("reshape_of_a_fixed_batch");
    let graph = file.graph.as_mut().unwrap();
    let shape = tensor_of(graph, "shape");
    (shape.raw_data, shape.int64_data) = (Vec::new().into(), vec![1, -1]);
    says(&refused(file.encode_to_vec()), &["(Reshape)"]);
    // Zeros around a map with negative numbers, of which the maximum is taken.
    says(
        &changed("pad_then_max", |g| node_of(g, "Relu").op_type = "Identity".into()),
        &["(MaxPool)", "zeros"],
    );
    // Pixels cut off.
    let text = changed("every_second_pixel", |g| {
        let from = tensor_of(g, "from");
        (from.raw_data, from.int64_data) = (Vec::new().into(), vec![1, 0]);
    });
    says(&text, &["(Slice)", "cuts pixels"]);
    // Weights that are computed from the picture.
    says(&changed("matmul_then_add", |g| g.node[2].input[0] = g.node[1].output[0].clone()), &["(MatMul)"]);
}

#[test]
fn tensors_that_lie_are_refused() {
    let weight =
        |change: &dyn Fn(&mut Tensor)| changed("conv_valid", |g| change(tensor_of(g, "conv.weight")));
    for (dims, part) in [
        (vec![4, 5, 3, 4], "takes 960 bytes"),
        (vec![-1, 5, 3, 3], "make no sense"),
        (vec![4_194_305, 4_194_305, 211_106_198_978_564], "make no sense"),
        (vec![i64::MAX], "make no sense"),
        (vec![0, 5, 3, 3], "takes 0 bytes"),
        (vec![180], "(Conv)"),
        (vec![4, 3, 5, 3], "(Conv)"),
    ] {
        says(&weight(&|t| t.dims.clone_from(&dims)), &[part]);
    }
    for (kind, name) in [(8, "strings"), (17, "float8"), (22, "int4"), (0, "no type"), (77, "type 77")] {
        says(&weight(&|t| t.data_type = kind), &["conv.weight", name]);
    }
    // Integers of as many bytes.
    says(&weight(&|t| t.data_type = proto::tensor::INT32), &["(Conv)", "quantised"]);
    says(&weight(&|t| (t.raw_data, t.float_data) = (Vec::new().into(), vec![1.0; 179])), &["179"]);
    says(&changed("conv_valid", |g| tensor_of(g, "conv.bias").dims = vec![2, 2]), &["(Conv)", "biases"]);
    says(&changed("batch_norm", |g| tensor_of(g, "v").dims = vec![3, 2]), &["variances"]);
    says(&changed("conv_valid", |g| tensor_of(g, "head.weight").dims = vec![196, 6]), &["(Gemm)", "196"]);
    says(&changed("conv_valid", |g| tensor_of(g, "head.bias").dims = vec![3, 2]), &["(Gemm)", "bias"]);
    // Numbers that are none, named when they are read.
    let mut file = model("conv_valid");
    let bias = tensor_of(file.graph.as_mut().unwrap(), "conv.bias");
    (bias.raw_data, bias.float_data) = (Vec::new().into(), vec![0.0, f32::NAN, 1.0, f32::INFINITY]);
    let network = Imported::new(File::parse(file.encode_to_vec().into()).unwrap()).unwrap();
    let error = network.rows("conv.bias", 0..4).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    says(&error.to_string(), &["NaN or infinity in conv.bias"]);
}

#[test]
fn constants_that_stand_for_too_many_numbers_are_refused() {
    let light = fs::read(golden("light/light_zfnet512.onnx")).unwrap();
    let shape = |values: &[i64], op: &str| {
        let mut file = Model::decode(light.as_slice()).unwrap();
        let graph = file.graph.as_mut().unwrap();
        let name = node_of(graph, op).input[0].clone();
        let tensor = tensor_of(graph, &name);
        (tensor.dims, tensor.raw_data) = (vec![values.len() as i64], Vec::new().into());
        tensor.int64_data = values.to_vec();
        refused(file.encode_to_vec())
    };
    says(&shape(&[1 << 50], "ConstantOfShape"), &["(ConstantOfShape)"]);
    says(&shape(&[1 << 30, 1 << 20], "ConstantOfShape"), &["(ConstantOfShape)"]);
    says(&shape(&[1 << 30], "ConstantOfShape"), &["(ConstantOfShape)", "more than any layer"]);
    says(&shape(&[-1], "ConstantOfShape"), &["(ConstantOfShape)"]);
    // Arithmetic on a constant of a few bytes, a hundred times.
    let text = changed("conv_valid", |g| {
        let tensor = |name: &str, dims: Vec<i64>, int64_data: Vec<i64>| Tensor {
            name: name.into(),
            dims,
            data_type: proto::tensor::INT64,
            int64_data,
            ..Tensor::default()
        };
        g.initializer.push(tensor("many", vec![1], vec![1 << 22]));
        let make = |op: &str, input: &[String], output: String| Node {
            op_type: op.into(),
            input: input.to_vec(),
            output: vec![output],
            ..Node::default()
        };
        let mut nodes = vec![make("ConstantOfShape", &["many".into()], "a0".into())];
        for i in 0..100 {
            nodes.push(make("Add", &[format!("a{i}"), format!("a{i}")], format!("a{}", i + 1)));
        }
        g.node[0].input[2] = "a100".into();
        g.node.splice(0..0, nodes);
    });
    says(&text, &["(Add)", "more than a network computes"]);
}

#[test]
fn numbers_in_other_files_are_read_from_the_folder_only() {
    let folder = crate::support::fixtures::folder();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    for place in [folder.path().join("secret"), inner.join("data")] {
        fs::write(place, vec![0; 720]).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret"), inner.join("link")).unwrap();
    let file = inner.join("model.onnx");
    let read = |entries: &[(&str, &str)]| {
        let mut model = model("conv_valid");
        let tensor = tensor_of(model.graph.as_mut().unwrap(), "conv.weight");
        tensor.raw_data = Vec::new().into();
        tensor.data_location = 1;
        let entry =
            |(key, value): &(&str, &str)| proto::KeyValue { key: (*key).into(), value: (*value).into() };
        tensor.external_data = entries.iter().map(entry).collect();
        fs::write(&file, model.encode_to_vec()).unwrap();
        File::open(&file, ReadOptions::default().external_data(true)).and_then(Imported::new).map(|_| ())
    };
    read(&[("location", "data")]).unwrap();
    read(&[("location", "./data"), ("offset", "0"), ("length", "720")]).unwrap();
    let secret = folder.path().join("secret");
    let mut outside = vec!["../secret", "data/../../secret", secret.to_str().unwrap(), ""];
    if cfg!(unix) {
        outside.push("link");
    }
    for location in outside {
        let error = read(&[("location", location)]).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error:?}");
        says(&error.to_string(), &["outside the folder", "model.onnx", "conv.weight"]);
    }
    for (offset, length) in
        [("1", "720"), ("-1", "720"), ("0", "1125899906842624"), ("0", "719"), ("x", "720")]
    {
        let error = read(&[("location", "data"), ("offset", offset), ("length", length)]).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error:?}");
    }
    assert!(matches!(read(&[("location", "none")]), Err(Error::NotFound(_))));
    assert!(matches!(read(&[("location", ".")]), Err(Error::Data(_))));
    assert!(matches!(read(&[]), Err(Error::Data(_))));
}
