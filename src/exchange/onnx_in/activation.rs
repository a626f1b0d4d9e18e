//! Values that depend on the input. Exporters write some layers as several small operators. So selections of channels, strides, padding and
//! reshapes are recorded here, and become layers only when an operator reads the result.

use super::axis::{Axis, MAP};
use super::node::DAMAGED;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::ops::ConvOptions;
use crate::tensor::Value;
use std::sync::Arc;

/// A value of the file: `base` with, in this order, mapped channels, a stride, padding and a shape.
#[derive(Debug, Clone)]
pub(super) struct Activation {
    pub(super) base: Base,
    /// Height, width and channels of the base.
    pub(super) map: [usize; 3],
    /// How the channels are computed from those of the base; `None` if they are the same.
    pub(super) channels: Option<Channels>,
    /// The stride: every n-th row and column is kept, from the first on.
    pub(super) step: [usize; 2],
    /// The padding with zeros: `[[top, bottom], [left, right]]`.
    pub(super) pad: [[usize; 2]; 2],
    /// The sizes in the file behind the batch: `[C, H, W]`, `[H, W, C]`, or what a reshape made of them.
    pub(super) tail: Vec<usize>,
    /// Whether the order in the file is `[H, W, C]`, as in TensorFlow. The order in memory here is the same for both.
    pub(super) last: bool,
    /// Whether the batch and the pixels are one size and the channels the other, as TensorFlow reshapes them for a matrix product of each
    /// pixel.
    pub(super) together: bool,
    /// Whether all numbers are at least 0.
    pub(super) nonnegative: bool,
    /// Whether a softmax, or the sigmoid of a single output, was left out. No operator may follow then.
    pub(super) softmax: bool,
}

/// What an activation is computed from.
#[derive(Debug, Clone)]
pub(super) enum Base {
    Value(Value),
    /// A product that is not in the graph yet, because a bias may follow.
    Product(Arc<Product>),
}

/// A convolution or a fully connected layer.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) layer: String,
    pub(super) x: Value,
    pub(super) weight: Weight,
    pub(super) bias: Option<Weight>,
    /// `None` for a fully connected layer.
    pub(super) convolution: Option<ConvOptions>,
}

/// Channels that are multiples of other channels plus a constant.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    /// For each channel: the channel of the base, if there is one, the factor and the summand.
    pub(super) of: Vec<(Option<usize>, f64, f64)>,
    /// The constant that was added, if nothing else was done.
    pub(super) added: Option<Weight>,
}

impl Channels {
    /// The unchanged channels of a base with this many.
    pub(super) fn of_base(count: usize) -> Self {
        Self { of: (0..count).map(|c| (Some(c), 1.0, 0.0)).collect(), added: None }
    }

    /// Whether each channel is the same channel of the base, scaled and shifted.
    pub(super) fn in_place(&self, count: usize) -> bool {
        self.of.len() == count && self.of.iter().enumerate().all(|(i, (c, ..))| *c == Some(i))
    }

    /// Whether each channel is the same channel of the base, shifted.
    pub(super) fn only_adds(&self, count: usize) -> bool {
        self.in_place(count) && self.of.iter().all(|(_, scale, _)| *scale == 1.0)
    }
}

impl Activation {
    /// An unchanged value of the graph.
    pub(super) fn new(value: Value, map: [usize; 3]) -> Self {
        Self::of(Base::Value(value), map)
    }

    pub(super) fn of(base: Base, map: [usize; 3]) -> Self {
        let [h, w, c] = map;
        let tail = vec![c, h, w];
        Self {
            base,
            map,
            channels: None,
            step: [1; 2],
            pad: [[0; 2]; 2],
            tail,
            last: false,
            together: false,
            nonnegative: false,
            softmax: false,
        }
    }

    /// Height, width and channels in the file.
    pub(super) fn sizes(&self) -> [usize; 3] {
        let [h, w, c] = self.map;
        let along = |size: usize, i: usize| {
            let [before, after] = self.pad.get(i).copied().unwrap_or_default();
            size.div_ceil(self.step.get(i).copied().unwrap_or(1).max(1))
                .saturating_add(before)
                .saturating_add(after)
        };
        [along(h, 0), along(w, 1), self.channels.as_ref().map_or(c, |c| c.of.len())]
    }

    /// Whether the shape is that of a map, so that an operator over pixels can read it.
    pub(super) fn is_map(&self) -> bool {
        self.axes().as_deref() == Some(MAP)
    }

    /// Whether it has a single pixel, so that its numbers are its channels.
    pub(super) fn is_vector(&self) -> bool {
        let [h, w, _] = self.sizes();
        (h, w) == (1, 1)
    }

    /// How many numbers there are for one picture.
    ///
    /// # Errors
    /// [`Error::Data`] on overflow.
    pub(super) fn numbers(&self) -> Result<usize> {
        super::constant::elements(&self.tail)
    }

    /// Height, width and channels of a map.
    ///
    /// # Errors
    /// [`Error::Data`] if it was reshaped to something other than a map.
    pub(super) fn as_map(&self) -> Result<[usize; 3]> {
        if self.is_map() {
            return Ok(self.sizes());
        }
        let what = format!("its input has the sizes {:?} behind the batch", self.tail);
        Err(match self.axes() {
            Some(axes) if axes.last() == Some(&Axis::Channel) && axes.len() > 1 => {
                Error::data(format!("{what}, of which the last counts channels, not the first"))
            }
            _ => Error::data(format!("{what}, not those of a map")),
        }
        .hint(DAMAGED))
    }

    /// Reshapes it. `tail` are the sizes behind the batch.
    ///
    /// # Errors
    /// [`Error::Data`] if the shape is neither that of the map nor all numbers in a row.
    pub(super) fn shaped(mut self, tail: Vec<usize>) -> Result<Self> {
        let long = |sizes: &[usize]| sizes.iter().copied().filter(|d| *d != 1).collect::<Vec<_>>();
        let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let [h, w, c] = self.sizes();
        let map = if self.last { [h, w, c] } else { [c, h, w] };
        // Rows and columns as one size.
        let pixels = h.saturating_mul(w);
        let rows = if self.last { [pixels, c] } else { [c, pixels] };
        if count(&tail) != count(&map) {
            return Err(Error::data(format!("{map:?} cannot have the sizes {tail:?}"))
                .hint("use the input size that the network was made for"));
        }
        let (given, own) = (long(&tail), long(&map));
        if given != own && given != long(&rows) && given.len() > 1 {
            return Err(Error::data(format!(
                "its map {map:?} becomes {tail:?}, which mixes channels and pixels"
            ))
            .hint("only a map, its pixels in a row, or all of its numbers in a row, can be read"));
        }
        self.tail = tail;
        Ok(self)
    }

    /// Replaces the channels.
    ///
    /// # Errors
    /// [`Error::Data`] if it was reshaped, or if its padding would not remain zero.
    pub(super) fn with_channels(mut self, channels: Channels) -> Result<Self> {
        if self.pad != [[0; 2]; 2] && channels.of.iter().any(|(_, _, shift)| *shift != 0.0) {
            return Err(Error::data("a number is added to the zeros around a map")
                .hint("only convolution and pooling can follow a padding"));
        }
        let axes = self.axes();
        let same = channels.of.len() == self.sizes()[2];
        self.channels = Some(channels);
        match axes {
            Some(axes) => self.lies(&axes),
            None if same => {}
            None => {
                return Err(
                    Error::data(format!("channels are taken from the sizes {:?}", self.tail)).hint(DAMAGED)
                );
            }
        }
        self.nonnegative = false;
        Ok(self)
    }

    /// The current channels.
    pub(super) fn channels(&self) -> Channels {
        let [.., c] = self.map;
        self.channels.clone().unwrap_or_else(|| Channels::of_base(c))
    }

    /// Scales and shifts each channel.
    ///
    /// # Errors
    /// As [`Activation::with_channels`].
    pub(super) fn scaled(self, scale: &[f64], shift: &[f64], added: Option<Weight>) -> Result<Self> {
        let before = self.channels.is_none();
        let mut channels = self.channels();
        let at = |numbers: &[f64], i: usize| numbers.get(i).or(numbers.first()).copied().unwrap_or(0.0);
        for (i, (_, times, plus)) in channels.of.iter_mut().enumerate() {
            *times *= at(scale, i);
            *plus = *plus * at(scale, i) + at(shift, i);
        }
        channels.added = added.filter(|_| before);
        self.with_channels(channels)
    }
}
