//! Pairs the tensors of two graphs that compute the same function of their parameters. Both graphs are walked together, from the logits to the
//! input.

use super::signature::{Windows, operation, origin, pooling, product, signatures};
use super::weight::Weight;
use crate::graph::Description;
use crate::graph::Graph;
use crate::models::Parameter;
use crate::tensor::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A graph with its input and its logits.
pub(super) struct Side<'a> {
    graph: &'a Graph,
    input: Value,
    logits: Value,
    signatures: Vec<u64>,
    /// The name and the first row of each parameter.
    names: HashMap<Value, (&'a str, usize)>,
}

impl<'a> Side<'a> {
    pub(super) fn new(graph: &'a Graph, input: Value, logits: Value, parameters: &'a [Parameter]) -> Self {
        let names = parameters.iter().map(|p| (p.value, (p.name.as_str(), p.rows.start))).collect();
        Self { graph, input, logits, signatures: signatures(graph, input), names }
    }

    pub(super) fn signature(&self, value: Value) -> u64 {
        self.signatures.get(value.index()).copied().unwrap_or(0)
    }

    /// The signature of the whole graph.
    pub(super) fn whole(&self) -> u64 {
        self.signature(self.logits)
    }

    fn parameter(&self, value: Value) -> Option<(&'a str, usize)> {
        self.names.get(&origin(self.graph, value)).copied()
    }

    fn operation(&self, value: Value) -> Option<(Description, &'a [Value])> {
        operation(self.graph, value)
    }

    /// The chain of ReLUs and max poolings that ends in a value, and the value before it. Their order does not matter.
    fn chain(&self, mut value: Value) -> (bool, Vec<Windows>, Value) {
        let (mut relu, mut maxima) = (false, Vec::new());
        loop {
            value = origin(self.graph, value);
            match self.operation(value) {
                Some((Description::Relu, [x])) => (relu, value) = (true, *x),
                Some((Description::MaxPool(_), [x])) => {
                    maxima.extend(pooling(self.graph, value));
                    value = *x;
                }
                _ => return (relu, maxima, value),
            }
        }
    }

    /// The convolution that computes a value, with its input, weights and bias.
    fn product(&self, value: Value) -> Option<(Value, Value, Option<Value>)> {
        match self.operation(value)? {
            (Description::Conv2d(_), [x, w]) => Some((*x, *w, None)),
            (Description::Conv2d(_), [x, w, b]) => Some((*x, *w, Some(*b))),
            _ => None,
        }
    }
}

/// The weights in a file for each tensor of a variant.
pub(super) struct Pairing<'a> {
    ours: &'a Side<'a>,
    theirs: &'a Side<'a>,
    weights: &'a BTreeMap<String, Weight>,
    open: Vec<(Value, Value)>,
    found: BTreeMap<String, Weight>,
}

/// Pairs the tensors of `ours` with `weights` of `theirs`; `None` if the graphs are not the same.
pub(super) fn pair<'a>(
    ours: &'a Side<'a>,
    theirs: &'a Side<'a>,
    weights: &'a BTreeMap<String, Weight>,
) -> Option<BTreeMap<String, Weight>> {
    if ours.whole() != theirs.whole() {
        return None;
    }
    let open = vec![(ours.logits, theirs.logits)];
    let mut pairing = Pairing { ours, theirs, weights, open, found: BTreeMap::new() };
    let mut seen = HashSet::new();
    while let Some(both) = pairing.open.pop() {
        if seen.insert(both) {
            pairing.step(both)?;
        }
    }
    Some(pairing.found)
}

impl<'a> Pairing<'a> {
    /// Compares two values, and queues their inputs for comparison.
    fn step(&mut self, (ours, theirs): (Value, Value)) -> Option<()> {
        if self.begins(ours, theirs)? {
            return Some(());
        }
        let (a, b) = (self.ours.chain(ours), self.theirs.chain(theirs));
        if (a.0, &a.1) != (b.0, &b.1) {
            return None;
        }
        let (ours, theirs) = (a.2, b.2);
        if self.begins(ours, theirs)? {
            return Some(());
        }
        let ((a, x), (b, y)) = (self.ours.operation(ours)?, self.theirs.operation(theirs)?);
        match (a, b) {
            (Description::BatchNorm { epsilon }, Description::BatchNorm { epsilon: other }) => {
                self.batch_norms((x, epsilon), (y, other))
            }
            (Description::BatchNorm { epsilon }, Description::Conv2d(_)) => self.folded(x, epsilon, theirs),
            (Description::Conv2d(_), Description::Conv2d(_)) => self.products(ours, theirs, true),
            (Description::Add, Description::Add) => {
                let ([x1, x2], [y1, y2]) = (x, y) else { return None };
                let fits = |a: &Value, b: &Value| self.ours.signature(*a) == self.theirs.signature(*b);
                let swapped = !(fits(x1, y1) && fits(x2, y2));
                let (y1, y2) = if swapped { (y2, y1) } else { (y1, y2) };
                self.open.extend([(*x1, *y1), (*x2, *y2)]);
                Some(())
            }
            (Description::AveragePool(_) | Description::AdaptiveAveragePool(_), _)
                if pooling(self.ours.graph, ours).is_some() =>
            {
                let same = pooling(self.ours.graph, ours) == pooling(self.theirs.graph, theirs);
                self.all(x, y).filter(|()| same)
            }
            // Constants that are not weights must be equal.
            (a, b) if a == b => self.all(x, y),
            _ => None,
        }
    }

    /// Whether both values are the inputs of their networks; `None` if only one is.
    fn begins(&self, ours: Value, theirs: Value) -> Option<bool> {
        match (ours == self.ours.input, theirs == self.theirs.input) {
            (true, true) => Some(true),
            (false, false) => Some(false),
            _ => None,
        }
    }

    fn all(&mut self, ours: &[Value], theirs: &[Value]) -> Option<()> {
        self.open.extend(ours.iter().copied().zip(theirs.iter().copied()));
        (ours.len() == theirs.len()).then_some(())
    }

    /// The weight of a parameter in the graph of the file.
    fn weight(&self, value: Value) -> Option<Weight> {
        let (name, _) = self.theirs.parameter(value)?;
        self.weights.get(name).cloned()
    }

    /// Assigns a weight to a tensor of the variant.
    fn give(&mut self, ours: Value, weight: Weight) -> Option<()> {
        let (name, _) = self.ours.parameter(ours)?;
        match self.found.get(name) {
            Some(other) => other.is(&weight).then_some(()),
            None => {
                self.found.insert(name.to_owned(), weight);
                Some(())
            }
        }
    }

    /// Assigns a tensor of the file to one of the variant, with the same rows.
    fn same(&mut self, ours: Value, theirs: Value) -> Option<()> {
        let (a, b) = (self.ours.parameter(ours)?, self.theirs.parameter(theirs)?);
        let weight = self.weight(theirs).filter(|_| a.1 == b.1)?;
        self.give(ours, weight)
    }

    /// Pairs two products. If only the variant has a bias, it is 0. If only the file has one, the caller must handle it.
    fn products(&mut self, ours: Value, theirs: Value, biases: bool) -> Option<()> {
        if product(self.ours.graph, ours)? != product(self.theirs.graph, theirs)? {
            return None;
        }
        let ((x, w, a), (y, v, b)) = (self.ours.product(ours)?, self.theirs.product(theirs)?);
        self.same(w, v)?;
        if biases {
            match (a, b) {
                (Some(a), Some(b)) => self.same(a, b)?,
                (Some(a), None) => {
                    let rows = self.rows(v)?;
                    self.give(a, Weight::repeated(0.0, rows))?;
                }
                (None, None) => {}
                (None, Some(_)) => return None,
            }
        }
        self.open.push((x, y));
        Some(())
    }

    /// The number of outputs of a layer in the file.
    fn rows(&self, weights: Value) -> Option<usize> {
        self.weight(weights)?.shape().first().copied()
    }

    /// Pairs two batch norms. A bias before the one in the file, which the variant lacks, is subtracted from the mean.
    fn batch_norms(&mut self, (x, epsilon): (&[Value], f32), (y, other): (&[Value], f32)) -> Option<()> {
        let ([x, mean, gamma, beta, variance], [y, m, g, b, v]) = (x, y) else { return None };
        self.same(*gamma, *g)?;
        self.same(*beta, *b)?;
        let difference = (f64::from(other) - f64::from(epsilon)) as f32;
        self.give(*variance, self.weight(*v)?.plus(difference))?;
        let (before, after) = (origin(self.ours.graph, *x), origin(self.theirs.graph, *y));
        let biases = (self.ours.product(before).map(|p| p.2), self.theirs.product(after).map(|p| p.2));
        if let (Some(None), Some(Some(bias))) = biases {
            self.give(*mean, self.weight(*m)?.less(self.weight(bias)?))?;
            return self.products(before, after, false);
        }
        self.same(*mean, *m)?;
        self.open.push((*x, *y));
        Some(())
    }

    /// A batch norm that the exporter has folded into the product before it. The batch norm of the variant then only adds the bias of this
    /// product.
    fn folded(&mut self, x: &[Value], epsilon: f32, theirs: Value) -> Option<()> {
        let [x, mean, gamma, beta, variance] = x else { return None };
        let before = origin(self.ours.graph, *x);
        let ((_, _, own), (_, v, bias)) = (self.ours.product(before)?, self.theirs.product(theirs)?);
        let rows = self.rows(v)?;
        self.give(*gamma, Weight::repeated(1.0, rows))?;
        self.give(*mean, Weight::repeated(0.0, rows))?;
        self.give(*variance, Weight::repeated(1.0 - epsilon, rows))?;
        let bias = bias.map(|b| self.weight(b)).unwrap_or_else(|| Some(Weight::repeated(0.0, rows)))?;
        match own {
            // If the layer of the variant has a bias, it takes the bias of the product.
            Some(own) => {
                self.give(own, bias)?;
                self.give(*beta, Weight::repeated(0.0, rows))?;
            }
            None => self.give(*beta, bias)?,
        }
        self.products(before, theirs, false)
    }
}
