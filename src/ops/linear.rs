//! A fully connected layer: a convolution whose kernel covers the whole input, so it has no kernel of its own.

use crate::error::Result;
use crate::graph::Graph;
use crate::kernels::ConvOptions;
use crate::tensor::{Precision, Shape, Value, pad4};

impl Graph {
    /// `x` `(N, H, W, C)` times filters `w` `(H, W, C, K)` plus an optional bias `(K)`: `(N, 1, 1, K)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the filters are not of the size of `x`.
    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        let stores = self.shape(x)?.precision();
        self.fully_connected(x, w, bias, stores)
    }

    /// The same stored in f32 whatever `x` is in: the logits of a classifier, of which a loss is computed.
    ///
    /// # Errors
    /// As [`Graph::linear`].
    pub fn logits(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        self.fully_connected(x, w, bias, Precision::F32)
    }

    fn fully_connected(
        &mut self,
        x: Value,
        w: Value,
        bias: Option<Value>,
        stores: Precision,
    ) -> Result<Value> {
        let [n, h, width, c] = crate::graph::image("linear", self.shape(x)?)?;
        let [r, s, _, k] = crate::graph::layout("linear", self.shape(w)?, crate::tensor::Layout::Filter)?;
        if [h, width] != [r, s] || c != self.shape(w)?.dims()[2] {
            return Err(crate::error::Error::usage(format!(
                "a fully connected layer with weights {} meets a map of {h}x{width}x{c}",
                self.shape(w)?
            ))
            .hint("use the input size that the weights were made for"));
        }
        let (mut x, mut w) = (x, w);
        if h * width > 1 {
            // A map of one pixel with all the numbers as channels: plain products in all three directions.
            let inputs = h * width * pad4(c);
            x = self.reshape(x, Shape::image(n, 1, 1, inputs).stored_as(self.shape(x)?.precision()))?;
            w = self.reshape(w, Shape::filter(1, 1, inputs, k))?;
        }
        self.convolution(x, w, bias, ConvOptions::square(1, 0), "linear", stores)
    }
}
