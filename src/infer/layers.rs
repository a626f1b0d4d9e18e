//! The layers of a network as a plan computes them.

use crate::error::{Error, Result, Untrusted};
use crate::graph::{Graph, Source};
use crate::models::Parameter;
use crate::plan::Plan;
use crate::tensor::{Layout, Value};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A layer whose activations can be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerInfo {
    /// The name of its first operation, e.g. `layer1.0.conv1`.
    pub name: String,
    /// The name of its last operation, whose result is recorded, e.g. `layer1.0.relu1`.
    pub output: String,
    /// Its operations in order, e.g. `conv2d`, `batch_norm`, `relu`.
    pub operations: Vec<&'static str>,
    /// Height, width and channels of the result.
    pub shape: [usize; 3],
    /// Number of trained parameters.
    pub parameters: u64,
    /// Multiply-adds for one picture.
    pub macs: u64,
    #[serde(skip)]
    pub(super) value: Value,
    /// The steps of the plan whose times add up to that of the layer.
    #[serde(skip)]
    pub(super) steps: Vec<usize>,
}

/// The number of the layer of this name: that of its last operation, or else of its first.
///
/// # Errors
/// [`Error::Usage`] if there is none.
pub(super) fn find(layers: &[LayerInfo], name: &str) -> Result<usize> {
    let by_output = layers.iter().position(|layer| layer.output == name);
    by_output.or_else(|| layers.iter().position(|layer| layer.name == name)).ok_or_else(|| {
        let ends =
            layers.first().zip(layers.last()).map(|(a, z)| format!(", from {} to {}", a.output, z.output));
        let which = format!("`layer_names` lists the {} layers{}", layers.len(), ends.unwrap_or_default());
        Error::usage(format!("there is no layer {}", Untrusted::short(name))).hint(which)
    })
}

/// The layers of a network in the order of its plan.
pub(super) fn layers(graph: &Graph, parameters: &[Parameter], plan: &Plan) -> Result<Vec<LayerInfo>> {
    let trained: HashMap<Value, u64> = parameters
        .iter()
        .filter(|p| p.trained)
        .map(|p| (p.value, p.shape.elements().unwrap_or(0) as u64))
        .collect();
    let mut layers: Vec<LayerInfo> = Vec::new();
    // A step without activations is counted with the layer that reads its result.
    let mut before = Vec::new();
    for (i, step) in plan.steps().iter().enumerate() {
        let (Some(head), node) = (step.members.first(), graph.node(step.value)?) else { continue };
        let head = graph.node(*head)?;
        let (Source::Op(op), Source::Op(first)) = (&node.source, &head.source) else { continue };
        before.push(i);
        if node.shape.layout() != Layout::Image || op.traits().is_reshape() {
            continue;
        }
        let [n, h, w, c] = node.shape.dims();
        let mut seen = HashSet::new();
        let mut layer = LayerInfo {
            name: head.name.clone(),
            output: node.name.clone(),
            operations: Vec::new(),
            shape: [h, w, c],
            parameters: 0,
            macs: plan.macs_of(step.value) / n.max(1) as u64,
            value: step.value,
            steps: std::mem::take(&mut before),
        };
        for member in &step.members {
            let member = graph.node(*member)?;
            if let Source::Op(op) = &member.source {
                layer.operations.push(op.name());
            }
            for input in &member.inputs {
                layer.parameters += numbers(graph, &trained, *input, &mut seen)?;
            }
        }
        // Large weights are kept in several pieces, each with a step of its own: they are one layer.
        if first.traits().is_concat() {
            let own = layers.iter().rev().take_while(|l| l.name == layer.name).count();
            for piece in layers.split_off(layers.len() - own) {
                layer.operations = piece.operations;
                layer.parameters += piece.parameters;
                layer.macs += piece.macs;
                layer.steps.extend(piece.steps);
            }
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// The number of trained parameters that a value is computed from. Activations count as none: they belong to earlier layers.
fn numbers(
    graph: &Graph,
    trained: &HashMap<Value, u64>,
    value: Value,
    seen: &mut HashSet<Value>,
) -> Result<u64> {
    let node = graph.node(value)?;
    if node.shape.layout() == Layout::Image || !seen.insert(value) {
        return Ok(0);
    }
    let mut sum = trained.get(&value).copied().unwrap_or(0);
    for input in &node.inputs {
        sum += numbers(graph, trained, *input, seen)?;
    }
    Ok(sum)
}
