//! Fully connected layers: convolutions whose filters cover the whole input. They have no shader of their own.

use crate::error::Result;
use crate::graph::Graph;
use crate::kernels::ConvOptions;
use crate::tensor::{Precision, Shape, Value, pad4};

impl Graph {
    /// `x` `(N, H, W, C)` times filters `w` `(H, W, C, K)` plus an optional bias `(K)`: `(N, 1, 1, K)`.
    ///
    /// # Errors
    /// [`crate::error::Error::Usage`] if the height, width and channels of the filters are not those of `x`.
    pub fn linear(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        let stores = self.shape(x)?.precision();
        self.fully_connected(x, w, bias, stores)
    }

    /// Like [`Graph::linear`], but the result is f32 for every precision of `x`: the logits, from which the loss is
    /// computed.
    ///
    /// # Errors
    /// Those of [`Graph::linear`].
    pub fn logits(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        self.fully_connected(x, w, bias, Precision::F32)
    }

    /// A fully connected layer over every window of a map that is as large as its filters `(R, S, C, K)`: a convolution, `(N, H-R+1,
    /// W-S+1, K)`.
    pub(crate) fn linear_of_windows(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        let stores = self.shape(x)?.precision();
        self.convolution(x, w, bias, ConvOptions::square(1, 0), "linear", stores)
    }

    /// Like [`Graph::linear_of_windows`], but the result is f32 for every precision of `x`.
    pub(crate) fn logits_of_windows(&mut self, x: Value, w: Value, bias: Option<Value>) -> Result<Value> {
        self.convolution(x, w, bias, ConvOptions::square(1, 0), "linear", Precision::F32)
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
            // As a map of one pixel with H W C channels, all three passes are plain GEMMs.
            let inputs = h * width * pad4(c);
            x = self.reshape(x, Shape::image(n, 1, 1, inputs).stored_as(self.shape(x)?.precision()))?;
            w = self.reshape(w, Shape::filter(1, 1, inputs, k))?;
        }
        self.convolution(x, w, bias, ConvOptions::square(1, 0), "linear", stores)
    }
}
