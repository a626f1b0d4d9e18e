//! Which operations are done in the kernel of the one before them, so that what lies between is never written.

use crate::error::{Error, Result};
use crate::graph::{Graph, Source, Value};
use crate::ops::{Buf, Epilogue, Recorder, Stage};
use std::collections::{HashMap, HashSet};

/// An operation and those that are done in its kernel.
pub(super) struct Chain {
    /// The operation that has the kernel.
    pub head: Value,
    /// What follows it; the last one is the result.
    pub stages: Vec<(Stage, Value)>,
}

impl Chain {
    /// What follows the kernel, from the buffers of the inputs of each operation.
    pub fn epilogue(
        &self,
        graph: &Graph,
        recorder: &mut Recorder,
        bufs: impl Fn(Value) -> Result<Vec<Buf>>,
    ) -> Result<Epilogue> {
        let mut epilogue = Epilogue::default();
        let mut before = self.head;
        for &(stage, value) in &self.stages {
            let node = graph.node(value)?;
            match (stage, &node.source) {
                (Stage::Affine, Source::Op(op)) => {
                    epilogue.affine = Some(op.record_affine(recorder, &bufs(value)?)?);
                }
                (Stage::Residual, _) => {
                    let inputs = node.inputs.iter().zip(bufs(value)?);
                    epilogue.residual = inputs.filter(|(v, _)| **v != before).map(|(_, buf)| buf).next();
                }
                (Stage::Affine, _) => return Err(Error::internal("an affine stage without an operation")),
                (Stage::Relu, _) => epilogue.relu = true,
            }
            before = value;
        }
        Ok(epilogue)
    }
}

/// The chains of an order, by their result; and the values within them, which get no memory.
#[derive(Default)]
pub(super) struct Chains {
    pub by_result: HashMap<Value, Chain>,
    pub within: HashSet<Value>,
}

/// Finds the chains: each value within one has a single reader. All of a chain is computed where its end stands in the
/// order, so nothing that it reads may be changed on the way.
pub(super) fn find(graph: &Graph, order: &[Value], outputs: &[Value]) -> Result<Chains> {
    let mut readers: HashMap<Value, Vec<(Value, usize)>> = HashMap::new();
    let mut positions = HashMap::new();
    for (at, &value) in order.iter().enumerate() {
        positions.insert(value, at);
        for (i, input) in graph.node(value)?.inputs.iter().enumerate() {
            readers.entry(*input).or_default().push((value, i));
        }
    }
    let mut chains = Chains::default();
    let mut taken = HashSet::new();
    for (start, &head) in order.iter().enumerate() {
        let Source::Op(kernel) = &graph.node(head)?.source else { continue };
        if taken.contains(&head) {
            continue;
        }
        let mut stages: Vec<(Stage, Value)> = Vec::new();
        let mut reads: Vec<Value> = graph.node(head)?.inputs.clone();
        let mut last = head;
        while let Some(&[(next, input)]) = readers.get(&last).map(Vec::as_slice) {
            let node = graph.node(next)?;
            let Source::Op(op) = &node.source else { break };
            let Some(stage) = op.stage(input) else { break };
            reads.extend(&node.inputs);
            let end = positions.get(&next).copied().unwrap_or(start);
            let in_order = stages.last().is_none_or(|(before, _)| *before < stage);
            let same_kind = node.kind == graph.node(head)?.kind;
            let free = !outputs.contains(&last) && !taken.contains(&next);
            if !(kernel.takes(stage) && in_order && same_kind && free)
                || changes(graph, order.get(start..end).unwrap_or_default(), &reads)?
            {
                break;
            }
            stages.push((stage, next));
            last = next;
        }
        if !stages.is_empty() {
            let members = [head].into_iter().chain(stages.iter().map(|(_, value)| *value));
            taken.extend(members.clone());
            chains.within.extend(members.filter(|value| *value != last));
            chains.by_result.insert(last, Chain { head, stages });
        }
    }
    Ok(chains)
}

/// Whether one of these operations updates the memory of one of these values.
fn changes(graph: &Graph, operations: &[Value], values: &[Value]) -> Result<bool> {
    let values = values.iter().map(|v| graph.root(*v)).collect::<Result<Vec<_>>>()?;
    for operation in operations {
        let node = graph.node(*operation)?;
        let Source::Op(op) = &node.source else { continue };
        for changed in op.updates().iter().filter_map(|i| node.inputs.get(*i)) {
            if values.contains(&graph.root(*changed)?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
