//! A fully connected layer: a convolution whose kernel covers the whole input, so it has no kernel of its own.

use super::ConvOptions;
use crate::error::Result;
use crate::graph::{Graph, Value};

impl Graph {
    /// `x` `(N, H, W, C)` times filters `w` `(H, W, C, K)` plus an optional bias `(K)`: `(N, 1, 1, K)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the filters are not of the size of `x`.
    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        let [_, h, width, _] = super::image("linear", self.shape(x)?)?;
        let [r, s, ..] = super::layout("linear", self.shape(w)?, crate::graph::Layout::Filter)?;
        if [h, width] != [r, s] {
            return Err(crate::error::Error::usage(format!(
                "a fully connected layer made for maps of {r}x{s} meets one of {h}x{width}"
            ))
            .cure("use the input size that the weights were made for"));
        }
        self.convolution(x, w, bias, ConvOptions::square(1, 0), "linear")
    }
}
