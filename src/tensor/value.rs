//! The name of a tensor in a graph.

/// A value of a graph: the result of one of its nodes. It belongs to the graph that made it and to the clones of that graph; every
/// other graph refuses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    index: u32,
    graph: u32,
}

impl Value {
    /// The value of node `index` of the graph with this number.
    pub(crate) const fn new(graph: u32, index: u32) -> Self {
        Self { index, graph }
    }

    /// The position of its node in `Graph::nodes`.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The number of its graph; 0 of [`Value::default`], which is of none.
    pub(crate) const fn graph(self) -> u32 {
        self.graph
    }
}
