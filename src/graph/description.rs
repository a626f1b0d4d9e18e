//! Operations as data, for exporters of a graph and for comparisons of two graphs.

use crate::kernels::ConvOptions;

/// The windows of a pooling operation, each size as `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// The size of a window.
    pub kernel: [usize; 2],
    /// The step from one window to the next.
    pub stride: [usize; 2],
    /// The padding before and after, less than the window: `[[top, bottom], [left, right]]`.
    pub pad: [[usize; 2]; 2],
    /// Whether a last window that reaches beyond the padding is included, if it starts before the end of the map.
    pub ceil: bool,
    /// Whether an average also divides by the taps in the padding. Taps beyond the padding never count.
    pub count_padding: bool,
}

/// The constants of a local response normalisation, as ONNX and PyTorch define them: `alpha` is divided by the number
/// of channels. The paper's alpha of 1e-4, which is not divided, is 5e-4 here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrnOptions {
    /// The number of channels of a window. If it is even, the window has one channel more above than below.
    pub size: usize,
    /// The weight of the mean square.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// The number that is added before the power; the paper's k.
    pub bias: f32,
}

/// An operation with its constants. Gradients and updates have no description.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Description {
    /// Converts 8-bit pixels to normalised numbers.
    Preprocess,
    /// Convolution with the inputs `x`, `w` and optionally a bias. A fully connected layer is a convolution whose
    /// kernel covers its whole input.
    Conv2d(ConvOptions),
    /// Converts the filters of a grouped convolution to filters of one group, with zeros between the groups.
    Ungroup {
        /// The number of groups of the input.
        groups: usize,
    },
    /// Keeps the numbers and changes the shape.
    Reshape,
    /// Batch normalisation with the inputs `x`, mean, gamma, beta, variance.
    BatchNorm {
        /// The number that is added to the variance.
        epsilon: f32,
    },
    /// `max(x, 0)`.
    Relu,
    /// Local response normalisation.
    Lrn(LrnOptions),
    /// The maximum of each window.
    MaxPool(PoolOptions),
    /// The average of each window.
    AveragePool(PoolOptions),
    /// The average of each window, with windows that divide the map evenly into this many rows and columns.
    AdaptiveAveragePool([usize; 2]),
    /// The sum of two values of the same shape.
    Add,
    /// Inputs `a`, `s`: `a` plus every `stride`-th row and column of `s`. The channels of `s` are centred among those
    /// of `a`.
    AddShortcut {
        /// The step between the rows and columns of `s`.
        stride: usize,
    },
    /// Concatenation along the channels.
    Concat,
}
