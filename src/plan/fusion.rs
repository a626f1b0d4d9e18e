//! Which operations are done in the kernel of the one before them, so that what lies between is never written.

use crate::error::{Error, Result};
use crate::graph::{Graph, Source, Value};
use crate::ops::{Buf, Epilogue, Look, Recorder, Stage, Update, Wants};
use std::collections::{HashMap, HashSet};

/// An operation and those that are done in its kernel.
pub(super) struct Chain {
    /// The operation that has the kernel.
    pub head: Value,
    /// What follows it; the last one is the result.
    pub stages: Vec<(Stage, Value)>,
}

impl Chain {
    /// The value that it computes.
    pub fn result(&self) -> Value {
        self.stages.last().map_or(self.head, |(_, value)| *value)
    }

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
            // What the kernel has not at hand.
            let other = |value| {
                let mut inputs = node.inputs.iter().zip(bufs(value)?);
                let found = inputs.find(|(v, _)| **v != before).map(|(_, buf)| buf);
                found.ok_or_else(|| Error::internal("a stage without an operand"))
            };
            match (stage, &node.source) {
                (Stage::Affine, Source::Op(op)) => {
                    epilogue.affine = Some(op.record_affine(recorder, &bufs(value)?)?);
                }
                (Stage::Residual, _) => epilogue.residual = Some(other(value)?),
                (Stage::Mask, _) => epilogue.mask = Some(other(value)?),
                (Stage::Update, _) => {
                    let [step, _, w, v] = bufs(value)?[..] else {
                        return Err(Error::internal("an update without its operands"));
                    };
                    epilogue.update = Some(Update { step, w, v });
                }
                (Stage::Affine, _) => return Err(Error::internal("an affine stage without an operation")),
                (Stage::Relu, _) => epilogue.relu = true,
            }
            before = value;
        }
        Ok(epilogue)
    }
}

/// The chains of an order, by the member where it is computed; and all their members, of which but the result none gets
/// memory.
#[derive(Default)]
pub(super) struct Chains {
    pub by_place: HashMap<Value, Chain>,
    pub members: HashSet<Value>,
}

/// Finds the chains: each value within one has a single reader. All of a chain is computed at one place, where its end
/// stands in the order or where its head does, so nothing that it reads there may be computed later or be changed on the way.
pub(super) fn find(graph: &Graph, order: &[Value], outputs: &[Value]) -> Result<Chains> {
    let mut readers = Readers::new();
    let mut positions = HashMap::new();
    for (at, &value) in order.iter().enumerate() {
        positions.insert(value, at);
        for (i, input) in graph.node(value)?.inputs.iter().enumerate() {
            readers.entry(*input).or_default().push((value, i));
        }
    }
    let position = |value: &Value| positions.get(value).copied().unwrap_or(0);
    let mut chains = Chains::default();
    for (start, &head) in order.iter().enumerate() {
        let Source::Op(kernel) = &graph.node(head)?.source else { continue };
        if chains.members.contains(&head) {
            continue;
        }
        let mut stages: Vec<(Stage, Value)> = Vec::new();
        // What the stages read besides the numbers that are handed on.
        let mut operands: Vec<Value> = Vec::new();
        let (mut last, mut place) = (head, head);
        while let Some(Follower { stage, value: next, between: names }) = follower(graph, &readers, last)? {
            let node = graph.node(next)?;
            let in_order = stages.last().is_none_or(|(before, _)| *before < stage);
            let same_kind = stage == Stage::Update || node.kind == graph.node(head)?.kind;
            let free = !outputs.contains(&last)
                && !names.iter().any(|v| outputs.contains(v))
                && !chains.members.contains(&next);
            if !(kernel.takes(stage) && in_order && same_kind && free) {
                break;
            }
            let handed_on = names.last().copied().unwrap_or(last);
            operands.extend(node.inputs.iter().filter(|v| **v != handed_on));
            let between = order.get(start..position(&next)).unwrap_or_default();
            let kept = !changes(graph, between, &operands)?;
            if kept && !changes(graph, between, &graph.node(head)?.inputs)? {
                place = next;
            } else if kept && stage != Stage::Update && operands.iter().all(|v| position(v) < start) {
                // An update must wait for the last reader of what it changes.
                place = head;
            } else {
                break;
            }
            stages.push((stage, next));
            chains.members.extend(names);
            last = next;
        }
        if !stages.is_empty() {
            chains.members.insert(head);
            chains.members.extend(stages.iter().map(|(_, value)| *value));
            chains.by_place.insert(place, Chain { head, stages });
        }
    }
    Ok(chains)
}

/// The values that one operation alone reads and adds up itself where they are left in several numbers. Nothing may change meanwhile
/// what they are made of, since that may be what is left.
pub(super) fn added_by_reader(graph: &Graph, order: &[Value], outputs: &[Value]) -> Result<HashSet<Value>> {
    let mut readers: HashMap<Value, (usize, bool)> = HashMap::new();
    let mut changed = HashSet::new();
    for value in order {
        let node = graph.node(*value)?;
        let Source::Op(op) = &node.source else { continue };
        for input in op.updates().iter().filter_map(|i| node.inputs.get(*i)) {
            changed.insert(graph.root(*input)?);
        }
        for (i, input) in node.inputs.iter().enumerate() {
            let (count, adds) = readers.entry(*input).or_default();
            (*count, *adds) = (*count + 1, op.adds(i));
        }
    }
    let added =
        readers.into_iter().filter(|(value, reader)| *reader == (1, true) && !outputs.contains(value));
    Ok(added.map(|(value, _)| value).collect())
}

/// What an operation looks for in the columns of one of its inputs, and which others it needs for that.
pub(super) struct Wanted {
    wants: Wants,
    /// Each with its place in the order.
    inputs: Vec<(Value, usize)>,
}

impl Wanted {
    /// The same as buffers, for a kernel at this place in the order; `None` if something is not there yet.
    pub fn before(&self, at: usize, buf: impl Fn(Value) -> Result<Buf>) -> Result<Option<Look>> {
        let input = |i: usize| match self.inputs.get(i) {
            Some((value, place)) if *place < at => buf(*value).map(Some),
            _ => Ok(None),
        };
        Ok(match self.wants {
            Wants::Statistics => Some(Look::STATISTICS),
            Wants::Sums { x, statistics } => match (input(x)?, input(statistics)?) {
                (Some(x), Some(statistics)) => Some(Look::sums(x, statistics)),
                _ => None,
            },
        })
    }
}

/// What the first reader that looks for something in the columns of a value wants of it.
pub(super) fn looked_for(graph: &Graph, order: &[Value]) -> Result<HashMap<Value, Wanted>> {
    let mut wanted = HashMap::new();
    let places: HashMap<Value, usize> = order.iter().enumerate().map(|(at, value)| (*value, at)).collect();
    for value in order {
        let node = graph.node(*value)?;
        let Source::Op(op) = &node.source else { continue };
        for (i, input) in node.inputs.iter().enumerate() {
            let Some(wants) = op.wants(i) else { continue };
            let place = |v: &Value| (*v, places.get(v).copied().unwrap_or(usize::MAX));
            let inputs = node.inputs.iter().map(place).collect();
            wanted.entry(*input).or_insert(Wanted { wants, inputs });
        }
    }
    Ok(wanted)
}

/// The readers of each value, with the position of the input.
type Readers = HashMap<Value, Vec<(Value, usize)>>;

/// The one operation that reads a value, as a stage after it.
struct Follower {
    stage: Stage,
    value: Value,
    /// The names that the value has on the way.
    between: Vec<Value>,
}

fn follower(graph: &Graph, readers: &Readers, value: Value) -> Result<Option<Follower>> {
    let (mut at, mut between) = (value, Vec::new());
    while let Some(&[(next, input)]) = readers.get(&at).map(Vec::as_slice) {
        let Source::Op(op) = &graph.node(next)?.source else { break };
        if op.renames() {
            between.push(next);
            at = next;
            continue;
        }
        // Only an update may see the numbers under another shape.
        let stage = op.stage(input).filter(|stage| between.is_empty() || *stage == Stage::Update);
        return Ok(stage.map(|stage| Follower { stage, value: next, between }));
    }
    Ok(None)
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
