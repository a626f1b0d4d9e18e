//! Transformations of a graph: gradients, gradient checkpointing, and the placement of gradients in the schedule. Each
//! adds methods to [`Graph`](crate::graph::Graph).

mod checkpointing;
mod gradients;
mod placement;
