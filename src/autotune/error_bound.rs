//! The error that an algorithm may have on small integers.

use crate::kernels::{Algorithm, ConvProblem, WinogradTile};
use crate::tensor::Precision;

/// The largest integer in the operands of a verified product.
const LARGEST: f64 = 2.0;

/// The largest error of a result: a part of the number that is wanted, and the same for all numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ErrorBound {
    pub(crate) relative: f64,
    pub(crate) absolute: f64,
}

impl ErrorBound {
    /// No error.
    pub(crate) const EXACT: Self = Self { relative: 0.0, absolute: 0.0 };

    /// The bound of a product whose operands are integers from -2 to 2. Every sum is exact, except in F(4x4, 3x3), whose
    /// matrices contain roots of two. There the error bound of that algorithm applies, which is far below the effect of a
    /// lost or doubled term.
    pub(crate) fn of(problem: &ConvProblem, algorithm: Algorithm) -> Self {
        if !matches!(algorithm, Algorithm::Winograd { tile: WinogradTile::F4x4 }) {
            return Self::EXACT;
        }
        let terms = problem.terms() as f64;
        let unit = f64::from(f32::EPSILON) / 2.0;
        let absolute = 3.0 * (8.0 + 2.0 * terms.sqrt()) * unit * LARGEST * LARGEST * terms;
        // f16 rounds the stored result.
        let relative = if problem.precision == Precision::F16 { 1.0 / 2048.0 } else { 0.0 };
        Self { relative, absolute }
    }

    pub(crate) fn is_exact(self) -> bool {
        self == Self::EXACT
    }

    /// Whether a number is within the bound. NaN never is.
    pub(crate) fn allows(self, got: f64, want: f64) -> bool {
        (got - want).abs() <= self.absolute + self.relative * want.abs()
    }
}
