//! The computation as data: values, and the operations that compute them.
//!
//! A model function builds a [`Graph`]. [`Graph::gradients`] appends the operations of the gradient to it. The
//! optimiser's updates are operations too. The graph does not run anything: a plan converts it to GPU work.

mod description;
#[allow(clippy::module_inception, reason = "the file of the type is called by its name")]
mod graph;
pub mod op;
mod op_traits;
mod print;

pub use description::{Description, LrnOptions, PoolOptions};
pub use graph::{Graph, Kind, Node, Op, Source};
pub(crate) use op::{arity, floats, image, layout, same, single};
pub(crate) use op_traits::Reduces;
pub use op_traits::{Inputs, OpTraits, Storage};
