//! Ocelli for JavaScript: what `ocelli.js` calls in its worker. Nothing here blocks but the arithmetic of the host.

mod device;
mod failure;
mod hash;
mod inside;
mod kernels;
mod network;
mod weights;

pub use device::Device;
pub use hash::Sha256;
pub use inside::{Filters, Inside};
pub use network::Network;
pub use weights::Weights;
