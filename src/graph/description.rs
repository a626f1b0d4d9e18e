//! Operations as data, for those who write a graph down in another form or compare two of them.

use crate::kernels::ConvOptions;

/// The windows of a pooling: `[height, width]` of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Step from window to window.
    pub stride: [usize; 2],
    /// Padding before and after, less than the window: `[[top, bottom], [left, right]]`.
    pub pad: [[usize; 2]; 2],
    /// Whether a last window that reaches beyond the padding counts, as long as it starts before the end of the map.
    pub ceil: bool,
    /// Whether an average divides by the taps in the padding too. Taps beyond the padding never count.
    pub count_padding: bool,
}

/// The constants of a local response normalisation, as ONNX and PyTorch name them: `alpha` is divided by the number
/// of channels. The paper's alpha of 1e-4, which is not divided, is 5e-4 here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrnOptions {
    /// Channels of a window; of an even number the larger part lies above.
    pub size: usize,
    /// Weight of the mean square.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// What is added before the power; the paper's k.
    pub bias: f32,
}

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
