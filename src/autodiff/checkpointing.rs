//! Trading arithmetic for memory: values of the forward computation that are computed a second time for the gradient.
//!
//! Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016 (arXiv:1604.06174): the forward
//! computation is cut into about sqrt(n) segments where only one value passes from what is before to what is behind.
//! That value is kept; what lies within a segment is computed again when its gradient comes.

use crate::graph::{Graph, Kind, Node, Reduces, Source};
use crate::tensor::{Layout, Value};
use std::collections::HashMap;

/// A value this many times smaller than the largest one is kept: statistics, logits.
const SMALL: u64 = 64;

impl Graph {
    /// Makes the operations of the gradient read values that are computed a second time, except for those between
    /// segments. To be called when all gradients are there. The results are the same bit for bit; about a third more
    /// arithmetic is done.
    pub fn recompute(&mut self) {
        let forward: Vec<usize> = (0..self.nodes.len()).filter(|i| self.is_forward(*i)).collect();
        let kept = self.kept(&forward);
        let operands = self.reduction_operands();
        let mut copies: HashMap<Value, Value> = HashMap::new();
        for i in 0..self.nodes.len() {
            if self.nodes[i].kind != Kind::Gradient {
                continue;
            }
            for value in operands.get(&i).into_iter().flatten() {
                self.again(*value, i, &kept, &mut copies);
            }
            for j in 0..self.nodes[i].inputs.len() {
                let input = self.nodes[i].inputs[j];
                self.nodes[i].inputs[j] = self.again(input, i, &kept, &mut copies);
            }
        }
    }

    /// The operands of reductions, by the earliest node in whose kernel they may be fused: they must be computed again as early, or the
    /// reduction would not be fused and round otherwise.
    fn reduction_operands(&self) -> HashMap<usize, Vec<Value>> {
        let mut operands: HashMap<usize, Vec<Value>> = HashMap::new();
        let mut readers = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|node| &node.inputs) {
            readers[input.index()] += 1;
        }
        for node in self.nodes.iter().filter(|n| n.kind == Kind::Gradient) {
            let Source::Op(op) = &node.source else { continue };
            let Some(Reduces::SumAndDot { of, x, statistics }) = op.traits().reduces else { continue };
            let Some(input) = node.inputs.get(of) else { continue };
            if let Some(maker) = self.first_maker(*input, &readers) {
                let needed = [x, statistics].into_iter().filter_map(|i| node.inputs.get(i));
                operands.entry(maker).or_default().extend(needed);
            }
        }
        operands
    }

    /// The earliest node in whose kernel a value may be computed.
    fn first_maker(&self, value: Value, readers: &[usize]) -> Option<usize> {
        let mut first = None;
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            let node = self.nodes.get(value.index())?;
            let Source::Op(op) = &node.source else { continue };
            first = Some(first.map_or(value.index(), |first: usize| first.min(value.index())));
            // It may be in the epilogue of a producer that has no other consumer.
            let traits = op.traits();
            let before = node.inputs.iter().enumerate();
            let before =
                before.filter(|(i, v)| traits.stage_of(*i).is_some() && readers.get(v.index()) == Some(&1));
            open.extend(before.map(|(_, input)| *input));
        }
        first
    }

    fn is_forward(&self, i: usize) -> bool {
        let node = &self.nodes[i];
        matches!(node.source, Source::Op(_))
            && node.kind == Kind::Forward
            && node.shape.layout() == Layout::Image
    }

    /// Which values are not computed again.
    fn kept(&self, forward: &[usize]) -> Vec<bool> {
        let bytes = |i: usize| self.nodes[i].shape.bytes();
        let largest = forward.iter().map(|i| bytes(*i)).max().unwrap_or(0);
        let large: Vec<usize> = forward.iter().copied().filter(|i| bytes(*i) > largest / SMALL).collect();
        let mut kept = vec![true; self.nodes.len()];
        for i in &large {
            kept[*i] = false;
        }
        // The last operation of the forward computation that reads each value.
        let mut last_reader = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.kind == Kind::Forward) {
            for input in &node.inputs {
                last_reader[input.index()] = i;
            }
        }
        // Places where one large value alone passes.
        let mut cuts = Vec::new();
        let mut alive: Vec<usize> = Vec::new();
        for &i in &large {
            alive.push(i);
            alive.retain(|v| last_reader[*v] > i);
            if let [one] = alive[..] {
                cuts.push(one);
            }
        }
        cuts.dedup();
        let every = (cuts.len() as f64).sqrt().ceil().max(1.0) as usize;
        for cut in cuts.iter().skip(every - 1).step_by(every) {
            kept[*cut] = true;
        }
        // What comes behind the last cut is needed at once.
        let last = cuts.iter().rev().find(|i| kept[**i]).copied().unwrap_or(0);
        for i in large.iter().filter(|i| **i > last) {
            kept[*i] = true;
        }
        kept
    }

    /// The value itself, or its copy, made if need be right before the node `user`.
    fn again(
        &mut self,
        value: Value,
        user: usize,
        kept: &[bool],
        copies: &mut HashMap<Value, Value>,
    ) -> Value {
        // What is computed again depends on what is computed again: walked without recursion, for networks are deep.
        let mut stack = vec![value];
        while let Some(&top) = stack.last() {
            let keep = kept.get(top.index()).copied().unwrap_or(true);
            if keep || copies.contains_key(&top) {
                stack.pop();
                continue;
            }
            let open = |v: &Value| !kept.get(v.index()).copied().unwrap_or(true) && !copies.contains_key(v);
            let missing: Vec<Value> = self.nodes[top.index()].inputs.iter().copied().filter(open).collect();
            if missing.is_empty() {
                let node = self.nodes[top.index()].clone();
                let inputs = node.inputs.iter().map(|v| copies.get(v).copied().unwrap_or(*v)).collect();
                let place = self.nodes[user].place;
                let copy = self.push(Node { inputs, kind: Kind::Recomputed, place, ..node });
                copies.insert(top, copy);
                stack.pop();
            } else {
                stack.extend(missing);
            }
        }
        copies.get(&value).copied().unwrap_or(value)
    }
}
