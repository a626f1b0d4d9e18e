//! Transformations of a graph: gradients, gradient checkpointing, and the placement of gradients in the schedule. Each
//! adds methods to [`Graph`](crate::graph::Graph).

mod backward_rule;
mod checkpointing;
mod gradients;
mod placement;

pub use backward_rule::BackwardRule;
