//! The products of a convolution, and what the speed of each depends on.

use crate::tensor::{Precision, Shape, pad4};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a convolution moves over its input: `[height, width]` of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Step from output to output.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub pad: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl ConvOptions {
    /// The same stride and padding in both directions, one group.
    pub fn square(stride: usize, pad: usize) -> Self {
        Self { stride: [stride; 2], pad: [pad; 2], groups: 1 }
    }
}

/// Which of the three products of a convolution. Files keep the names that they had first: `y`, `dx`, `dw`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pass {
    /// The result (fprop).
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
    /// The name of its kernels.
    pub(crate) fn kernel(self) -> &'static str {
        match self {
            Self::Forward => "conv2d.y",
            Self::InputGrad => "conv2d.dx",
            Self::WeightGrad => "conv2d.dw",
        }
    }
}

/// A product of a convolution, with everything that decides how fast each algorithm computes it: the key of the algorithm cache. The
/// epilogue is not part of it, since it costs the same in every kernel; only a fused reduction does not, which some kernels lack
/// (`GemmKernel::reduced_rows`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConvProblem {
    /// Which of the three products.
    #[serde(rename = "form")]
    pub pass: Pass,
    /// `(N, H, W, C)` of the input of the convolution.
    pub x: [usize; 4],
    /// `(R, S, C/groups, K)` of its filters.
    pub w: [usize; 4],
    /// Step from output to output.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub pad: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
    /// How the activations lie in memory.
    #[serde(default)]
    pub precision: Precision,
}

impl ConvProblem {
    pub(crate) fn new(pass: Pass, x: Shape, w: Shape, options: ConvOptions) -> Self {
        let ConvOptions { stride, pad, groups } = options;
        Self { pass, x: x.dims(), w: w.dims(), stride, pad, groups, precision: x.precision() }
    }

    /// Height and width of the result of the convolution.
    pub(crate) fn map(&self) -> [usize; 2] {
        let of = |i: usize| {
            (self.x[1 + i] + 2 * self.pad[i]).saturating_sub(self.w[i]) / self.stride[i].max(1) + 1
        };
        [of(0), of(1)]
    }

    /// The products that each number of the result is the sum of.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn terms(&self) -> u64 {
        let [r, s, group_c, k] = self.w.map(|d| d as u64);
        match self.pass {
            Pass::Forward => r * s * group_c,
            Pass::InputGrad => r * s * k / self.groups.max(1) as u64,
            Pass::WeightGrad => self.pixels(),
        }
    }

    /// Pixels of the results of all pictures.
    pub(crate) fn pixels(&self) -> u64 {
        let [p, q] = self.map();
        (self.x[0] * p * q) as u64
    }

    /// Rows of c; of the gradient of the input those of one phase of the stride.
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

    /// Columns of c of one group, in `vec4`s.
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
