//! The weight gradient of a convolution: a GEMM whose k dimension is the pixels of all images.

use super::{macs, pixels, window};
use crate::error::{Error, Result};
use crate::graph::{Op, OpTraits};
use crate::kernels::gemm::dispatch::{Gemm, Params};
use crate::kernels::gemm::winograd_tiles::WinogradConv;
use crate::kernels::{
    Algorithm, Buf, ConvOptions, ConvProblem, Fusion, GemmKernel, Handover, Partials, Pass, RecordOptions,
    Recorder, Stage, chunk_ranges,
};
use crate::ops::reduce::sum;
use crate::ops::sgd::update;
use crate::tensor::Shape;
use std::ops::Range;

#[derive(Debug)]
pub(super) struct Conv2dDw {
    pub(super) options: ConvOptions,
    pub(super) to: Shape,
    /// Whether the map has one pixel, as in a fully connected layer.
    pub(super) one_pixel: bool,
}

impl Op for Conv2dDw {
    fn name(&self) -> &'static str {
        "conv2d.dw"
    }

    fn shape(&self, _inputs: &[Shape]) -> Result<Shape> {
        Ok(self.to)
    }

    fn traits(&self) -> OpTraits {
        // SGD runs in the epilogue only for maps of one pixel. With more pixels several dispatches add to the sum, and
        // the gradient is small compared with its operands.
        let epilogue: &[Stage] = if self.one_pixel { &[Stage::Update] } else { &[] };
        OpTraits { epilogue, ..OpTraits::default() }
    }

    fn problem(&self, inputs: &[Shape]) -> Option<ConvProblem> {
        let [x, _] = *inputs else { return None };
        Some(ConvProblem::new(Pass::WeightGrad, x, self.to, self.options))
    }

    fn record(&self, r: &mut Recorder, x: &[Buf], y: Buf) -> Result<()> {
        let problem = ConvProblem::new(Pass::WeightGrad, x[0].shape, self.to, self.options);
        self.record_fused(r, x, &Fusion::by(r.options().select(&problem)), y).map(|_| ())
    }

    fn record_fused(&self, r: &mut Recorder, x: &[Buf], fusion: &Fusion, y: Buf) -> Result<Handover> {
        let algorithm = fusion.algorithm()?;
        let Some(on) = fusion.epilogue.update else {
            return self.gradient_of_weights(r, x, algorithm, fusion, y);
        };
        if algorithm.kernel().is_some() {
            let (split, p) = self.split(r.options(), x, algorithm)?;
            if split.count == 1 && p.k_chunk >= p.split {
                Gemm::new(Pass::WeightGrad, split.kernel, &[]).update(r, p, [x[0], x[1]], on)?;
                return Ok(Handover::default());
            }
        }
        let dw = Buf { shape: self.to, ..r.workspace(self.to.bytes()) };
        self.gradient_of_weights(r, x, algorithm, &Fusion::default(), dw)?;
        update(r, Partials::new(dw, 1), on);
        Ok(Handover::default())
    }

    fn macs(&self, inputs: &[Shape]) -> u64 {
        macs(inputs[1], self.to)
    }
}

/// The smallest k chunk, in pixels of each split.
const LEAST_K_CHUNK: u32 = 16;

/// The division of the pixels of a weight gradient among dispatches and workgroups (split k).
struct Split {
    kernel: GemmKernel,
    /// The number of splits. Each gives a partial result; the partials are added at the end.
    count: u32,
    /// The batch, or its ranges of images if it is stored in several buffers.
    ranges: Vec<Range<usize>>,
}

impl Conv2dDw {
    /// Records the gradient without an update of the weights.
    fn gradient_of_weights(
        &self,
        r: &mut Recorder,
        x: &[Buf],
        algorithm: Algorithm,
        fusion: &Fusion,
        y: Buf,
    ) -> Result<Handover> {
        if let Algorithm::Winograd { tile } = algorithm {
            let problem = ConvProblem::new(Pass::WeightGrad, x[0].shape, self.to, self.options);
            WinogradConv::of(&problem).record_dw(r, tile, [x[0], x[1]], y)?;
            return Ok(Handover::default());
        }
        let (split, p) = self.split(r.options(), x, algorithm)?;
        if split.count == 1 {
            self.record_splits(r, x, &split, p, y)?;
            return Ok(Handover::default());
        }
        let partials = Partials::new(r.workspace(y.bytes * u64::from(split.count)), split.count);
        self.record_splits(r, x, &split, p, partials.buf)?;
        if fusion.leaves(&partials) {
            return Ok(Handover { deferred: Some(partials), reduced: None });
        }
        sum(r, partials.buf, y, partials.count, y.vec4s())?;
        Ok(Handover::default())
    }

    fn split(&self, options: &RecordOptions, x: &[Buf], algorithm: Algorithm) -> Result<(Split, Params)> {
        let (image, dy) = (x[0], x[1]);
        let ConvOptions { groups, .. } = self.options;
        let [kernel_h, kernel_w, group_c, k] = self.to.padded();
        let mut p = Params {
            rows: (kernel_h * kernel_w * group_c) as u32,
            cols4: (k / groups / 4) as u32,
            run4: (group_c / 4) as u32,
            pixels: pixels(dy.shape),
            b_pitch4: (k / 4) as u32,
            b_group_col4: (k / groups / 4) as u32,
            out4: (k / 4) as u32,
            ..window(image.shape, dy.shape, self.to, self.options)
        };
        let (kernel, splits, k_chunk) = match algorithm {
            Algorithm::SplitK { kernel, splits, k_chunk } => (kernel, splits, k_chunk),
            Algorithm::Gemm(kernel) => (kernel, 1, u32::MAX),
            Algorithm::Winograd { .. } => {
                return Err(Error::internal("Winograd's algorithm has no split of its depth"));
            }
        };
        let room = options.limits.bindable_bytes() / self.to.bytes().max(1);
        let splits = u64::from(splits).min(room.max(1));
        let ranges = chunk_ranges(&[image, dy]);
        let most = ranges.first().map_or(0, |range| (range.len() * of_image(dy)) as u64);
        p.split = most.div_ceil((splits / ranges.len() as u64).max(1)) as u32;
        if let Some(tile_k) = kernel.tile_k() {
            p.split = whole_split(most as u32, p.split, tile_k);
        }
        let k_chunks = p.split.div_ceil(k_chunk.max(LEAST_K_CHUNK)).max(1);
        // Some kernels take four pixels at a time.
        p.k_chunk = p.split.div_ceil(k_chunks).next_multiple_of(4);
        let in_range = |range| splits_of(range, dy, &p);
        let count = ranges.iter().map(in_range).sum();
        // A dispatch takes one k chunk of each split of a range.
        let most = ranges.iter().map(in_range).max().unwrap_or(1);
        let macs = [4 * p.cols4, p.groups, most].into_iter().fold(u64::from(p.rows), |n, m| n * u64::from(m));
        let allowed = options.call_macs / macs.max(1);
        if allowed < u64::from(p.k_chunk) {
            p.k_chunk = (allowed as u32).next_multiple_of(16).max(16);
        }
        Ok((Split { kernel, count, ranges }, p))
    }

    /// Records the GEMMs of all images: one partial sum per split.
    fn record_splits(
        &self,
        r: &mut Recorder,
        x: &[Buf],
        split: &Split,
        mut p: Params,
        to: Buf,
    ) -> Result<()> {
        for range in &split.ranges {
            let count = splits_of(range, x[1], &p);
            let (image, dy) = (x[0].images(range.clone())?, x[1].images(range.clone())?);
            for k_from in (0..p.split.min(pixels(dy.shape))).step_by(p.k_chunk.max(1) as usize) {
                let constants: &[_] = if k_from > 0 { &[("ADD", 1)] } else { &[] };
                let p = Params { pixels: pixels(dy.shape), k_from, ..p };
                let gemm = Gemm::new(Pass::WeightGrad, split.kernel, constants);
                gemm.store(r, p, [image, dy, dy, dy, dy, dy], to)?;
            }
            p.first_split += count;
        }
        Ok(())
    }
}

/// The pixels of a split of a kernel that reads `tile_k` pixels at a time: those that divide `pixels` into full blocks and
/// equal splits, if they are less than twice the wanted ones. Then the kernel checks no pixel.
fn whole_split(pixels: u32, wanted: u32, tile_k: u32) -> u32 {
    let least = wanted.next_multiple_of(tile_k).max(tile_k);
    let mut whole = (least..least.saturating_mul(2)).step_by(tile_k as usize);
    whole.find(|split| pixels.is_multiple_of(*split)).unwrap_or(least)
}

fn of_image(dy: Buf) -> usize {
    let [_, height, width, _] = dy.shape.dims();
    height * width
}

fn splits_of(range: &Range<usize>, dy: Buf, p: &Params) -> u32 {
    ((range.len() * of_image(dy)) as u32).div_ceil(p.split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_of_full_blocks_divide_the_pixels_where_they_can() {
        // 32 images of 56x56, by 57 splits: 56 are equal.
        assert_eq!(whole_split(100_352, 1761, 16), 1792);
        assert_eq!(whole_split(96, 40, 16), 48);
        // No split of less than twice the pixels divides them.
        assert_eq!(whole_split(97, 10, 16), 16);
        assert_eq!(whole_split(5, 5, 32), 32);
    }
}
