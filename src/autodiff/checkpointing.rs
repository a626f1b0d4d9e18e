//! Gradient checkpointing: some forward values are computed a second time for the gradient, which trades arithmetic for
//! memory.
//!
//! Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016 (arXiv:1604.06174). The forward
//! computation is cut into about sqrt(n) segments, at points where only one value is live. That value is kept. The
//! values within a segment are computed again when their gradient is computed.

use crate::graph::{Graph, Kind, Node, Reduces, Source};
use crate::tensor::{Layout, Value};
use std::collections::HashMap;

/// Values that are smaller than the largest one by more than this factor are kept: statistics, logits.
const SMALL: u64 = 64;

impl Graph {
    /// Makes the gradient's operations read recomputed values, except for the values kept between segments. Call it
    /// after all gradients have been added. The results are identical bit for bit; the arithmetic grows by about a
    /// third.
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

    /// The operands of reductions, by the earliest node into whose kernel the reduction may be fused. They must be
    /// recomputed before that node. Otherwise the reduction would not be fused, and would round differently.
    fn reduction_operands(&self) -> HashMap<usize, Vec<Value>> {
        let mut operands: HashMap<usize, Vec<Value>> = HashMap::new();
        let mut readers = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|node| &node.inputs) {
            readers[input.index()] += 1;
        }
        for node in self.nodes.iter().filter(|n| n.kind == Kind::Gradient) {
            let reduces = node.traits().and_then(|traits| traits.reduces);
            let Some(Reduces::SumAndDot { of, x, statistics }) = reduces else { continue };
            let Some(input) = node.inputs.get(of) else { continue };
            if let Some(maker) = self.first_maker(*input, &readers) {
                let needed = [x, statistics].into_iter().filter_map(|i| node.inputs.get(i));
                operands.entry(maker).or_default().extend(needed);
            }
        }
        operands
    }

    /// The earliest node whose kernel may compute a value.
    fn first_maker(&self, value: Value, readers: &[usize]) -> Option<usize> {
        let mut first = None;
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            let node = self.nodes.get(value.index())?;
            let Some(traits) = node.traits() else { continue };
            first = Some(first.map_or(value.index(), |first: usize| first.min(value.index())));
            // The operation may run in the epilogue of a producer that has no other consumer.
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

    /// For each node, whether its value is kept.
    fn kept(&self, forward: &[usize]) -> Vec<bool> {
        let bytes = |i: usize| self.nodes[i].shape.bytes();
        let largest = forward.iter().map(|i| bytes(*i)).max().unwrap_or(0);
        let large: Vec<usize> = forward.iter().copied().filter(|i| bytes(*i) > largest / SMALL).collect();
        let mut kept = vec![true; self.nodes.len()];
        for i in &large {
            kept[*i] = false;
        }
        // The last forward operation that reads each value.
        let mut last_reader = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.kind == Kind::Forward) {
            for input in &node.inputs {
                last_reader[input.index()] = i;
            }
        }
        // The points where only one large value is live.
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
        // The gradient needs the values after the last cut first, so recomputing them would save no memory.
        let last = cuts.iter().rev().find(|i| kept[**i]).copied().unwrap_or(0);
        for i in large.iter().filter(|i| **i > last) {
            kept[*i] = true;
        }
        kept
    }

    /// Returns the value if it is kept, otherwise its copy. A missing copy is inserted directly before the node `user`.
    fn again(
        &mut self,
        value: Value,
        user: usize,
        kept: &[bool],
        copies: &mut HashMap<Value, Value>,
    ) -> Value {
        // A recomputed value may depend on other recomputed values. The walk is iterative, because networks are deep.
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
