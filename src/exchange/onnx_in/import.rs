//! Imports the nodes of a file into a graph. The nodes are read in the order of the file. Each makes a constant or an activation for each of
//! its results.

use super::activation::{Activation, Base, Channels};
use super::axis::MAP_LAST;
use super::budget::Budget;
use super::constant::Constant;
use super::emit::Emitter;
use super::fold::{Fold, shape_part};
use super::node::{DAMAGED, Node, place};
use super::order::Order;
use super::versions::Given;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::models::Parameter;
use crate::tensor::Value;
use crate::weights::onnx::File;
use std::collections::{BTreeMap, HashMap};

/// The value of a name in the file.
#[derive(Clone)]
#[cfg_attr(
    target_pointer_width = "64",
    expect(clippy::large_enum_variant, reason = "there are few of either, each in one map")
)]
pub(super) enum Item {
    Constant(Constant),
    Activation(Activation),
}

/// An imported graph.
pub(super) struct Built {
    pub(super) logits: Value,
    pub(super) softmax: bool,
    pub(super) parameters: Vec<Parameter>,
    pub(super) weights: BTreeMap<String, Weight>,
    /// The transformed input of the first layer, and its channels.
    pub(super) transform: Option<(Value, Channels)>,
}

pub(super) struct Importer<'a, 'g> {
    file: &'a File,
    pub(super) emit: Emitter<'g>,
    pub(super) budget: Budget,
    items: HashMap<&'a str, Item>,
    /// The batch size of the graph.
    pub(super) batch: usize,
    /// The batch size of the file, if it is fixed.
    pub(super) batch_of_file: Option<usize>,
}

/// Imports the graph of a file. `x` is the input.
///
/// # Errors
/// [`Error::Data`] with the node and the operator.
pub(super) fn build(file: &File, order: &Order, graph: &mut Graph, x: Value) -> Result<Built> {
    let [batch, h, w, c] = graph.shape(x)?.dims();
    let mut importer = Importer {
        file,
        emit: Emitter::new(graph, x),
        budget: Budget::new(order.numbers),
        items: HashMap::new(),
        batch,
        batch_of_file: order.batch,
    };
    let mut pictures = Activation::new(x, [h, w, c]);
    if order.channels_last {
        pictures.lies(MAP_LAST);
    }
    importer.items.insert(&order.input, Item::Activation(pictures));
    for i in &order.nodes {
        let Some(node) = file.graph().node.get(*i) else { continue };
        importer.node(Node::new(node, file.opset())).map_err(|e| at_node(e, &place(node)))?;
    }
    importer.finish(&order.output).map_err(|e| at_node(e, &format!("output {}", order.output)))
}

/// A layer that is not possible is the fault of the file, not of the caller.
fn at_node(error: Error, place: &str) -> Error {
    match error {
        Error::Usage(mut report) => {
            report.place.clear();
            Error::Data(report).at(place)
        }
        other => other.at(place),
    }
}

impl<'a> Importer<'a, '_> {
    fn node(&mut self, node: Node<'a>) -> Result<()> {
        node.version()?;
        self.infers(node)?;
        let items = match self.constants(node)? {
            Some(inputs) => {
                let fold = Fold { file: self.file, node, inputs: &inputs, budget: &self.budget };
                let made = fold.run()?.ok_or_else(|| match node.input(0) {
                    Some(_) => Error::data("it computes on constants")
                        .hint("only arithmetic on shapes and weights is read"),
                    None => Error::data("its input 1 is missing").hint(DAMAGED),
                })?;
                made.into_iter().map(Item::Constant).collect()
            }
            None if node.op() == "Split" => self.split(node)?,
            None => vec![self.activation_of(node)?],
        };
        for (name, item) in node.outputs().iter().zip(items) {
            if !name.is_empty() {
                self.items.insert(name, item);
            }
        }
        Ok(())
    }

    /// The inputs of a node, if all are constant.
    fn constants(&self, node: Node) -> Result<Option<Vec<Option<Constant>>>> {
        let mut constants = Vec::with_capacity(node.inputs().len());
        for i in 0..node.inputs().len() {
            match node.input(i) {
                None => constants.push(None),
                Some(_) => match self.constant(node, i)? {
                    Some(constant) => constants.push(Some(constant)),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(constants))
    }

    fn activation_of(&mut self, node: Node<'a>) -> Result<Item> {
        match node.op() {
            "Conv" => self.conv(node),
            "Gemm" | "MatMul" => self.matrix(node),
            "BatchNormalization" => self.batch_norm(node),
            "MaxPool" => self.pool(node, true),
            "AveragePool" => self.pool(node, false),
            "GlobalAveragePool" => self.global_average(node),
            "GlobalMaxPool" => self.global_max(node),
            "ReduceMean" => self.reduce(node, false),
            "ReduceMax" => self.reduce(node, true),
            "Relu" => self.relu(node),
            "Clip" => self.clip(node),
            "LRN" => self.lrn(node),
            "Add" | "Sum" => self.add(node),
            "Sub" | "Mul" | "Div" => self.by_constant(node),
            "Concat" => self.concat(node),
            "Softmax" | "LogSoftmax" => self.softmax(node),
            "Sigmoid" => self.sigmoid(node),
            "Identity" | "Dropout" => {
                let x = self.any_activation(node, 0)?;
                // A node costs few bytes in the file, but a copy of an activation costs memory.
                self.budget.take(x.channels.as_ref().map_or(0, |c| c.of.len().saturating_mul(4)))?;
                Ok(Item::Activation(x))
            }
            "Cast" => self.cast(node),
            "Flatten" => self.flatten(node),
            "Reshape" => self.reshape(node),
            "Squeeze" => self.squeeze(node, false),
            "Unsqueeze" => self.squeeze(node, true),
            "Transpose" => self.transpose(node),
            "Slice" => self.slice(node),
            "Gather" => self.gather(node),
            "Pad" => self.pad(node),
            "Shape" => {
                let x = self.activation(node, 0)?;
                let sizes = std::iter::once(self.batch).chain(x.tail).map(|d| d as i64).collect::<Vec<_>>();
                Ok(Item::Constant(shape_part(node, &sizes)?.called(node.name())))
            }
            _ => Err(Error::data("it computes on a value that is computed from the picture")
                .hint("this operator is read on shapes and weights alone")),
        }
    }

    /// Refuses operators in training mode.
    fn infers(&self, node: Node) -> Result<()> {
        let mut switch = false;
        if node.op() == "Dropout" && node.input(2).is_some() {
            let given = self.constant(node, 2)?;
            switch =
                given.is_none_or(|c| c.to_ints(&self.budget).map_or(true, |v| v.iter().any(|i| *i != 0)));
        }
        if !node.trains(switch)? {
            return Ok(());
        }
        let does = match node.op() {
            "Dropout" => "it would leave out numbers at random",
            _ => "it would normalise by the batch, so that a picture's result depends on the others",
        };
        Err(Error::data(format!("it is in training mode: {does}"))
            .hint("export the network in inference mode (in PyTorch after model.eval())"))
    }

    /// The value of an input.
    fn item(&self, node: Node, i: usize) -> Result<Item> {
        let missing = || Error::data(format!("its input {} is missing", i + 1)).hint(DAMAGED);
        let name = node.input(i).ok_or_else(missing)?;
        if let Some(item) = self.items.get(name) {
            return Ok(item.clone());
        }
        match self.file.tensor(name) {
            Some(tensor) => Ok(Item::Constant(Constant::stored(tensor))),
            None => Err(Error::data(format!("it reads {name}, which nothing makes")).hint(DAMAGED)),
        }
    }

    /// A constant input; `None` for one that depends on the input of the network.
    pub(super) fn constant(&self, node: Node, i: usize) -> Result<Option<Constant>> {
        match self.item(node, i)? {
            Item::Constant(constant) => Ok(Some(constant)),
            Item::Activation(_) => Ok(None),
        }
    }

    /// A constant input as a list of integers.
    pub(super) fn integers(&self, node: Node, i: usize) -> Result<Vec<i64>> {
        let constant = self.constant(node, i)?;
        let what = || Error::data(format!("its input {} is computed from the picture", i + 1));
        constant
            .ok_or_else(|| what().hint("only sizes that are in the file can be read"))?
            .to_ints(&self.budget)
    }

    /// A list of integers: an input or an attribute, depending on the version of the operator.
    pub(super) fn list(&self, node: Node, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(match node.given(name)? {
            Given::Input(i) => Some(self.integers(node, i)?),
            Given::Attribute => node.ints(name)?.map(<[i64]>::to_vec),
            Given::Nowhere => None,
        })
    }

    /// A number: an input or an attribute, depending on the version of the operator.
    pub(super) fn number(&self, node: Node, name: &str, default: f32) -> Result<f32> {
        let Given::Input(i) = node.given(name)? else { return node.float(name, default) };
        let given = self.constant(node, i)?.ok_or_else(|| {
            Error::data(format!("its {name} is computed from the picture"))
                .hint("only numbers that are in the file can be read")
        })?;
        if given.elements()? == 0 {
            return Ok(default);
        }
        self.budget.take(1)?;
        // Infinity is valid, as the bound of a `Clip`.
        let number = given.part(0, 1)?.first().copied().unwrap_or(default);
        if number.is_nan() {
            return Err(Error::data(format!("its {name} is no number")).hint(DAMAGED));
        }
        Ok(number)
    }

    /// An input that depends on the input of the network. It may be the result of a softmax.
    pub(super) fn any_activation(&self, node: Node, i: usize) -> Result<Activation> {
        match self.item(node, i)? {
            Item::Activation(activation) => Ok(activation),
            Item::Constant(_) => {
                let what = format!("its input {} does not depend on the picture", i + 1);
                Err(Error::data(what).hint("the networks of the five families compute on pictures"))
            }
        }
    }

    /// An input that depends on the input of the network.
    pub(super) fn activation(&self, node: Node, i: usize) -> Result<Activation> {
        let activation = self.any_activation(node, i)?;
        let renames = ["Flatten", "Reshape", "Squeeze", "Unsqueeze", "Shape", "Transpose"];
        if activation.softmax && !renames.contains(&node.op()) {
            return Err(Error::data("it comes behind a softmax")
                .hint("a softmax is read as the last operation of a classifier only"));
        }
        let each = [
            "Add", "Cast", "Clip", "Div", "Dropout", "Gemm", "Identity", "MatMul", "Mul", "Relu", "Reshape",
            "Sub", "Sum",
        ];
        if activation.together && !each.contains(&node.op()) {
            return Err(Error::data("its input has pictures and pixels in one size")
                .hint("only products and functions of each pixel are read of such"));
        }
        Ok(activation)
    }

    /// The value of an input in the graph, without its padding.
    pub(super) fn plain(&mut self, node: Node<'a>, i: usize) -> Result<Value> {
        let activation = self.activation(node, i)?;
        let name = node.input(i).unwrap_or_default();
        let value = self.emit.value(&activation, name, &self.budget)?;
        if matches!(&activation.base, Base::Value(base) if *base == value) {
            return Ok(value);
        }
        // The value is kept for the next node that reads it.
        let made = Activation {
            base: Base::Value(value),
            map: self.map_of(value)?,
            channels: None,
            step: [1; 2],
            ..activation
        };
        self.items.insert(name, Item::Activation(made));
        Ok(value)
    }

    /// Height, width and channels of a value of the graph.
    pub(super) fn map_of(&self, value: Value) -> Result<[usize; 3]> {
        let [_, h, w, c] = self.emit.graph.shape(value)?.dims();
        Ok([h, w, c])
    }

    /// A value of the graph with the shape of an input.
    pub(super) fn made(&self, value: Value, like: &Activation) -> Result<Item> {
        let mut made = Activation::new(value, self.map_of(value)?);
        made.tail.clone_from(&like.tail);
        (made.last, made.together) = (like.last, like.together);
        Ok(Item::Activation(made))
    }

    /// Refuses padding, for operators that would compute on it.
    pub(super) fn unpadded(&self, x: &Activation) -> Result<()> {
        if x.pad == [[0; 2]; 2] {
            return Ok(());
        }
        Err(Error::data("zeros were put around its input")
            .hint("only convolution and pooling can follow a padding"))
    }

    /// Whether it is the input of the network. Its channels may be mapped.
    pub(super) fn is_input(&self, x: &Activation) -> bool {
        matches!(x.base, Base::Value(value) if value == self.emit.input) && x.step == [1; 2]
    }

    fn finish(mut self, output: &str) -> Result<Built> {
        let Some(Item::Activation(result)) = self.items.remove(output) else {
            return Err(Error::data("it does not depend on the input").hint(DAMAGED));
        };
        self.unpadded(&result)?;
        if !result.is_vector() {
            let what =
                format!("its sizes are {:?} behind the batch, not one number for each class", result.tail);
            return Err(Error::data(what).hint("give a network that classifies pictures"));
        }
        let logits = self.emit.logits(&result, output, &self.budget)?;
        let Emitter { parameters, weights, transform, .. } = self.emit;
        Ok(Built { logits, softmax: result.softmax, parameters, weights, transform })
    }
}
