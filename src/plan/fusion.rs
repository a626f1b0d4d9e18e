//! Fusion groups: the operations that one kernel computes, the reduction in its epilogue, and the partials that it
//! reads and leaves.

use crate::error::{Error, Result};
use crate::graph::{Graph, OpTraits, Reduces, Source};
use crate::kernels::{Buf, ChannelReduction, Epilogue, Recorder, Stage, Update};
use crate::tensor::Value;
use std::collections::{HashMap, HashSet};

/// A fusion group: the operations that one kernel computes. Only the result of the last one is stored.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The operation whose kernel computes the group.
    pub head: Value,
    /// The operations in the epilogue, in order. The last one computes the result of the group.
    pub epilogue: Vec<(Stage, Value)>,
    /// The fused reduction of the result, which a consumer needs.
    pub reduction: Option<Reduction>,
    /// The input of the head that it accepts as partials, if a producer left them.
    pub partials_in: Option<usize>,
    /// Whether the only consumer of the result accepts it as partials.
    pub partials_out: bool,
}

/// A fused reduction with the values of its operands. They are computed before the group.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reduction {
    MeanM2,
    SumAndDot { x: Value, statistics: Value },
}

impl Reduction {
    /// The reduction with the buffers of its operands.
    pub fn with(self, buf: impl Fn(Value) -> Result<Buf>) -> Result<ChannelReduction> {
        Ok(match self {
            Self::MeanM2 => ChannelReduction::MeanM2,
            Self::SumAndDot { x, statistics } => {
                ChannelReduction::SumAndDot { x: buf(x)?, statistics: buf(statistics)? }
            }
        })
    }
}

impl Group {
    /// The value that the group stores.
    pub fn result(&self) -> Value {
        self.epilogue.last().map_or(self.head, |(_, value)| *value)
    }

    /// The results of the group's operations in order.
    pub fn members(&self) -> Vec<Value> {
        [self.head].into_iter().chain(self.epilogue.iter().map(|(_, value)| *value)).collect()
    }

    /// The epilogue of the kernel. `bufs` returns the buffers of an operation's inputs.
    pub fn epilogue(
        &self,
        graph: &Graph,
        recorder: &mut Recorder,
        bufs: impl Fn(Value) -> Result<Vec<Buf>>,
    ) -> Result<Epilogue> {
        let mut epilogue = Epilogue::default();
        let mut before = self.head;
        for &(stage, value) in &self.epilogue {
            let node = graph.node(value)?;
            // The operand that is not the result of the previous stage.
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
                    let nesterov = node.traits().is_some_and(|traits| traits.nesterov);
                    epilogue.update = Some(Update { step, w, v, nesterov });
                }
                (Stage::Affine, _) => return Err(Error::internal("an affine stage without an operation")),
                (Stage::Relu, _) => epilogue.relu = true,
            }
            before = value;
        }
        Ok(epilogue)
    }
}

/// The fusion groups in the order in which they are computed. A group is computed at its first or last operation,
/// whichever has all operands available. Inputs and states belong to no group.
pub(super) fn groups(graph: &Graph, order: &[Value], outputs: &[Value]) -> Result<Vec<Group>> {
    let mut finder = Finder::new(graph, order, outputs)?;
    let mut groups = HashMap::new();
    for &head in order {
        if finder.op(head)?.is_some() && !finder.fused.contains(&head) {
            let (epilogue, place) = finder.epilogue_of(head)?;
            groups.insert(place, (head, epilogue));
        }
    }
    let deferred = finder.deferred()?;
    let reduced = finder.reduced()?;
    let mut in_order = Vec::with_capacity(groups.len());
    for (at, place) in order.iter().enumerate() {
        let Some((head, epilogue)) = groups.remove(place) else { continue };
        let traits = finder.op(head)?.unwrap_or_default();
        let result = epilogue.last().map_or(head, |(_, value)| *value);
        in_order.push(Group {
            head,
            epilogue,
            reduction: reduced.get(&result).and_then(|wanted| wanted.available_before(at)),
            partials_in: traits.reduces.map(Reduces::of).or(traits.accepts_partials),
            partials_out: deferred.contains(&result),
        });
    }
    Ok(in_order)
}

/// A reduction that a consumer of a value needs.
struct Wanted {
    reduction: Reduction,
    /// The position in the order after which its operands are available.
    after: Option<usize>,
}

impl Wanted {
    fn available_before(&self, at: usize) -> Option<Reduction> {
        self.after.is_none_or(|after| after < at).then_some(self.reduction)
    }
}

/// The only consumer of a value, as an epilogue stage of the kernel that stores the value.
struct Consumer {
    stage: Stage,
    value: Value,
    /// The reshapes between the value and the consumer.
    between: Vec<Value>,
}

struct Finder<'a> {
    graph: &'a Graph,
    order: &'a [Value],
    outputs: &'a [Value],
    positions: HashMap<Value, usize>,
    /// The consumers of each value, each with the position of the input.
    consumers: HashMap<Value, Vec<(Value, usize)>>,
    /// The members of groups with several operations, and the reshapes within them.
    fused: HashSet<Value>,
}

impl<'a> Finder<'a> {
    fn new(graph: &'a Graph, order: &'a [Value], outputs: &'a [Value]) -> Result<Self> {
        let mut consumers: HashMap<Value, Vec<(Value, usize)>> = HashMap::new();
        let mut positions = HashMap::new();
        for (at, &value) in order.iter().enumerate() {
            positions.insert(value, at);
            for (i, input) in graph.node(value)?.inputs.iter().enumerate() {
                consumers.entry(*input).or_default().push((value, i));
            }
        }
        Ok(Self { graph, order, outputs, positions, consumers, fused: HashSet::new() })
    }

    /// The traits of the operation that computes a value; `None` for an input or a state.
    fn op(&self, value: Value) -> Result<Option<OpTraits>> {
        Ok(self.graph.node(value)?.traits())
    }

    fn position(&self, value: Value) -> usize {
        self.positions.get(&value).copied().unwrap_or(0)
    }

    /// The operations in the epilogue of `head`, and the operation at whose position the group is computed. Each value
    /// within the group has a single consumer. No operand is computed after that position, or changed between the head
    /// and the consumer.
    fn epilogue_of(&mut self, head: Value) -> Result<(Vec<(Stage, Value)>, Value)> {
        let can = self.op(head)?.unwrap_or_default().epilogue;
        let start = self.position(head);
        let mut stages: Vec<(Stage, Value)> = Vec::new();
        // What the stages read besides the result of the previous stage.
        let mut operands: Vec<Value> = Vec::new();
        let (mut last, mut place) = (head, head);
        while let Some(Consumer { stage, value: next, between }) = self.consumer(last)? {
            let in_order = stages.last().is_none_or(|(before, _)| *before < stage);
            if !(can.contains(&stage) && in_order && self.may_fuse(head, last, stage, next, &between)?) {
                break;
            }
            let inputs = &self.graph.node(next)?.inputs;
            let at_hand = between.last().copied().unwrap_or(last);
            operands.extend(inputs.iter().filter(|v| **v != at_hand));
            let on_the_way = self.order.get(start..self.position(next)).unwrap_or_default();
            if self.change(on_the_way, &operands)? {
                break;
            }
            if !self.change(on_the_way, &self.graph.node(head)?.inputs)? {
                place = next;
            } else if stage != Stage::Update && operands.iter().all(|v| self.position(*v) < start) {
                // An update must wait for the last consumer of the state that it changes, so it cannot move to the
                // head.
                place = head;
            } else {
                break;
            }
            stages.push((stage, next));
            self.fused.extend(between);
            last = next;
        }
        if !stages.is_empty() {
            self.fused.extend([head].into_iter().chain(stages.iter().map(|(_, value)| *value)));
        }
        Ok((stages, place))
    }

    fn may_fuse(
        &self,
        head: Value,
        last: Value,
        stage: Stage,
        next: Value,
        between: &[Value],
    ) -> Result<bool> {
        let same_kind = stage == Stage::Update || self.graph.node(next)?.kind == self.graph.node(head)?.kind;
        let is_output = |value: &Value| self.outputs.contains(value);
        Ok(same_kind && !is_output(&last) && !between.iter().any(is_output) && !self.fused.contains(&next))
    }

    fn consumer(&self, value: Value) -> Result<Option<Consumer>> {
        let (mut at, mut between) = (value, Vec::new());
        while let Some(&[(next, input)]) = self.consumers.get(&at).map(Vec::as_slice) {
            let Some(traits) = self.op(next)? else { break };
            if traits.is_reshape() {
                between.push(next);
                at = next;
                continue;
            }
            // Only an update may read the result through a reshape.
            let stage = traits.stage_of(input).filter(|stage| between.is_empty() || *stage == Stage::Update);
            return Ok(stage.map(|stage| Consumer { stage, value: next, between }));
        }
        Ok(None)
    }

    /// Whether one of these operations updates the memory of one of these values.
    fn change(&self, operations: &[Value], values: &[Value]) -> Result<bool> {
        let values = values.iter().map(|v| self.graph.root(*v)).collect::<Result<Vec<_>>>()?;
        for operation in operations {
            let updates = self.op(*operation)?.map_or(&[][..], |traits| traits.updates);
            let inputs = &self.graph.node(*operation)?.inputs;
            for changed in updates.iter().filter_map(|i| inputs.get(*i)) {
                if values.contains(&self.graph.root(*changed)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The values whose only consumer accepts partials of them. The partials may be the memory of an input, so that an
    /// input which is updated in the meantime excludes its value.
    fn deferred(&self) -> Result<HashSet<Value>> {
        let mut deferred = HashSet::new();
        let updated = self.graph.updated(self.order)?;
        for (value, consumers) in &self.consumers {
            let &[(consumer, input)] = &consumers[..] else { continue };
            let accepts = self.op(consumer)?.is_some_and(|traits| traits.accepts_partials == Some(input));
            let inputs = &self.graph.node(*value)?.inputs;
            let kept = inputs.iter().all(|v| self.graph.root(*v).is_ok_and(|root| !updated.contains(&root)));
            if accepts && kept && !self.outputs.contains(value) {
                deferred.insert(*value);
            }
        }
        Ok(deferred)
    }

    /// For each value that is reduced, the reduction of its first consumer that has one.
    fn reduced(&self) -> Result<HashMap<Value, Wanted>> {
        let mut reduced = HashMap::new();
        for value in self.order {
            let Some(reduces) = self.op(*value)?.and_then(|traits| traits.reduces) else { continue };
            let inputs = &self.graph.node(*value)?.inputs;
            let input = |i: usize| {
                inputs.get(i).copied().ok_or_else(|| Error::internal("a reduction without an operand"))
            };
            let wanted = match reduces {
                Reduces::MeanM2 { .. } => Wanted { reduction: Reduction::MeanM2, after: None },
                Reduces::SumAndDot { x, statistics, .. } => {
                    let (x, statistics) = (input(x)?, input(statistics)?);
                    let there = |v: &Value| self.positions.get(v).copied().unwrap_or(usize::MAX);
                    let after = Some(there(&x).max(there(&statistics)));
                    Wanted { reduction: Reduction::SumAndDot { x, statistics }, after }
                }
            };
            reduced.entry(input(reduces.of())?).or_insert(wanted);
        }
        Ok(reduced)
    }
}
