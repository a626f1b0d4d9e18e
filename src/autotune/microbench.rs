//! Microbenchmarks: a graph with a single product, to verify or measure an algorithm.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::kernels::{ConvOptions, ConvProblem, Pass};
use crate::tensor::{Shape, Value};

/// The sizes of a product that is verified: more than one tile of every kernel in each direction, and not a multiple of
/// the tile.
const CHECKED_PIXELS: usize = 13;
/// The least number of pixels of a result that is measured, if the network has as many. With fewer, tiles would be
/// emptier than in the network.
const MEASURED_PIXELS: usize = 4096;
const CHECKED_ROWS: usize = 150;
const CHECKED_CHANNELS: [usize; 2] = [68, 132];

/// The graph of one product. Its operands are states, so that several sessions can share them.
pub(crate) struct Microbench {
    pub(crate) graph: Graph,
    pub(crate) operands: [Value; 3],
    pub(crate) result: Value,
}

impl ConvProblem {
    /// The problem with another number of images.
    pub(crate) fn with_images(self, n: usize) -> Self {
        let [_, h, w, c] = self.x;
        Self { x: [n, h, w, c], ..self }
    }

    /// The least number of images for a measurement.
    pub(crate) fn fewest_images(&self) -> usize {
        let [p, q] = self.map();
        self.x[0].min(MEASURED_PIXELS.div_ceil(p * q))
    }

    /// The problem reduced to sizes that take hardly any time.
    pub(crate) fn cut_down(self) -> Self {
        let [n, h, w, c] = self.x;
        let [r, s, group_c, k] = self.w;
        let [most_c, most_k] = CHECKED_CHANNELS;
        let size = |size: usize, kernel: usize, i: usize| {
            let enough = ((CHECKED_PIXELS - 1) * self.stride[i] + kernel).saturating_sub(2 * self.pad[i]);
            size.min(enough.max(1))
        };
        // Keep whole groups. If there are several, each has a multiple of four channels.
        let groups = self.groups.clamp(1, 2);
        let (group_c, k) = match self.groups {
            0 | 1 => (c.min(most_c), k.min(most_k)),
            all => (group_c.min(most_c), groups * (k / all).min(most_k)),
        };
        let cut = Self {
            x: [n, size(h, r, 0), size(w, s, 1), groups * group_c],
            w: [r, s, group_c, k],
            groups,
            ..self
        };
        let [p, q] = cut.map();
        cut.with_images(n.min(CHECKED_ROWS.div_ceil(p * q)))
    }

    /// The graph that computes the product.
    pub(crate) fn microbench(&self) -> Result<Microbench> {
        let [n, h, w, c] = self.x;
        let [r, s, group_c, k] = self.w;
        let [p, q] = self.map();
        let mut graph = Graph::new();
        let x = graph.state("x", Shape::image(n, h, w, c).stored_as(self.precision));
        let weights = graph.state("w", Shape::filter(r, s, group_c, k));
        let dy = graph.state("dy", Shape::image(n, p, q, k).stored_as(self.precision));
        let options = ConvOptions { stride: self.stride, pad: self.pad, groups: self.groups };
        let y = graph.conv2d(x, weights, None, options)?;
        let result = match self.pass {
            Pass::Forward => y,
            Pass::InputGrad | Pass::WeightGrad => {
                let with_respect_to = if self.pass == Pass::InputGrad { x } else { weights };
                let gradients = graph.gradients(y, dy, &[with_respect_to])?;
                let gradient = gradients.into_iter().next().flatten();
                gradient.ok_or_else(|| Error::internal("a product without a gradient"))?
            }
        };
        Ok(Microbench { graph, operands: [x, weights, dy], result })
    }
}
