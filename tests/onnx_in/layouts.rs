//! Orders of channels and pixels that are not what the next operator takes: each is refused by what it is.

use super::operators::model;
use super::{hashed, run_file};
use ocelli::exchange::onnx_in::Imported;
use ocelli::weights::onnx::File;
use ocelli::weights::onnx::proto::{Attribute, Graph, Node, Tensor, attribute, tensor};
use prost::Message;

fn node(op: &str, inputs: &[&str], output: &str, order: Option<[i64; 4]>) -> Node {
    let perm = |ints: [i64; 4]| Attribute {
        name: "perm".into(),
        ints: ints.into(),
        kind: attribute::INTS,
        ..Attribute::default()
    };
    Node {
        op_type: op.into(),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        attribute: order.map(perm).into_iter().collect(),
        ..Node::default()
    }
}

/// What is said of a convolution, a flattening and a fully connected layer with something between.
fn refused(size: i64, change: impl FnOnce(&mut Graph)) -> String {
    let mut file = model("conv_valid");
    let graph = file.graph.as_mut().unwrap();
    let shape = graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap();
    (shape.dim[2].dim_value, shape.dim[3].dim_value) = (Some(size), Some(size));
    change(graph);
    Imported::new(File::parse(file.encode_to_vec().into()).unwrap()).map(|_| ()).unwrap_err().to_string()
}

/// Puts nodes behind the convolution; the flattening reads the last.
fn behind(graph: &mut Graph, nodes: Vec<Node>) {
    let last = nodes.last().unwrap().output[0].clone();
    graph.node[1].input[0] = last;
    graph.node.splice(1..1, nodes);
}

#[test]
fn orders_that_do_not_fit_are_refused() {
    // A convolution whose channels would be rows.
    let text = refused(9, |g| {
        g.node[0].input[0] = "t".into();
        g.node.insert(0, node("Transpose", &["input"], "t", Some([0, 2, 3, 1])));
    });
    assert!(text.contains("(Conv)") && text.contains("the last counts channels"), "{text}");
    // Rows and columns change places.
    let text = refused(9, |g| behind(g, vec![node("Transpose", &["v0"], "t", Some([0, 1, 3, 2]))]));
    assert!(text.contains("(Transpose)") && text.contains("channels first or last"), "{text}");
    // Channels between rows and columns.
    let text = refused(9, |g| behind(g, vec![node("Transpose", &["v0"], "t", Some([0, 2, 1, 3]))]));
    assert!(text.contains("(Transpose)"), "{text}");
    // A map as high and wide as it has channels looks the same either way, and is not.
    let text = refused(6, |g| {
        let turned = node("Transpose", &["v0"], "t", Some([0, 2, 3, 1]));
        behind(g, vec![turned, node("Add", &["v0", "t"], "sum", None)]);
    });
    assert!(text.contains("(Add)") && text.contains("in the same order"), "{text}");
    // Numbers in a row become a map of the other order.
    let text = refused(9, |g| {
        let dims = Tensor {
            name: "dims".into(),
            dims: vec![4],
            data_type: tensor::INT64,
            int64_data: vec![-1, 4, 7, 7],
            ..Tensor::default()
        };
        g.initializer.push(dims);
        let turned = node("Transpose", &["v0"], "t", Some([0, 2, 3, 1]));
        behind(g, vec![turned, node("Reshape", &["t", "dims"], "map", None)]);
    });
    assert!(text.contains("(Reshape)") && text.contains("mixes channels and pixels"), "{text}");
}

/// Pixels that are together stay so where a 0 keeps the first size and -1 stands for the other.
#[test]
fn pixels_together_are_reshaped_to_what_they_are() {
    let read = |more: &[[i64; 2]]| {
        let mut file = model("conv_valid");
        let graph = file.graph.as_mut().unwrap();
        let mut nodes = vec![node("Transpose", &["v0"], "t0", Some([0, 2, 3, 1]))];
        let all = [[-1, 4]].iter().chain(more).map(|sizes| sizes.to_vec());
        for (i, sizes) in all.chain([vec![-1, 7, 7, 4]]).enumerate() {
            graph.initializer.push(Tensor {
                name: format!("dims{i}"),
                dims: vec![sizes.len() as i64],
                data_type: tensor::INT64,
                int64_data: sizes,
                ..Tensor::default()
            });
            let inputs = [format!("t{i}"), format!("dims{i}")];
            nodes.push(node("Reshape", &inputs.each_ref().map(String::as_str), &format!("t{}", i + 1), None));
        }
        let last = nodes.last().unwrap().output[0].clone();
        nodes.push(node("Transpose", &[&last], "back", Some([0, 3, 1, 2])));
        behind(graph, nodes);
        let network = Imported::new(File::parse(file.encode_to_vec().into()).unwrap());
        network.map(|network| {
            let input: Vec<f32> = (0..9 * 9 * 5).map(|i| hashed("together", i)).collect();
            run_file(&network, &input)
        })
    };
    let plain = read(&[]).unwrap();
    for more in [[0, -1], [0, 4], [-1, 4], [49, -1]] {
        assert_eq!(read(&[more]).unwrap(), plain, "{more:?}");
    }
    for more in [[0, 2], [-1, 2], [2, -1]] {
        assert!(read(&[more]).is_err(), "{more:?}");
    }
}

/// What a fully connected layer reads may be flattened by any sizes that say so.
#[test]
fn a_product_follows_a_reshape_as_it_does_a_flattening() {
    let read = |sizes: Option<Vec<i64>>| {
        let mut file = model("conv_valid");
        let graph = file.graph.as_mut().unwrap();
        if let Some(sizes) = sizes {
            let [input, output] = [graph.node[1].input[0].clone(), graph.node[1].output[0].clone()];
            graph.node[1] = node("Reshape", &[&input, "flat"], &output, None);
            graph.initializer.push(Tensor {
                name: "flat".into(),
                dims: vec![sizes.len() as i64],
                data_type: tensor::INT64,
                int64_data: sizes,
                ..Tensor::default()
            });
        }
        let network = Imported::new(File::parse(file.encode_to_vec().into()).unwrap());
        network.map(|network| {
            let input: Vec<f32> = (0..9 * 9 * 5).map(|i| hashed("together", i)).collect();
            run_file(&network, &input)
        })
    };
    let plain = read(None).unwrap();
    for sizes in [[0, -1], [1, -1], [-1, 4 * 7 * 7], [0, 4 * 7 * 7], [1, 4 * 7 * 7]] {
        assert_eq!(read(Some(sizes.to_vec())).unwrap(), plain, "{sizes:?}");
    }
    for sizes in [vec![0, 4 * 7], vec![-1, 4], vec![2, -1], vec![0, 0]] {
        assert!(read(Some(sizes.clone())).is_err(), "{sizes:?}");
    }
}

/// Each output costs a walk, so that only some are looked at.
#[test]
fn a_graph_of_a_thousand_outputs_is_read() {
    let mut file = model("conv_valid");
    let graph = file.graph.as_mut().unwrap();
    let output = graph.output[0].clone();
    graph.output = vec![output; 1000];
    let network = Imported::new(File::parse(file.encode_to_vec().into()).unwrap()).unwrap();
    assert_eq!(network.outputs().len(), 1000);
    assert!(network.choice().is_some_and(|said| said.to_string().len() < 400));
}
