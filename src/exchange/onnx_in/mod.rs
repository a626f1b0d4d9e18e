//! Networks of ONNX files as graphs: every operator that exporters write for the five families, and a
//! sentence for the rest. Where such a graph is one of the variants here, [`Imported::variant`] says so, with
//! its weights under our names.

mod activation;
mod axes;
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

use crate::error::{Error, Result, Untrusted, proposal};
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

/// Heights and widths that are tried where a file leaves them open: ImageNet's, CIFAR's, AlexNet's.
const USUAL: [usize; 3] = [224, 32, 227];

/// The most numbers that constants of all layers may stand for beside the tensors of the file.
const MOST_CONSTANT: usize = 1 << 30;

/// Pictures of the graph by which a file is tried: more than one, so that a file for one picture alone is
/// found out.
const TRIAL: usize = 3;

/// A network that was read from a file.
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
    /// Whether somebody named the output.
    asked: bool,
    /// Why the likely output is not the one, if it cannot be read.
    fault: Option<String>,
}

/// A graph as it was read for one of its outputs.
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

    /// The graph at the size that the file says, or at the first usual one at which it is one.
    fn at_a_size(file: &File, output: &str) -> Result<(Order, [usize; 3], usize, import::Built)> {
        let order = Order::of(file, output)?;
        let channels = order.sizes[0].unwrap_or(3);
        let mut fault = None;
        for usual in USUAL {
            let [h, w] = [order.sizes[1].unwrap_or(usual), order.sizes[2].unwrap_or(usual)];
            let mut graph = Graph::new();
            let x = graph.input("input", Shape::image(TRIAL, h, w, channels));
            match import::build(file, &order, &mut graph, x) {
                Ok(built) => {
                    let [.., classes] = graph.shape(built.logits)?.dims();
                    return Ok((order, [h, w, channels], classes, built));
                }
                // The fault at ImageNet's size is the one to tell.
                Err(error) => fault = fault.or(Some(error)),
            }
            if order.sizes[1].is_some() && order.sizes[2].is_some() {
                break;
            }
        }
        Err(fault.unwrap_or_else(|| Error::internal("no size was tried")))
    }
}

/// Some names for people.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|n| Untrusted::short(n).to_string()).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl Imported {
    /// Reads the graph of a file.
    ///
    /// # Errors
    /// [`Error::Data`] naming the node, if the graph is none that can be run here; all unknown operators at
    /// once.
    pub fn new(file: File) -> Result<Self> {
        Self::with_output(file, None)
    }

    /// The same for an output of this name; without one, for that which most likely has the classes, see
    /// [`Imported::choice`].
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
        // Another one could be features, which have no classes: only whoever made the file knows.
        let fault = fault.map(|(name, error)| match &error.report().hint {
            hint if names.len() > 1 && output.is_none() => {
                let hint = format!("{hint}; or {}, {}", proposal::OTHER_OUTPUT, listed(&names));
                error.at(format!("output {}", Untrusted::short(name))).hint(hint)
            }
            _ => error,
        });
        Err(fault.unwrap_or_else(|| Error::data("the graph has no output").hint(DAMAGED)))
    }

    /// The network for inference on 8-bit pixels, in batches of any size.
    ///
    /// # Errors
    /// [`Error::Usage`] if the settings do not fit it: another number of classes, a size that its layers do
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

    /// The network on activations `x` `(N, H, W, C)`: its logits `(N, 1, 1, classes)`, f32, and the
    /// parameters that were added, which [`Source::rows`] reads by name. A softmax at its end is left out.
    ///
    /// # Errors
    /// [`Error::Data`] naming the node, if `x` is of sizes that it does not allow.
    pub fn build(&self, graph: &mut Graph, x: Value) -> Result<(Value, Vec<Parameter>)> {
        let built = import::build(&self.file, &self.order, graph, x)?;
        // Where zeros are put into filters, the size of the input may decide how many.
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

    /// How many classes it tells apart.
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

    /// What was chosen where the graph has several outputs and nobody said which, in a sentence.
    pub fn choice(&self) -> Option<String> {
        (self.names.len() > 1 && !self.asked).then(|| {
            let (all, one) = (listed(&self.names), Untrusted::short(self.output()));
            let fault = self.fault.iter().map(|fault| format!("; {fault}")).collect::<String>();
            format!(
                "the graph has {} outputs ({all}); {one} {}{fault}",
                self.names.len(),
                proposal::OUTPUT_TAKEN
            )
        })
    }

    /// Whether the file ends in a softmax, which is left out here.
    pub fn ends_in_softmax(&self) -> bool {
        self.softmax
    }

    /// How many nodes of each operator the result needs.
    pub fn operators(&self) -> BTreeMap<String, usize> {
        let mut operators = BTreeMap::new();
        for node in self.order.nodes.iter().filter_map(|i| self.file.graph().node.get(*i)) {
            *operators.entry(order::operator(node)).or_default() += 1;
        }
        operators
    }

    /// What the file says of itself.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.file.metadata()
    }

    /// The file itself, with its tensors as they lie there.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// The parameters by the names that [`Imported::build`] gives them, in PyTorch's layout.
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
