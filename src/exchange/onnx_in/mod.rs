//! Import of ONNX files as graphs. It reads every operator that exporters write for the five families of networks, and names the others in
//! an error. [`Imported::variant`] recognises a graph that is a variant of this crate, and gives its weights the names of the variant.

mod activation;
mod axes;
mod axis;
mod budget;
mod constant;
mod elementwise;
mod emit;
mod fold;
mod import;
mod layers;
mod layout;
mod node;
mod order;
mod outputs;
mod pairing;
mod shapes;
mod signature;
mod unknown;
mod variant;
mod versions;
mod weight;
mod windows;

pub use variant::{Transform, Variant};
pub use weight::Tensors;

use crate::error::{Choice, Error, Note, Result, Untrusted};
use crate::graph::Graph;
use crate::models::{Network, Parameter, Settings};
use crate::tensor::{Shape, Value};
use crate::weights::onnx::File;
use crate::weights::{Entry, Source};
use node::DAMAGED;
use order::Order;
use outputs::likely;
use std::collections::BTreeMap;
use std::ops::Range;

/// The sizes of input that are tried if a file leaves the size open: those of ImageNet, CIFAR and AlexNet.
const DEFAULT_SIZES: [usize; 3] = [224, 32, 227];

/// The most numbers of all computed constants, in addition to the tensors of the file.
const MOST_CONSTANT: usize = 1 << 30;

/// The batch size with which a file is tried. It is more than one, so that a file for a batch of one is detected.
const TRIAL: usize = 3;

/// A network that was imported from a file.
#[derive(Debug)]
pub struct Imported {
    file: File,
    order: Order,
    input: [usize; 3],
    classes: usize,
    softmax: bool,
    tensors: Tensors,
    /// The names of all outputs.
    names: Vec<String>,
    /// Whether the caller has named the output.
    asked: bool,
    /// Why the most likely output was not taken, if it cannot be read.
    fault: Option<String>,
}

/// A graph, imported for one of its outputs.
struct Read {
    order: Order,
    input: [usize; 3],
    classes: usize,
    softmax: bool,
    tensors: Tensors,
}

impl Read {
    fn of(file: &File, output: &str) -> Result<Self> {
        let (order, input, classes, built) = Self::at_a_size(file, output)?;
        let tensors = Tensors::new(built.weights);
        let numbers = tensors.entries().values().map(Entry::elements).fold(0usize, usize::saturating_add);
        if numbers > order.numbers.saturating_mul(2).saturating_add(MOST_CONSTANT) {
            return Err(Error::data(format!("its constants stand for {numbers} numbers"))
                .hint("the file was made to do harm, or is damaged"));
        }
        Ok(Self { order, input, classes, softmax: built.softmax, tensors })
    }

    /// Imports the graph at the size of the file, or else at the first of [`DEFAULT_SIZES`] that is possible.
    fn at_a_size(file: &File, output: &str) -> Result<(Order, [usize; 3], usize, import::Built)> {
        let order = Order::of(file, output)?;
        let channels = order.sizes[0].unwrap_or(3);
        let mut fault = None;
        for default in DEFAULT_SIZES {
            let [h, w] = [order.sizes[1].unwrap_or(default), order.sizes[2].unwrap_or(default)];
            let mut graph = Graph::new();
            let x = graph.input("input", Shape::image(TRIAL, h, w, channels));
            match import::build(file, &order, &mut graph, x) {
                Ok(built) => {
                    let [.., classes] = graph.shape(built.logits)?.dims();
                    return Ok((order, [h, w, channels], classes, built));
                }
                // The error at the first size, that of ImageNet, is reported.
                Err(error) => fault = fault.or(Some(error)),
            }
            if order.sizes[1].is_some() && order.sizes[2].is_some() {
                break;
            }
        }
        Err(fault.unwrap_or_else(|| Error::internal("no size was tried")))
    }
}

/// The first names of a list, for a message.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|n| Untrusted::short(n).to_string()).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl Imported {
    /// Imports the graph of a file. If it has several outputs, the most likely one is taken, see [`Imported::choice`].
    ///
    /// # Errors
    /// [`Error::Data`] with the node, if the graph cannot be run here; with all unknown operators, if there are any.
    pub fn new(file: File) -> Result<Self> {
        Self::with_output(file, None)
    }

    /// Imports the graph for the output of this name. `None` takes the most likely one, see [`Imported::choice`].
    ///
    /// # Errors
    /// As [`Imported::new`]; [`Error::Usage`] if the graph has no such output.
    pub fn with_output(file: File, output: Option<&str>) -> Result<Self> {
        let names: Vec<String> = file.graph().output.iter().map(|o| o.name.clone()).collect();
        let tried = match output {
            Some(name) if names.iter().any(|n| n == name) => vec![name.to_owned()],
            Some(name) => {
                return Err(Error::usage(format!("the graph has no output {name}"))
                    .hint(format!("it has {}", listed(&names))));
            }
            None => {
                let input = order::input(&file)?.0;
                likely(&file, &input).into_iter().map(str::to_owned).collect()
            }
        };
        let mut fault = None;
        for name in &tried {
            match Read::of(&file, name) {
                Ok(Read { order, input, classes, softmax, tensors }) => {
                    let asked = output.is_some();
                    let fault = fault.map(|(name, error): (_, Error)| {
                        format!("{} cannot be read: {}", Untrusted::short(name), error.report().what)
                    });
                    return Ok(Self { file, order, input, classes, softmax, tensors, names, asked, fault });
                }
                Err(error) => fault = fault.or(Some((name, error))),
            }
        }
        // Another output could be features without classes, so the caller must choose.
        let fault = fault.map(|(name, error)| {
            if names.len() < 2 || output.is_some() {
                return error;
            }
            let other = Choice::OtherOutput.after("").then(&format!(", {}", listed(&names)));
            let hint = error.report().hint.clone().or(other);
            error.at(format!("output {}", Untrusted::short(name))).hint(hint)
        });
        Err(fault.unwrap_or_else(|| Error::data("the graph has no output").hint(DAMAGED)))
    }

    /// The network for inference on 8-bit pixels, in batches of any size.
    ///
    /// # Errors
    /// [`Error::Usage`] if the settings do not fit the network: another number of classes, or a size that its layers do
    /// not allow.
    pub fn network(&self, settings: &Settings) -> Result<Network> {
        let Settings { batch_size, size: [h, w], classes, mean, std, precision } = *settings;
        let [height, width, channels] = self.input;
        if channels != 3 {
            return Err(Error::data(format!("its pictures have {channels} channels"))
                .hint("only those of colours are read"));
        }
        if batch_size == 0 || h == 0 || w == 0 {
            return Err(
                Error::usage("a network for pictures or batches of 0").hint("give a number of at least 1")
            );
        }
        if classes != self.classes {
            return Err(Error::usage(format!("{classes} classes for a network of {}", self.classes))
                .hint("a network from a file has the classes of the file"));
        }
        let mut graph = Graph::new();
        let pixels = graph.input("pixels", Shape::pixels(batch_size, h, w));
        let x = graph.layer("input").preprocess(pixels, mean, std, precision)?;
        let other = [h, w] != [height, width];
        let (logits, parameters) = self.build(&mut graph, x).map_err(|e| match e {
            Error::Data(report) if other => {
                let hint = format!("use the input size of the file, {height}x{width}");
                Error::Usage(report).at(format!("at {h}x{w}")).hint(hint)
            }
            other => other,
        })?;
        let (noise, auxiliary, limited) = (None, Vec::new(), Vec::new());
        Ok(Network { graph, pixels, logits, parameters, noise, auxiliary, limited })
    }

    /// Adds the network to a graph. `x` are activations `(N, H, W, C)`. Returns the logits `(N, 1, 1, classes)` in f32, and the
    /// parameters, which [`Source::rows`] reads by name. A softmax at the end is left out.
    ///
    /// # Errors
    /// [`Error::Data`] with the node that does not allow the shape of `x`.
    pub fn build(&self, graph: &mut Graph, x: Value) -> Result<(Value, Vec<Parameter>)> {
        let built = import::build(&self.file, &self.order, graph, x)?;
        // The size of the input may decide how many zeros filters are padded with.
        for parameter in &built.parameters {
            if self.tensors.entries().get(&parameter.name).map(|e| &e.shape) != Some(&parameter.torch_shape) {
                return Err(Error::data(format!("{} has another shape at this input size", parameter.name))
                    .hint("use the input size of the file"));
            }
        }
        Ok((built.logits, built.parameters))
    }

    /// Height, width and channels of the input that the file was made for.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// Whether the file leaves height and width open.
    pub fn has_open_size(&self) -> bool {
        self.order.sizes[1].is_none() && self.order.sizes[2].is_none()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The names of all outputs of the graph.
    pub fn outputs(&self) -> &[String] {
        &self.names
    }

    /// The name of the output that is computed.
    pub fn output(&self) -> &str {
        &self.order.output
    }

    /// Which output was taken, if the graph has several and the caller has not named one.
    pub fn choice(&self) -> Option<Note> {
        (self.names.len() > 1 && !self.asked).then(|| {
            let (all, one) = (listed(&self.names), Untrusted::short(self.output()));
            let fault = self.fault.iter().map(|fault| format!("; {fault}")).collect::<String>();
            let before = format!("the graph has {} outputs ({all}); {one} ", self.names.len());
            Choice::Output.after(before).then(&fault)
        })
    }

    /// Whether the file ends in a softmax, which is left out.
    pub fn ends_in_softmax(&self) -> bool {
        self.softmax
    }

    /// How many nodes of each operator the output needs.
    pub fn operators(&self) -> BTreeMap<String, usize> {
        let mut operators = BTreeMap::new();
        for node in self.order.nodes.iter().filter_map(|i| self.file.graph().node.get(*i)) {
            *operators.entry(order::operator(node)).or_default() += 1;
        }
        operators
    }

    /// The metadata of the file.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.file.metadata()
    }

    /// The file, with its own tensors.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// The parameters under the names of [`Imported::build`], in PyTorch's layout.
impl Source for Imported {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        self.tensors.entries()
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        self.tensors.rows(name, rows)
    }

    fn reads_by_rows(&self, name: &str) -> bool {
        self.tensors.reads_by_rows(name)
    }
}
