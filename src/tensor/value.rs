//! The handle of a tensor in a graph.

/// A value of a graph: the result of one of its nodes. It is valid for the graph that created it and for clones of that
/// graph. Other graphs return an error for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    index: u32,
    graph: u32,
}

impl Value {
    /// The value of node `index` of the graph with the number `graph`.
    pub(crate) const fn new(graph: u32, index: u32) -> Self {
        Self { index, graph }
    }

    /// The index of its node in `Graph::nodes`.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The number of its graph; 0 for [`Value::default`], which belongs to no graph.
    pub(crate) const fn graph(self) -> u32 {
        self.graph
    }
}
