//! Transformations of a graph: gradients, activation checkpointing, and where gradients are computed. Each adds methods to
//! [`Graph`](crate::graph::Graph).

mod checkpointing;
mod gradients;
mod placement;
