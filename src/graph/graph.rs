//! The graph, its nodes, and the trait that operations implement.

use super::{Description, OpTraits};
use crate::error::{Error, Result};
use crate::kernels::{Buf, ConvProblem, Fusion, Handover, Recorder};
use crate::tensor::{Shape, Value};
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An operation: all that the graph and the plan need to know about it.
pub trait Op: Debug + Send + Sync {
    /// The name, e.g. `conv2d`; for a gradient e.g. `conv2d.dw`.
    fn name(&self) -> &'static str;

    /// The operation as data; `None` for an operation that occurs only in training.
    fn describe(&self) -> Option<Description> {
        None
    }

    /// Checks the inputs and returns the shape of the result.
    ///
    /// # Errors
    /// [`Error::Usage`] if the inputs do not fit.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Appends the operations of the gradient. `_x` are the inputs, `_y` is the result and `_dy` the gradient of the
    /// result. Returns the gradient of each input, in the layout and with the sizes of the input, or `None` for an input
    /// without one. The gradient of pixels `(N, H, W)` is an image `(N, H, W, 3)`.
    ///
    /// # Errors
    /// [`Error::Internal`] for an operation without a gradient.
    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Err(Error::internal(format!("{} has no gradient", self.name())))
    }

    /// The properties that a plan uses to schedule, fuse and store the operation.
    fn traits(&self) -> OpTraits {
        OpTraits::default()
    }

    /// Records the kernels that compute `y` from `x`. A value that is too large for one binding is stored in chunks of
    /// images; an operation without [`OpTraits::per_image`] must handle each chunk itself
    /// ([`crate::kernels::chunk_ranges`]).
    ///
    /// # Errors
    /// [`Error::Gpu`] if something exceeds the adapter's limits.
    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()>;

    /// The multiply-adds of the operation's matrix products. For a convolution it is the number of the direct method,
    /// whichever algorithm computes it.
    fn macs(&self, _inputs: &[Shape]) -> u64 {
        0
    }

    /// The matrix product that the operation computes. The plan selects an algorithm for it before recording.
    #[doc(hidden)]
    fn problem(&self, _inputs: &[Shape]) -> Option<ConvProblem> {
        None
    }

    /// Like [`Op::record`], but the kernel also applies the epilogue, the reduction and the partials of `_fusion`. `y`
    /// is the result of the last stage of the epilogue.
    ///
    /// # Errors
    /// As [`Op::record`].
    #[doc(hidden)]
    fn record_fused(&self, r: &mut Recorder, x: &[Buf], _fusion: &Fusion, y: Buf) -> Result<Handover> {
        self.record(r, x, y)?;
        Ok(Handover::default())
    }

    /// Records the computation of the vectors of [`crate::kernels::Epilogue::affine`] from the inputs.
    ///
    /// # Errors
    /// As [`Op::record`].
    #[doc(hidden)]
    fn record_affine(&self, _r: &mut Recorder, _x: &[Buf]) -> Result<Buf> {
        Err(Error::internal(format!("{} is no affine map", self.name())))
    }
}

/// The number of the next graph. Number 0 is not used, so that [`Value::default`] belongs to no graph.
static GRAPHS: AtomicU32 = AtomicU32::new(1);

/// The origin of a value.
#[derive(Debug, Clone)]
pub enum Source {
    /// Written by the caller before each run.
    Input,
    /// Kept from one run to the next: parameters, momentum, running statistics.
    State,
    /// Computed from other values.
    Op(Arc<dyn Op>),
}

/// A value of the graph with its origin.
#[derive(Debug, Clone)]
pub struct Node {
    /// The layer that the value belongs to, e.g. `layer1.0.conv1`, or the name of the input or state.
    pub name: String,
    /// The origin of the value.
    pub source: Source,
    /// The operands of the operation; empty for an input or a state.
    pub inputs: Vec<Value>,
    /// The layout and sizes.
    pub shape: Shape,
    /// The purpose of the value.
    pub kind: Kind,
    /// The position in the order of computation: the node's own index, or the index of the node that it is computed
    /// directly before.
    pub place: usize,
    /// Whether the operation is one of this library. The kernels of other operations are checked as they run, and they take
    /// no part in fusion.
    pub(crate) own: bool,
}

impl Node {
    /// The properties of the operation that a plan may rely on; `None` for an input or a state.
    pub(crate) fn traits(&self) -> Option<OpTraits> {
        match &self.source {
            Source::Op(op) if self.own => Some(op.traits()),
            Source::Op(op) => Some(op.traits().of_custom_op()),
            Source::Input | Source::State => None,
        }
    }
}

/// The purpose of a value. A plan reports its memory by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Part of the forward computation, or state that it keeps: parameters, running statistics.
    #[default]
    Forward,
    /// Part of the gradient computation.
    Gradient,
    /// A forward value that is computed a second time for the gradient (gradient checkpointing).
    Recomputed,
    /// State of the optimiser.
    Momentum,
}

/// A list of nodes in an order in which they can be computed.
#[derive(Debug, Clone)]
pub struct Graph {
    id: u32,
    pub(crate) nodes: Vec<Node>,
    pub(crate) layer: String,
    pub(crate) kind: Kind,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

impl Graph {
    /// Creates an empty graph.
    pub fn new() -> Self {
        let id = GRAPHS.fetch_add(1, Ordering::Relaxed);
        Self { id, nodes: Vec::new(), layer: String::new(), kind: Kind::default() }
    }

    /// All nodes in the order in which they were added.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of a value.
    ///
    /// # Errors
    /// [`Error::Internal`] if the value belongs to another graph.
    pub fn node(&self, value: Value) -> Result<&Node> {
        let node = self.nodes.get(value.index()).filter(|_| value.graph() == self.id);
        node.ok_or_else(|| Error::internal("a value of another graph"))
    }

    /// The value that owns the memory of this one: the value itself, or the one that it is a reshape of.
    pub(crate) fn root(&self, value: Value) -> Result<Value> {
        let mut root = value;
        loop {
            let node = self.node(root)?;
            match (node.traits(), &node.inputs[..]) {
                (Some(traits), [parent]) if traits.is_reshape() => root = *parent,
                _ => return Ok(root),
            }
        }
    }

    /// The values, each the owner of its memory, that operations of `order` update in place.
    pub(crate) fn updated(&self, order: &[Value]) -> Result<HashSet<Value>> {
        let mut updated = HashSet::new();
        for value in order {
            let node = self.node(*value)?;
            let updates = node.traits().map_or(&[][..], |traits| traits.updates);
            for changed in updates.iter().filter_map(|i| node.inputs.get(*i)) {
                updated.insert(self.root(*changed)?);
            }
        }
        Ok(updated)
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub fn shape(&self, value: Value) -> Result<Shape> {
        Ok(self.node(value)?.shape)
    }

    /// All values in the order in which they were added.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Value> + use<> {
        let graph = self.id;
        (0..self.nodes.len() as u32).map(move |index| Value::new(graph, index))
    }

    /// Sets the layer of the operations that are added from now on.
    pub fn layer(&mut self, name: impl Into<String>) -> &mut Self {
        self.layer = name.into();
        self
    }

    /// Adds a value that the caller writes before each run.
    pub fn input(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.node_of(name.into(), Source::Input, Vec::new(), shape, true)
    }

    /// Adds a value that is kept from one run to the next.
    pub fn state(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.node_of(name.into(), Source::State, Vec::new(), shape, true)
    }

    /// Adds a state of the optimiser.
    pub fn momentum(&mut self, name: impl Into<String>, shape: Shape) -> Value {
        self.of_kind(Kind::Momentum, |g| g.state(name, shape))
    }

    /// Runs `build` and gives the values that it adds this kind.
    pub(crate) fn of_kind<R>(&mut self, kind: Kind, build: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.kind, kind);
        let result = build(self);
        self.kind = before;
        result
    }

    fn node_of(
        &mut self,
        name: String,
        source: Source,
        inputs: Vec<Value>,
        shape: Shape,
        own: bool,
    ) -> Value {
        let (kind, place) = (self.kind, self.nodes.len());
        self.push(Node { name, source, inputs, shape, kind, place, own })
    }

    /// Adds an operation of one's own and returns its result. [`crate::ops`] has a method for each operation of this
    /// library. The plan does not trust a custom operation: the driver checks the indices of all kernels that it
    /// records, its result has its own memory, and nothing is fused with it.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the shapes do not fit the operation.
    pub fn add_op(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Result<Value> {
        self.add_node(Arc::new(op), inputs, false)
    }

    /// Adds an operation of this library.
    pub(crate) fn push_op(&mut self, op: impl Op + 'static, inputs: &[Value]) -> Result<Value> {
        self.add_node(Arc::new(op), inputs, true)
    }

    fn add_node(&mut self, op: Arc<dyn Op>, inputs: &[Value], own: bool) -> Result<Value> {
        let place = |e: Error, layer: &str| if layer.is_empty() { e } else { e.at(format!("layer {layer}")) };
        let shapes = inputs.iter().map(|v| self.shape(*v)).collect::<Result<Vec<_>>>()?;
        let shape = op.shape(&shapes).map_err(|e| place(e, &self.layer))?;
        if shape.stored().is_none_or(|n| u32::try_from(n).is_err()) {
            let error = Error::usage(format!("{} makes {shape}, more than 2^32 numbers", op.name()));
            return Err(place(error.hint("use a smaller batch or input size"), &self.layer));
        }
        Ok(self.node_of(self.layer.clone(), Source::Op(op), inputs.to_vec(), shape, own))
    }

    /// Makes a computed value an input, which the caller writes before each run.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub(crate) fn make_input(&mut self, value: Value) -> Result<()> {
        self.node(value)?;
        if let Some(node) = self.nodes.get_mut(value.index()) {
            (node.source, node.inputs) = (Source::Input, Vec::new());
        }
        Ok(())
    }

    /// Exchanges two operations on one operand each, of which the second alone reads the first and which commute. Layers keep their
    /// names.
    ///
    /// # Errors
    /// [`Error::Internal`] if the second does not read the first alone; otherwise as [`Op::shape`].
    pub(crate) fn exchange(&mut self, first: Value, second: Value) -> Result<()> {
        let (before, after) = (self.node(first)?.clone(), self.node(second)?.clone());
        let (Source::Op(op), [operand]) = (&after.source, &before.inputs[..]) else {
            return Err(Error::internal("two nodes that are not operations on one operand"));
        };
        if after.inputs != [first] {
            return Err(Error::internal("an operation that does not read the one before it alone"));
        }
        let shape = op.shape(&[self.shape(*operand)?])?;
        let [i, j] = [first.index(), second.index()];
        if let Some(node) = self.nodes.get_mut(i) {
            *node = Node { name: after.name, source: after.source, shape, own: after.own, ..node.clone() };
        }
        if let Some(node) = self.nodes.get_mut(j) {
            *node = Node { name: before.name, source: before.source, own: before.own, ..node.clone() };
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value::new(self.id, self.nodes.len() as u32 - 1)
    }
}
