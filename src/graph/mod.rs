//! The computation as data: values, and the operations that make them.
//!
//! A model function builds a [`Graph`]; [`Graph::gradients`] appends the operations of the gradient to
//! the same graph; the updates of the optimiser are operations too. Nothing runs here: a plan turns
//! the graph into GPU work.

mod autograd;
mod late;
mod print;
mod recompute;
mod shape;

pub use shape::{Layout, Precision, Shape, pad4};

use crate::error::{Error, Result};
use crate::ops::Op;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A value of a graph: the result of one of its nodes. It belongs to the graph that made it and to the clones of that graph; every
/// other graph refuses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    index: u32,
    graph: u32,
}

impl Value {
    /// The position of its node in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// The number of the next graph. None has number 0, which [`Value::default`] names.
static GRAPHS: AtomicU32 = AtomicU32::new(1);

/// Where the content of a value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Written by the caller before each run.
    Input,
    /// Kept from run to run: parameters, momentum, running statistics.
    State,
    /// Computed from other values.
    Op(Arc<dyn Op>),
}

/// A value with its origin.
#[derive(Debug, Clone)]
pub struct Node {
    /// The layer it belongs to, e.g. `layer1.0.conv1`, or the name of the input or state.
    pub name: String,
    /// Where its content comes from.
    pub source: Source,
    /// What it is computed from.
    pub inputs: Vec<Value>,
    /// Its layout and size.
    pub shape: Shape,
    /// What it is for.
    pub kind: Kind,
    /// Where it stands in the order of computation: at its own position, or right before the node at this one.
    pub place: usize,
}

/// What a value is for, by which a plan counts its memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// The computation itself, and what it keeps: parameters, running statistics.
    #[default]
    Forward,
    /// Its gradient.
    Gradient,
    /// A value of the computation that is computed a second time for the gradient.
    Recomputed,
    /// What the optimiser keeps.
    Momentum,
}

/// A list of values in an order in which they can be computed.
#[derive(Debug, Clone)]
pub struct Graph {
    id: u32,
    nodes: Vec<Node>,
    layer: String,
    kind: Kind,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        let id = GRAPHS.fetch_add(1, Ordering::Relaxed);
        Self { id, nodes: Vec::new(), layer: String::new(), kind: Kind::default() }
    }

    /// All values in the order of their making.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of a value.
    ///
    /// # Errors
    /// [`Error::Internal`] if the value is of another graph.
    pub fn node(&self, value: Value) -> Result<&Node> {
        let node = self.nodes.get(value.index()).filter(|_| value.graph == self.id);
        node.ok_or_else(|| Error::internal("a value of another graph"))
    }

    /// The value whose memory this one is: itself, or what it is another shape of.
    pub(crate) fn root(&self, value: Value) -> Result<Value> {
        let node = self.node(value)?;
        match (&node.source, &node.inputs[..]) {
            (Source::Op(op), [parent]) if op.renames() => self.root(*parent),
            _ => Ok(value),
        }
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub fn shape(&self, value: Value) -> Result<Shape> {
        Ok(self.node(value)?.shape)
    }

    /// All values in order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Value> + use<> {
        let graph = self.id;
        (0..self.nodes.len() as u32).map(move |index| Value { index, graph })
    }

    /// Names the layer that the operations added from now on belong to.
    pub fn layer(&mut self, name: impl Into<String>) -> &mut Self {
        self.layer = name.into();
        self
    }

    /// Adds a value that the caller writes before each run.
    pub fn input(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.node_of(name.into(), Source::Input, Vec::new(), shape)
    }

    /// Adds a value that is kept from run to run.
    pub fn state(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.node_of(name.into(), Source::State, Vec::new(), shape)
    }

    /// Adds a state of the optimiser.
    pub fn momentum(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.of_kind(Kind::Momentum, |g| g.state(name, shape))
    }

    /// Runs `build`; the values that it adds are of this kind.
    pub(crate) fn of_kind<R>(&mut self, kind: Kind, build: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.kind, kind);
        let result = build(self);
        self.kind = before;
        result
    }

    fn node_of(&mut self, name: String, source: Source, inputs: Vec<Value>, shape: Shape) -> Value {
        let (kind, place) = (self.kind, self.nodes.len());
        self.push(Node { name, source, inputs, shape, kind, place })
    }

    /// Adds an operation and returns its result. This is how every operation enters a graph; see the
    /// methods in [`crate::ops`] for each of them.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the shapes do not fit the operation.
    pub fn add_op(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Result<Value> {
        let place = |e: Error, layer: &str| if layer.is_empty() { e } else { e.at(format!("layer {layer}")) };
        let shapes = inputs.iter().map(|v| self.shape(*v)).collect::<Result<Vec<_>>>()?;
        let shape = op.shape(&shapes).map_err(|e| place(e, &self.layer))?;
        if shape.stored().is_none_or(|n| u32::try_from(n).is_err()) {
            let error = Error::usage(format!("{} makes {shape}, more than 2^32 numbers", op.name()));
            return Err(place(error.cure("use a smaller batch or input size"), &self.layer));
        }
        let source = Source::Op(Arc::new(op));
        Ok(self.node_of(self.layer.clone(), source, inputs.to_vec(), shape))
    }

    fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value { index: self.nodes.len() as u32 - 1, graph: self.id }
    }
}
