//! Converts the operations of a network in inference to ONNX nodes.

use super::nodes::{Nodes, float, int, ints};
use super::{INPUT, LOGITS, pooling};
use crate::error::{Error, Result};
use crate::graph::Description;
use crate::graph::{self, Source};
use crate::models::{Network, Parameter};
use crate::ops::ConvOptions;
use crate::tensor::Value;
use crate::weights::onnx::proto::{Attribute, Node, tensor};
use std::collections::HashMap;

/// A value of the graph, with its name in the file.
#[derive(Debug, Clone)]
enum Known {
    /// `[batch, C, H, W]`.
    Map(String),
    /// `[batch, C]`, the output of a fully connected layer.
    Flat(String),
    /// A flattened map in the order of its memory, with its padding: the input of a fully connected layer. The name is that of the map.
    Reshaped(String),
}

struct Walk<'a> {
    network: &'a Network,
    /// Parameters, with the names of their f32 values.
    parameters: HashMap<Value, (&'a Parameter, String)>,
    known: HashMap<Value, Known>,
    nodes: Nodes,
}

/// The nodes in topological order. With `cast`, parameters are cast to f32 first.
///
/// # Errors
/// [`Error::Usage`] with the layer, if its operation cannot be written as ONNX or two values have the same name.
pub(super) fn nodes(network: &Network, cast: bool) -> Result<Vec<Node>> {
    let mut nodes = Nodes::default();
    let names = [INPUT, LOGITS].into_iter().chain(network.parameters.iter().map(|p| p.name.as_str()));
    names.into_iter().try_for_each(|name| nodes.reserve(name))?;
    let mut parameters = HashMap::new();
    for p in &network.parameters {
        let mut name = p.name.clone();
        if cast {
            let to = vec![int("to", tensor::FLOAT as usize)];
            name = nodes.add("Cast", &format!("{name}.f32"), &[&p.name], to);
        }
        parameters.insert(p.value, (p, name));
    }
    let mut walk = Walk { network, parameters, known: HashMap::new(), nodes };
    for (value, node) in network.graph.values().zip(network.graph.nodes()) {
        walk.node(value, node).map_err(|e| e.at(format!("layer {}", node.name)))?;
    }
    walk.finish()
}

impl Walk<'_> {
    fn node(&mut self, value: Value, node: &graph::Node) -> Result<()> {
        let Source::Op(op) = &node.source else { return Ok(()) };
        let layer = if node.name.is_empty() { op.name() } else { &node.name };
        let unknown = || Error::usage(format!("{} has no form in ONNX", op.name()));
        let description = op.describe().ok_or_else(unknown)?;
        let known = match (description, node.inputs.as_slice()) {
            (Description::Preprocess, _) => Known::Map(INPUT.to_owned()),
            // Operations on parameters are handled where the parameters are used.
            (Description::Ungroup { .. }, _) => return Ok(()),
            (Description::Reshape, [x]) => match self.known.get(x) {
                Some(Known::Map(name) | Known::Flat(name) | Known::Reshaped(name)) => {
                    Known::Reshaped(name.clone())
                }
                None => return Ok(()),
            },
            (Description::Conv2d(options), inputs) => self.convolution(layer, inputs, options)?,
            (Description::BatchNorm { epsilon }, [x, mean, gamma, beta, variance]) => {
                let x = self.map(*x)?;
                let [gamma, beta] = [self.parameter(*gamma)?, self.parameter(*beta)?];
                let [mean, variance] = [self.parameter(*mean)?, self.parameter(*variance)?];
                let inputs: [&str; 5] = [&x, &gamma, &beta, &mean, &variance];
                let attributes = vec![float("epsilon", epsilon)];
                Known::Map(self.nodes.add("BatchNormalization", layer, &inputs, attributes))
            }
            (Description::Relu, [x]) => self.same("Relu", layer, &[*x], Vec::new())?,
            (Description::Add, [a, b]) => self.same("Add", layer, &[*a, *b], Vec::new())?,
            (Description::Concat, parts) => self.same("Concat", layer, parts, vec![int("axis", 1)])?,
            (Description::Lrn(options), [x]) => {
                let attributes = vec![
                    float("alpha", options.alpha),
                    float("beta", options.beta),
                    float("bias", options.bias),
                    int("size", options.size),
                ];
                let x = self.map(*x)?;
                Known::Map(self.nodes.add("LRN", layer, &[&x], attributes))
            }
            (Description::AddShortcut { stride }, [a, s]) => self.shortcut(layer, *a, *s, stride)?,
            (Description::MaxPool(options), [x]) => {
                let (maps, x) = (self.maps(*x, node)?, self.map(*x)?);
                Known::Map(pooling::maximum(&mut self.nodes, layer, &x, maps, options))
            }
            (Description::AveragePool(options), [x]) => {
                let (maps, x) = (self.maps(*x, node)?, self.map(*x)?);
                Known::Map(pooling::average(&mut self.nodes, layer, &x, maps, options))
            }
            (Description::AdaptiveAveragePool(_), [x]) => {
                let (maps, x) = (self.maps(*x, node)?, self.map(*x)?);
                Known::Map(pooling::adaptive(&mut self.nodes, layer, &x, maps))
            }
            _ => return Err(unknown()),
        };
        self.known.insert(value, known);
        Ok(())
    }

    /// An operation whose operands and result are of the same kind.
    fn same(
        &mut self,
        op_type: &str,
        layer: &str,
        inputs: &[Value],
        attributes: Vec<Attribute>,
    ) -> Result<Known> {
        let flat = matches!(inputs.first().and_then(|v| self.known.get(v)), Some(Known::Flat(_)));
        let names = inputs.iter().map(|v| if flat { self.flat(*v) } else { self.map(*v) });
        let names = names.collect::<Result<Vec<_>>>()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let name = self.nodes.add(op_type, layer, &names, attributes);
        Ok(if flat { Known::Flat(name) } else { Known::Map(name) })
    }

    /// A convolution, or a fully connected layer over its whole input.
    fn convolution(&mut self, layer: &str, inputs: &[Value], options: ConvOptions) -> Result<Known> {
        let (x, w, bias) = match *inputs {
            [x, w] => (x, w, None),
            [x, w, bias] => (x, w, Some(self.parameter(bias)?)),
            _ => return Err(Error::internal("a convolution of other than 2 or 3 inputs")),
        };
        let (weight, name, groups) = self.weight(w)?;
        let ([r, s, ..], dense) = (weight.shape.dims(), weight.torch_shape.len() == 2);
        let (op_type, x, attributes) = if dense {
            ("Gemm", self.flattened(layer, x)?, vec![int("transB", 1)])
        } else {
            let ConvOptions { stride, pad: [top, left], groups: own } = options;
            let attributes = vec![
                int("group", own * groups),
                ints("kernel_shape", &[r, s]),
                ints("pads", &[top, left, top, left]),
                ints("strides", &stride),
            ];
            ("Conv", self.map(x)?, attributes)
        };
        let inputs: Vec<&str> = [x.as_str(), &name].into_iter().chain(bias.as_deref()).collect();
        let name = self.nodes.add(op_type, layer, &inputs, attributes);
        Ok(if dense { Known::Flat(name) } else { Known::Map(name) })
    }

    /// The shortcut of option A: `a` plus `s` with a stride and channels of zeros, in the form that PyTorch exports.
    fn shortcut(&mut self, layer: &str, a: Value, s: Value, stride: usize) -> Result<Known> {
        let [_, h, w, few] = self.network.graph.shape(s)?.dims();
        let [.., many] = self.network.graph.shape(a)?.dims();
        let (a, mut s) = (self.map(a)?, self.map(s)?);
        if stride > 1 {
            s = pooling::slice(
                &mut self.nodes,
                &format!("{layer}.slice"),
                &s,
                &[(2, 0, h, stride), (3, 0, w, stride)],
            );
        }
        if many > few {
            let front = (many - few) / 2;
            let pads = [[0, front, 0, 0], [0, many - few - front, 0, 0]];
            s = pooling::pad(&mut self.nodes, &format!("{layer}.pad"), &s, pads);
        }
        Ok(Known::Map(self.nodes.add("Add", layer, &[&a, &s], Vec::new())))
    }

    /// Gives the logits their name and returns the nodes.
    fn finish(mut self) -> Result<Vec<Node>> {
        let logits = self.network.logits;
        // No node reads the result of the last node, so it can be renamed. Any other value needs a further node.
        match self.known.get(&logits).cloned() {
            Some(Known::Flat(name)) if self.nodes.last() == Some(&name) => {}
            Some(Known::Flat(name)) => {
                self.nodes.add("Identity", "logits.last", &[&name], Vec::new());
            }
            _ => {
                self.flattened("logits", logits)?;
            }
        }
        self.nodes.rename_last(LOGITS);
        Ok(self.nodes.into_list())
    }

    /// The sizes of the input and the output of a pooling.
    fn maps(&self, x: Value, node: &graph::Node) -> Result<[[usize; 2]; 2]> {
        let [_, h, w, _] = self.network.graph.shape(x)?.dims();
        let [_, p, q, _] = node.shape.dims();
        Ok([[h, w], [p, q]])
    }

    fn map(&self, value: Value) -> Result<String> {
        match self.known.get(&value) {
            Some(Known::Map(name)) => Ok(name.clone()),
            _ => Err(Error::usage("what it reads has no form in ONNX as a map")),
        }
    }

    fn flat(&self, value: Value) -> Result<String> {
        match self.known.get(&value) {
            Some(Known::Flat(name)) => Ok(name.clone()),
            _ => Err(Error::usage("what it reads has no form in ONNX as one row a picture")),
        }
    }

    /// Flattens a map, channel by channel.
    fn flattened(&mut self, layer: &str, value: Value) -> Result<String> {
        match self.known.get(&value) {
            Some(Known::Map(name) | Known::Reshaped(name)) => {
                let (name, flatten) = (name.clone(), format!("{layer}.flatten"));
                Ok(self.nodes.add("Flatten", &flatten, &[&name], vec![int("axis", 1)]))
            }
            _ => self.flat(value),
        }
    }

    /// A parameter that is used without changes.
    fn parameter(&self, value: Value) -> Result<String> {
        let found = self.parameters.get(&value).map(|(_, name)| name.clone());
        found.ok_or_else(|| Error::usage("what it reads is no parameter"))
    }

    /// The filters of a convolution, their name, and the number of groups before zeros were put between them.
    fn weight(&self, mut value: Value) -> Result<(&Parameter, String, usize)> {
        let mut all = 1;
        loop {
            if let Some((parameter, name)) = self.parameters.get(&value) {
                return Ok((parameter, name.clone(), all));
            }
            let node = self.network.graph.node(value)?;
            let description = match &node.source {
                Source::Op(op) => op.describe(),
                _ => None,
            };
            match (description, node.inputs.first()) {
                (Some(Description::Reshape), Some(before)) => value = *before,
                (Some(Description::Ungroup { groups }), Some(before)) => {
                    (value, all) = (*before, all * groups)
                }
                _ => return Err(Error::usage("its filters are no parameter")),
            }
        }
    }
}
