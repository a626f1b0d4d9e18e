//! What a fusion group asks of the kernel of its first operation, and what that hands on to consumers.

use super::fused_reduction::{ChannelReduction, Partials};
use super::{Algorithm, Epilogue};
use crate::error::{Error, Result};

/// The most bytes of partials that are left to a consumer. Beyond that a second kernel that adds them costs little beside reading them.
const MAX_DEFERRED_BYTES: u64 = 4 << 20;

/// What the kernel of an operation does besides it.
#[derive(Debug, Clone, Default)]
pub struct Fusion {
    /// How the operation's product is computed ([`crate::graph::Op::problem`]).
    pub algorithm: Option<Algorithm>,
    /// What is done with each number before it is stored.
    pub epilogue: Epilogue,
    /// What is reduced of the result while it is stored.
    pub reduction: Option<ChannelReduction>,
    /// What a producer has left of the input that the operation reduces or adds up.
    pub partials: Option<Partials>,
    /// Whether the only consumer of the result adds up partials of it.
    pub defers: bool,
}

impl Fusion {
    /// Nothing besides, for a product that is computed so.
    pub(crate) fn by(algorithm: Algorithm) -> Self {
        Self { algorithm: Some(algorithm), ..Self::default() }
    }

    /// How the operation's product is computed.
    pub(crate) fn algorithm(&self) -> Result<Algorithm> {
        self.algorithm.ok_or_else(|| Error::internal("a product without an algorithm"))
    }

    /// Whether partials of the result are left to its consumer.
    pub(crate) fn leaves(&self, partials: &Partials) -> bool {
        self.defers && partials.buf.bytes <= MAX_DEFERRED_BYTES
    }
}

/// What an operation hands on to the consumers of its result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handover {
    /// Partials of [`Fusion::reduction`].
    pub reduced: Option<Partials>,
    /// Partials whose sum is the result, which itself was not stored.
    pub deferred: Option<Partials>,
}
