//! What an operation of a network computes, as data: for those who write a graph down in another form or compare two of
//! them.

use super::{ConvOptions, LrnOptions, PoolOptions};

/// The operation and its constants. Gradients and updates have no description.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Description {
    /// 8-bit pixels to numbers.
    Preprocess,
    /// Inputs `x`, `w` and possibly a bias. A fully connected layer is one that covers its whole input.
    Conv2d(ConvOptions),
    /// Filters of groups as filters of one group, with zeros between them.
    Ungroup {
        /// The number of groups before.
        groups: usize,
    },
    /// The same numbers under another shape.
    Reshape,
    /// Inputs `x`, mean, gamma, beta, variance.
    BatchNorm {
        /// What is added to the variance.
        epsilon: f32,
    },
    /// The larger of x and 0.
    Relu,
    /// Local response normalisation.
    Lrn(LrnOptions),
    /// The maximum of each window.
    MaxPool(PoolOptions),
    /// The average of each window.
    AveragePool(PoolOptions),
    /// The average over windows that cover the map evenly.
    AdaptiveAveragePool([usize; 2]),
    /// The sum of two values of one shape.
    Add,
    /// Inputs `a`, `s`: `a` plus every `stride`-th row and column of `s`, its channels in the middle.
    AddShortcut {
        /// The step over `s`.
        stride: usize,
    },
    /// Side by side along the channels.
    Concat,
}
