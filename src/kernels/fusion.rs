//! The fusion group as seen by the kernel of its first operation: its inputs, and what it passes to consumers.

use super::fused_reduction::{ChannelReduction, Partials};
use super::{Algorithm, Epilogue};
use crate::error::{Error, Result};

/// The most bytes of partials that are left to a consumer. For more, a separate kernel that adds them costs little
/// compared with reading them.
const MAX_DEFERRED_BYTES: u64 = 4 << 20;

/// What a kernel computes besides its own operation.
#[derive(Debug, Clone, Default)]
pub struct Fusion {
    /// The algorithm of the operation's matrix product ([`crate::graph::Op::problem`]).
    pub algorithm: Option<Algorithm>,
    /// The stages that are applied to each number before it is stored.
    pub epilogue: Epilogue,
    /// The reduction of the result that is computed while it is stored.
    pub reduction: Option<ChannelReduction>,
    /// The partials that a producer has left of the input that the operation reduces or adds.
    pub partials: Option<Partials>,
    /// Whether the only consumer of the result accepts partials of it.
    pub defers: bool,
}

impl Fusion {
    /// A fusion without other operations, for a product with this algorithm.
    pub(crate) fn by(algorithm: Algorithm) -> Self {
        Self { algorithm: Some(algorithm), ..Self::default() }
    }

    /// The algorithm of the operation's matrix product.
    pub(crate) fn algorithm(&self) -> Result<Algorithm> {
        self.algorithm.ok_or_else(|| Error::internal("a product without an algorithm"))
    }

    /// Whether these partials of the result are left to its consumer.
    pub(crate) fn leaves(&self, partials: &Partials) -> bool {
        self.defers && partials.buf.bytes <= MAX_DEFERRED_BYTES
    }
}

/// The partials that an operation passes to the consumers of its result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handover {
    /// The partials of [`Fusion::reduction`].
    pub reduced: Option<Partials>,
    /// The partials whose sum is the result. The result itself is not stored.
    pub deferred: Option<Partials>,
}
