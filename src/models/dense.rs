//! Networks for pictures larger than their input: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
//! Recognition", 2014 (arXiv:1409.1556), section 3.2; He et al., "Deep Residual Learning", 2015 (arXiv:1512.03385), section 4.1.

use super::builder::{Builder, MAX_PIECE_BYTES};
use super::{Arch, Frozen, Mode, Network, Settings, build_with};
use crate::error::Result;
use crate::tensor::Value;

/// The longest stride of a network that is looked for, in pixels. That of the networks here is 32 at most.
const LONGEST_STRIDE: usize = 64;

/// A network whose fully connected layers are convolutions, so that it can be built for any picture at least as large as its own input. Its
/// parameters are those of the network itself. Its logits are the mean of the map of logits.
#[derive(Debug, Clone)]
pub struct DenseNetwork {
    arch: &'static Arch,
    settings: Settings,
    /// The maps before fully connected layers and poolings at the network's own input.
    maps: Vec<[usize; 2]>,
    stride: [usize; 2],
}

impl Arch {
    /// The network as a convolutional one. `settings.size` is its own input: that of the pictures that it was trained on.
    ///
    /// # Errors
    /// Those of [`Arch::network`]; [`crate::error::Error::Usage`] if the map before the fully connected layers is averaged to another
    /// size, so that they are no convolutions.
    pub fn dense(&'static self, settings: &Settings) -> Result<DenseNetwork> {
        let (_, maps) = self.with_windows(settings, settings.size, None)?;
        let mut dense = DenseNetwork { arch: self, settings: *settings, maps, stride: [1; 2] };
        dense.stride = dense.found_stride()?;
        Ok(dense)
    }

    fn with_windows(
        &self,
        settings: &Settings,
        size: [usize; 2],
        windows: Option<Vec<[usize; 2]>>,
    ) -> Result<(Network, Vec<[usize; 2]>)> {
        let builder = Builder::new(Mode::Inference, settings.classes, MAX_PIECE_BYTES, Frozen::default());
        let builder = match windows {
            Some(windows) => builder.dense(windows),
            None => builder,
        };
        let [h, w] = size;
        build_with(builder, &Settings { size, ..*settings }, |builder: &mut Builder, x: Value| {
            (self.build)(builder, x).map_err(|e| e.at(format!("{} at {h}x{w}", self.name)))
        })
    }
}

impl DenseNetwork {
    /// Height and width of the network's own input.
    pub fn own(&self) -> [usize; 2] {
        self.settings.size
    }

    /// The pixels from one place of the map of logits to the next, in both directions.
    pub fn stride(&self) -> [usize; 2] {
        self.stride
    }

    /// The largest height and width that are not above these and that the windows of the network cover without a rest. A picture that is
    /// smaller than the network's own input is taken for one of that size.
    pub fn covered(&self, size: [usize; 2]) -> [usize; 2] {
        let of = |i: usize| {
            let (own, stride, wanted) = (self.own()[i], self.stride[i].max(1), size[i]);
            own + wanted.saturating_sub(own) / stride * stride
        };
        [of(0), of(1)]
    }

    /// The network for pictures of this height and width in batches of `settings.batch_size`: logits `(N, 1, 1, classes)`.
    ///
    /// # Errors
    /// Those of [`Arch::dense`].
    pub fn network(&self, size: [usize; 2]) -> Result<Network> {
        let (mut network, _) = self.arch.with_windows(&self.settings, size, Some(self.maps.clone()))?;
        let [_, h, w, _] = network.graph.shape(network.logits)?.dims();
        if [h, w] != [1, 1] {
            network.logits = network.graph.layer("dense").global_average_pool(network.logits)?;
        }
        Ok(network)
    }

    /// By how many pixels a picture must grow for the first of the maps to grow by one more.
    fn found_stride(&self) -> Result<[usize; 2]> {
        let mut grown: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
        for more in 1..=2 * LONGEST_STRIDE {
            let size = self.own().map(|side| side.saturating_add(more));
            let (_, maps) = self.arch.with_windows(&self.settings, size, Some(self.maps.clone()))?;
            let (Some(first), Some(own)) = (maps.first(), self.maps.first()) else { break };
            for ((grown, now), own) in grown.iter_mut().zip(first).zip(own) {
                if *now > own + grown.len() {
                    grown.push(more);
                }
            }
            if grown.iter().all(|grown| grown.len() > 1) {
                break;
            }
        }
        Ok(grown.map(|grown| match grown[..] {
            [first, second, ..] => second - first,
            _ => 1,
        }))
    }
}
