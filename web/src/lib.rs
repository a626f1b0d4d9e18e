//! Ocelli for JavaScript: what `ocelli.js` calls in its worker. Nothing here blocks but the arithmetic of the host.

mod activations;
mod device;
mod explain;
mod failure;
mod hash;
mod kernels;
mod network;
mod weights;

pub use activations::{ActivationRecorder, Filters};
pub use device::Device;
pub use explain::{Explained, Explainer};
pub use hash::Sha256;
pub use network::Network;
pub use weights::Weights;
