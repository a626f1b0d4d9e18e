//! Values, the operations that make them, and the trait that operations implement.

use super::{Description, OpTraits};
use crate::error::{Error, Result};
use crate::kernels::{Buf, ConvProblem, Fusion, Handover, Recorder};
use crate::tensor::{Shape, Value};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An operation: everything the graph and the plan need to know of it.
pub trait Op: Debug + Send + Sync {
    /// The name, e.g. `conv2d`, and for a gradient `conv2d.dw`.
    fn name(&self) -> &'static str;

    /// What it computes, as data; `None` of an operation that no network has in inference.
    fn describe(&self) -> Option<Description> {
        None
    }

    /// The shape of the result, and every check of the inputs.
    ///
    /// # Errors
    /// [`Error::Usage`] if the inputs do not fit.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Appends the gradient: from the inputs `x`, the result `y` and the gradient `dy` of the result
    /// to the gradient of each input, `None` for one that has none.
    ///
    /// # Errors
    /// [`Error::Internal`] for an operation without a gradient.
    fn gradient(&self, _g: &mut Graph, _x: &[Value], _y: Value, _dy: Value) -> Result<Vec<Option<Value>>> {
        Err(Error::internal(format!("{} has no gradient", self.name())))
    }

    /// What a plan may do with it.
    fn traits(&self) -> OpTraits {
        OpTraits::default()
    }

    /// Records the kernels that compute `y` from `x`. A value that is too large for one binding comes in chunks of pictures; an
    /// operation without [`OpTraits::per_image`] takes them apart itself ([`crate::kernels::chunk_ranges`]).
    ///
    /// # Errors
    /// [`Error::Gpu`] if something exceeds the adapter's limits.
    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()>;

    /// Multiply-adds of the products in it; of a convolution those of its definition, however it is computed.
    fn macs(&self, _inputs: &[Shape]) -> u64 {
        0
    }

    /// The matrix product that it is, for which an algorithm is selected before it is recorded.
    #[doc(hidden)]
    fn problem(&self, _inputs: &[Shape]) -> Option<ConvProblem> {
        None
    }

    /// As [`Op::record`], with what the kernel does besides. `y` is the result of the last stage of the epilogue.
    ///
    /// # Errors
    /// As [`Op::record`].
    #[doc(hidden)]
    fn record_fused(&self, r: &mut Recorder, x: &[Buf], _fusion: &Fusion, y: Buf) -> Result<Handover> {
        self.record(r, x, y)?;
        Ok(Handover::default())
    }

    /// Records the vectors of [`crate::kernels::Epilogue::affine`] from the inputs.
    ///
    /// # Errors
    /// As [`Op::record`].
    #[doc(hidden)]
    fn record_affine(&self, _r: &mut Recorder, _x: &[Buf]) -> Result<Buf> {
        Err(Error::internal(format!("{} is no affine map", self.name())))
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
        let node = self.nodes.get(value.index()).filter(|_| value.graph() == self.id);
        node.ok_or_else(|| Error::internal("a value of another graph"))
    }

    /// The value whose memory this one is: itself, or what it is another shape of.
    pub(crate) fn root(&self, value: Value) -> Result<Value> {
        let node = self.node(value)?;
        match (&node.source, &node.inputs[..]) {
            (Source::Op(op), [parent]) if op.traits().is_reshape() => self.root(*parent),
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
        (0..self.nodes.len() as u32).map(move |index| Value::new(graph, index))
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
            return Err(place(error.hint("use a smaller batch or input size"), &self.layer));
        }
        let source = Source::Op(Arc::new(op));
        Ok(self.node_of(self.layer.clone(), source, inputs.to_vec(), shape))
    }

    pub(crate) fn push(&mut self, node: Node) -> Value {
        self.nodes.push(node);
        Value::new(self.id, self.nodes.len() as u32 - 1)
    }
}
