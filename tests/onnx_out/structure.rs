//! What is in a file: decoded with the messages of ONNX, no runtime.

use super::{Drawn, network, parameter, settings, whole};
use half::f16;
use ocelli::exchange::onnx_out::{Content, model, write, write_network};
use ocelli::kernels::ConvOptions;
use ocelli::models::{ARCHS, Arch, Network};
use ocelli::ops::PoolOptions;
use ocelli::tensor::Shape;
use ocelli::weights::onnx::proto::{Graph, Model, Node, ValueInfo, attribute, tensor};
use ocelli::weights::{Dtype, Source};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

fn graph_of(network: &Network) -> Graph {
    model("test", network, &BTreeMap::new(), Dtype::F32).unwrap().graph.unwrap()
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    graph.node.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

fn ints(node: &Node, name: &str) -> Vec<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone()).unwrap_or_default()
}

fn int(node: &Node, name: &str) -> i64 {
    node.attribute.iter().find(|a| a.name == name).map_or(0, |a| a.i)
}

/// The integers of the constant that a node reads.
fn constant(graph: &Graph, node_name: &str, input: usize) -> Vec<i64> {
    let constant = node(graph, &node(graph, node_name).input[input]);
    assert_eq!(constant.op_type, "Constant");
    constant.attribute[0].t.as_ref().unwrap().int64_data.clone()
}

fn sizes(value: &ValueInfo) -> Vec<String> {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    assert_eq!(tensor.elem_type, tensor::FLOAT);
    let dims = tensor.shape.as_ref().unwrap().dim.iter();
    dims.map(|d| d.dim_param.clone().unwrap_or_else(|| d.dim_value.unwrap().to_string())).collect()
}

fn count(graph: &Graph, op_type: &str) -> usize {
    graph.node.iter().filter(|n| n.op_type == op_type).count()
}

/// The rules of ONNX for a graph, and that nothing in it is idle.
fn check(name: &str, graph: &Graph) {
    let mut made: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(made.len(), graph.initializer.len(), "{name}: initialisers of one name");
    assert!(made.insert("input"), "{name}");
    let (mut names, mut used) = (BTreeSet::new(), BTreeSet::new());
    for node in &graph.node {
        assert!(names.insert(&node.name), "{name}: two nodes {}", node.name);
        for input in &node.input {
            assert!(made.contains(input.as_str()), "{name}: {} reads {input} before it is there", node.name);
            used.insert(input.as_str());
        }
        assert_eq!(node.output.len(), 1);
        assert!(made.insert(&node.output[0]), "{name}: two values {}", node.output[0]);
        let known = |kind: i32| (attribute::FLOAT..=attribute::INTS).contains(&kind);
        assert!(node.attribute.iter().all(|a| known(a.kind)), "{name}: {}", node.name);
    }
    made.retain(|value| !used.contains(value));
    assert_eq!(made.into_iter().collect::<Vec<_>>(), ["logits"], "{name}: values that nothing reads");
}

#[test]
fn every_variant_is_a_graph_of_known_nodes_with_pytorchs_names() {
    for arch in ARCHS {
        let size = if ["AlexNet", "ZFNet"].contains(&arch.family) { [99, 115] } else { [70, 96] };
        let network = whole(arch.name, size, 7);
        let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let model = model(arch.name, &network, &metadata, Dtype::F32).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        assert_eq!(model.opset_import[0].domain, "");
        assert_eq!(model.producer_name, "ocelli");
        assert_eq!(model.producer_version, env!("CARGO_PKG_VERSION"));
        let props: Vec<_> = model.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(props, [("a", "1"), ("b", "2")]);

        let graph = model.graph.unwrap();
        check(arch.name, &graph);
        let [input, output] = [&graph.input[..], &graph.output[..]].map(|list| &list[0]);
        assert_eq!((input.name.as_str(), output.name.as_str()), ("input", "logits"));
        assert_eq!(sizes(input), ["batch", "3", &size[0].to_string(), &size[1].to_string()]);
        assert_eq!(sizes(output), ["batch", "7"]);

        let parameters = &network.parameters;
        let with = |rank: usize| parameters.iter().filter(|p| p.torch_shape.len() == rank).count();
        let norms = parameters.iter().filter(|p| p.name.ends_with(".running_mean")).count();
        assert_eq!(graph.initializer.len(), parameters.len());
        for (tensor, parameter) in graph.initializer.iter().zip(parameters) {
            assert_eq!(tensor.name, parameter.name);
            let dims: Vec<i64> = parameter.torch_shape.iter().map(|d| *d as i64).collect();
            assert_eq!((&tensor.dims, tensor.data_type), (&dims, tensor::FLOAT));
        }
        for (op_type, wanted) in [("Conv", with(4)), ("Gemm", with(2)), ("BatchNormalization", norms)] {
            assert_eq!(count(&graph, op_type), wanted, "{} in {}", op_type, arch.name);
        }
        // A layer keeps its name.
        for p in parameters.iter().filter(|p| p.torch_shape.len() > 1) {
            let reader = node(&graph, p.name.strip_suffix(".weight").unwrap());
            assert_eq!(reader.input[1], p.name);
        }
    }
}

#[test]
fn grouped_convolutions_and_lrn_keep_their_constants() {
    let graph = graph_of(&whole("alexnet", [227, 227], 1000));
    let conv2 = node(&graph, "conv2");
    assert_eq!((conv2.op_type.as_str(), int(conv2, "group")), ("Conv", 2));
    assert_eq!(conv2.input, ["pool1", "conv2.weight", "conv2.bias"]);
    assert_eq!(ints(conv2, "kernel_shape"), [5, 5]);
    assert_eq!(ints(conv2, "pads"), [2, 2, 2, 2]);
    assert_eq!(ints(node(&graph, "conv1"), "strides"), [4, 4]);
    let norm = node(&graph, "norm1");
    let float = |name: &str| norm.attribute.iter().find(|a| a.name == name).unwrap().f;
    assert_eq!([float("alpha"), float("beta"), float("bias")], [5e-4, 0.75, 2.0]);
    assert_eq!(int(norm, "size"), 5);
    let fc6 = node(&graph, "fc6");
    assert_eq!((int(fc6, "transB"), fc6.input[0].as_str()), (1, "fc6.flatten"));
    assert_eq!(node(&graph, "fc7").input[0], "fc6.relu");
    // Groups that the kernels here cannot take apart are one group with zeros in the graph, and groups in the
    // file.
    let network = network(1, [8, 8], |g, list, x| {
        let first = parameter(g, list, "a.weight", Shape::filter(1, 1, 3, 6), vec![6, 3, 1, 1]);
        let x = g.layer("a").conv2d(x, first, None, ConvOptions::square(1, 0))?;
        let second = parameter(g, list, "b.weight", Shape::filter(3, 3, 2, 9), vec![9, 2, 3, 3]);
        g.layer("b").conv2d(x, second, None, ConvOptions { groups: 3, ..ConvOptions::square(2, 1) })
    });
    let graph = graph_of(&network);
    check("ungrouped", &graph);
    assert_eq!((count(&graph, "Conv"), int(node(&graph, "b"), "group")), (2, 3));
}

#[test]
fn the_map_before_a_classifier_is_averaged_over_the_windows_of_pytorch() {
    // As large as it should be, and twice as wide.
    let graph = graph_of(&whole("vgg11", [224, 224], 7));
    assert!(graph.node.iter().all(|n| n.name != "avgpool"));
    let graph = graph_of(&whole("vgg11", [224, 448], 7));
    let pool = node(&graph, "avgpool");
    assert_eq!((pool.op_type.as_str(), ints(pool, "kernel_shape")), ("AveragePool", vec![1, 2]));
    assert_eq!(ints(pool, "strides"), [1, 2]);
    // 9 rows to 7, columns as they are; 2x3 to 7x7.
    for (size, [h, w]) in [([300, 230], [9, 7]), ([64, 96], [2, 3])] {
        let graph = graph_of(&whole("vgg11", size, 7));
        for (name, axis, from) in [("rows", 2, h), ("columns", 3, w)] {
            let slices: Vec<_> = (0..7)
                .map(|i| format!("avgpool.{name}.{i}.slice"))
                .filter(|n| graph.node.iter().any(|m| m.name == *n))
                .collect();
            assert_eq!(slices.len(), if from == 7 { 0 } else { 7 });
            for (i, slice) in slices.iter().enumerate() {
                // floor and ceil without dividing as the program does.
                let start = (0..from).rev().find(|s| s * 7 <= i * from).unwrap();
                let end = (0..).find(|e| e * 7 >= (i + 1) * from).unwrap();
                assert_eq!(constant(&graph, slice, 1), [start as i64]);
                assert_eq!(constant(&graph, slice, 2), [end as i64]);
                assert_eq!(constant(&graph, slice, 3), [axis]);
                let mean = node(&graph, slice.strip_suffix(".slice").unwrap());
                assert_eq!((mean.op_type.as_str(), ints(mean, "axes")), ("ReduceMean", vec![axis]));
            }
        }
        assert_eq!(node(&graph, "avgpool").op_type, "Concat");
        assert_eq!(node(&graph, "classifier.0.flatten").input, ["avgpool"]);
    }
    assert_eq!(node(&graph_of(&whole("resnet18", [64, 64], 7)), "avgpool").op_type, "GlobalAveragePool");
}

#[test]
fn a_shortcut_without_parameters_is_slice_pad_add() {
    let graph = graph_of(&whole("resnet20", [33, 32], 10));
    let name = "layer2.0.shortcut";
    let add = node(&graph, name);
    assert_eq!(
        (add.op_type.as_str(), &add.input[..]),
        ("Add", &["layer2.0.bn2".into(), format!("{name}.pad")][..])
    );
    assert_eq!(constant(&graph, &format!("{name}.pad"), 1), [0, 8, 0, 0, 0, 8, 0, 0]);
    let slice = format!("{name}.slice");
    assert_eq!(node(&graph, &slice).input[0], "layer1.2.relu2");
    let parts: Vec<_> = (1..5).map(|i| constant(&graph, &slice, i)).collect();
    assert_eq!(parts, [[0, 0], [33, 32], [2, 3], [2, 2]]);
    // The shape stays: an ordinary sum.
    assert_eq!(node(&graph, "layer2.1.shortcut").input, ["layer2.1.bn2", "layer2.0.relu2"]);
}

#[test]
fn logits_have_their_name_wherever_they_come_from() {
    let mut network = network(1, [8, 8], |g, list, x| {
        let w = parameter(g, list, "conv.weight", Shape::filter(1, 1, 3, 6), vec![6, 3, 1, 1]);
        let x = g.layer("conv").conv2d(x, w, None, ConvOptions::square(1, 0))?;
        g.layer("logits").global_average_pool(x)
    });
    let last = |network: &Network| {
        let graph = graph_of(network);
        let node = graph.node.last().unwrap().clone();
        assert_eq!(node.output, ["logits"]);
        (node.op_type, node.input[0].clone(), sizes(&graph.output[0])[1].clone())
    };
    let fc = network.logits;
    assert_eq!(last(&network), ("Gemm".into(), "fc.flatten".into(), "5".into()));
    // Something else reads them, too.
    network.graph.layer("relu").relu(fc).unwrap();
    assert_eq!(last(&network), ("Identity".into(), "fc".into(), "5".into()));
    // A map of one pixel, whose layer has the name that the result is kept for.
    let node = |name: &str| network.graph.nodes().iter().position(|n| n.name == name).unwrap();
    network.logits = network.graph.values().nth(node("logits")).unwrap();
    assert_eq!(last(&network), ("Flatten".into(), "logits.2".into(), "6".into()));
}

#[test]
fn no_average_depends_on_what_lies_beyond_the_padding() {
    let with = |size: [usize; 2], options: PoolOptions, average: bool| {
        let network = network(1, size, |g, _, x| {
            let g = g.layer("pool");
            if average { g.average_pool(x, options) } else { g.max_pool(x, options) }
        });
        let graph = graph_of(&network);
        check("pool", &graph);
        graph
    };
    let pool = |graph: &Graph| {
        let pool = node(graph, "pool");
        (ints(pool, "pads"), int(pool, "ceil_mode"), int(pool, "count_include_pad"))
    };
    let three = PoolOptions::square(3, 2);
    assert_eq!(pool(&with([8, 9], three.ceil(), false)), (vec![0, 0, 0, 0], 1, 0));
    // A window that would start behind the map is none; ONNX's older ceil mode has it.
    let late = PoolOptions { kernel: [2, 2], stride: [3, 3], pad: [[1, 1]; 2], ..three.ceil() };
    assert_eq!(pool(&with([5, 6], late, false)), (vec![1, 1, 1, 1], 0, 0));
    // A window that is larger than the map.
    assert_eq!(pool(&with([2, 7], three.ceil(), false)), (vec![0, 0, 1, 0], 0, 0));
    assert_eq!(pool(&with([8, 9], three.ceil(), true)), (vec![0, 0, 1, 0], 0, 0));
    assert_eq!(pool(&with([9, 9], three.padded(1), true)), (vec![1, 1, 1, 1], 0, 1));
    let graph = with([8, 8], three.padded(1).ceil(), true);
    assert_eq!(pool(&graph), (vec![0, 0, 1, 1], 0, 0));
    assert_eq!(constant(&graph, "pool.pad", 1), [0, 0, 1, 1, 0, 0, 1, 1]);
    let uncounted = PoolOptions { count_padding: false, ..three.padded(1).ceil() };
    assert_eq!(pool(&with([8, 8], uncounted, true)), (vec![1, 1, 2, 2], 0, 0));
}

#[test]
fn a_file_is_what_prost_would_encode_and_always_the_same() {
    let arch = Arch::find("resnet20").unwrap();
    let source = Drawn::of(&whole("resnet20", [32, 32], 10));
    let folder = tempfile::tempdir().unwrap();
    let metadata = BTreeMap::from([("ocelli.arch".to_owned(), "resnet20".to_owned())]);
    let settings = settings(arch, [32, 32], 10);
    for dtype in [Dtype::F32, Dtype::F16] {
        let [a, b] = ["a.onnx", "b.onnx"].map(|name| {
            let path = folder.path().join(name);
            write(&path, arch, &settings, Content { source: &source, metadata: &metadata, dtype }).unwrap();
            std::fs::read(path).unwrap()
        });
        assert!(a == b, "the same content gives the same bytes");
        let decoded = Model::decode(&a[..]).unwrap();
        assert!(decoded.encode_to_vec() == a, "the framing is not that of prost");
        assert_eq!(decoded.metadata_props.len(), 1);
        let graph = decoded.graph.unwrap();
        check("resnet20", &graph);
        for tensor in &graph.initializer {
            let rows = source.entries()[&tensor.name].rows();
            let numbers = source.rows(&tensor.name, 0..rows).unwrap();
            let wanted: Vec<u8> = match dtype {
                Dtype::F16 => numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
                _ => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            assert!(tensor.raw_data == wanted, "{}", tensor.name);
            let data_type = if dtype == Dtype::F16 { tensor::FLOAT16 } else { tensor::FLOAT };
            assert_eq!(tensor.data_type, data_type);
        }
        let casts = if dtype == Dtype::F16 { graph.initializer.len() } else { 0 };
        assert_eq!(count(&graph, "Cast"), casts);
        let weight = if casts > 0 { "conv1.weight.f32" } else { "conv1.weight" };
        assert_eq!(node(&graph, "conv1").input, ["input", weight]);
    }
}

#[test]
fn parameters_are_written_some_rows_at_a_time() {
    let network = whole("resnet18", [32, 32], 3);
    let source = Drawn::of(&network);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    write_network(&path, "resnet18", &network, Content::new(&source, Dtype::F32)).unwrap();
    let most = source.most.load(Ordering::Relaxed);
    let largest = source.entries().values().map(|e| e.elements()).max().unwrap();
    assert!(most <= 1 << 20 && largest > 2 << 20, "{most} numbers at once of a tensor of {largest}");
    let decoded = Model::decode(&std::fs::read(path).unwrap()[..]).unwrap();
    let bytes: usize = decoded.graph.unwrap().initializer.iter().map(|t| t.raw_data.len()).sum();
    assert_eq!(bytes, 4 * source.entries().values().map(|e| e.elements()).sum::<usize>());
}
