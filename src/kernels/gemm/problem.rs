//! The matrix products of a convolution as problems: the keys of the algorithm cache.

use crate::tensor::{Precision, Shape, pad4};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Stride, padding and groups of a convolution, with `[height, width]` for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// The step from one output to the next.
    pub stride: [usize; 2],
    /// The zeros added on each side.
    pub pad: [usize; 2],
    /// The number of independent groups of channels.
    pub groups: usize,
}

impl ConvOptions {
    /// Options with equal stride and padding in both directions, and one group.
    pub fn square(stride: usize, pad: usize) -> Self {
        Self { stride: [stride; 2], pad: [pad; 2], groups: 1 }
    }
}

/// One of the three products of a convolution. Files use the names `y`, `dx` and `dw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pass {
    /// The result of the convolution (fprop).
    #[serde(rename = "y")]
    Forward,
    /// The gradient of the input (dgrad).
    #[serde(rename = "dx")]
    InputGrad,
    /// The gradient of the weights (wgrad).
    #[serde(rename = "dw")]
    WeightGrad,
}

impl Pass {
    /// The name of the kernels of this pass.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Self::Forward => "conv2d.y",
            Self::InputGrad => "conv2d.dx",
            Self::WeightGrad => "conv2d.dw",
        }
    }
}

/// A product of a convolution with everything that decides how fast each algorithm computes it: the key of the
/// algorithm cache. The epilogue is not part of it, because it costs the same in every kernel. The exception is a fused
/// reduction, which some kernels do not support (`GemmKernel::reduced_rows`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConvProblem {
    /// Which of the three products.
    #[serde(rename = "form")]
    pub pass: Pass,
    /// `(N, H, W, C)` of the convolution's input.
    pub x: [usize; 4],
    /// `(R, S, C/groups, K)` of the filters.
    pub w: [usize; 4],
    /// The step from one output to the next.
    pub stride: [usize; 2],
    /// The zeros added on each side.
    pub pad: [usize; 2],
    /// The number of independent groups of channels.
    pub groups: usize,
    /// The number format of the activations in memory.
    #[serde(default)]
    pub precision: Precision,
}

impl ConvProblem {
    pub(crate) fn new(pass: Pass, x: Shape, w: Shape, options: ConvOptions) -> Self {
        let ConvOptions { stride, pad, groups } = options;
        Self { pass, x: x.dims(), w: w.dims(), stride, pad, groups, precision: x.precision() }
    }

    /// The height and width of the convolution's result.
    pub(crate) fn map(&self) -> [usize; 2] {
        let of = |i: usize| {
            (self.x[1 + i] + 2 * self.pad[i]).saturating_sub(self.w[i]) / self.stride[i].max(1) + 1
        };
        [of(0), of(1)]
    }

    /// The number of products that are added for each number of the result.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn terms(&self) -> u64 {
        let [r, s, group_c, k] = self.w.map(|d| d as u64);
        match self.pass {
            Pass::Forward => r * s * group_c,
            Pass::InputGrad => r * s * k / self.groups.max(1) as u64,
            Pass::WeightGrad => self.pixels(),
        }
    }

    /// The number of pixels in the convolution's results of all images.
    pub(crate) fn pixels(&self) -> u64 {
        let [p, q] = self.map();
        (self.x[0] * p * q) as u64
    }

    /// The rows of c; for the input gradient, those of one phase of the stride.
    pub(crate) fn rows(&self) -> u32 {
        let rows = match self.pass {
            Pass::Forward => self.pixels() as usize,
            Pass::InputGrad => {
                self.x[0]
                    * self.x[1].div_ceil(self.stride[0].max(1))
                    * self.x[2].div_ceil(self.stride[1].max(1))
            }
            Pass::WeightGrad => self.w[0] * self.w[1] * pad4(self.w[2]),
        };
        rows as u32
    }

    /// The columns of c of one group, in `vec4`s.
    pub(crate) fn cols4(&self) -> u32 {
        let columns = match self.pass {
            Pass::Forward | Pass::WeightGrad => pad4(self.w[3]) / self.groups.max(1),
            Pass::InputGrad => pad4(self.w[2]),
        };
        (columns / 4) as u32
    }
}

impl fmt::Display for ConvProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, h, w, c] = self.x;
        let [r, s, _, k] = self.w;
        let pass = self.pass.kernel();
        write!(f, "{pass} {n}x{h}x{w}x{c} {r}x{s}x{k}")?;
        for (name, [a, b], usual) in [("stride", self.stride, 1), ("pad", self.pad, 0)] {
            match [a, b] {
                _ if [a, b] == [usual; 2] => {}
                _ if a == b => write!(f, " {name} {a}")?,
                _ => write!(f, " {name} {a}x{b}")?,
            }
        }
        if self.groups > 1 {
            write!(f, " groups {}", self.groups)?;
        }
        if self.precision == Precision::F16 {
            f.write_str(" f16")?;
        }
        Ok(())
    }
}
