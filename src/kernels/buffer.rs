//! The buffers of a recording, and the views of them that kernels bind.

use crate::error::{Error, Result};
use crate::gpu::BINDING_ALIGNMENT as ALIGNMENT;
use crate::tensor::{Layout, Shape, Value};
use std::ops::Range;

/// A buffer of a recording. It has no memory until the plan assigns a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufId {
    /// The memory of a value of the graph.
    Value(Value),
    /// The memory of one chunk of images, by its number, of a value that is too large for one buffer.
    Chunk(Value, u32),
    /// Temporary memory of one operation, by its number.
    Workspace(u32),
    /// The memory of several states, by its number.
    Arena(u32),
}

/// A view of a buffer, as a kernel binds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    /// The buffer that is viewed.
    pub id: BufId,
    /// The shape of the view; [`Shape::nothing`] for a workspace.
    pub shape: Shape,
    /// The offset of the view in the buffer, in bytes.
    pub offset: u64,
    /// The size of the view in bytes. For a channel slice it is that of all channels.
    pub bytes: u64,
    /// The size of the whole buffer in bytes.
    pub room: u64,
    /// The position in the buffer's channels, if the view is a slice of them.
    pub slice: Option<ChannelSlice>,
    /// The images of the view.
    pub batch: Batch,
}

/// A slice of the channels of a wider buffer, in `vec4`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSlice {
    /// The distance from one pixel to the next.
    pub pitch4: u32,
    /// The distance from the first channel of a pixel to the first channel of the slice.
    pub from4: u32,
}

/// A range of a batch's images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The index of the first image in the batch.
    pub first: usize,
    /// The number of images of the whole batch.
    pub of: usize,
    /// The number of images in each buffer, a power of two, if the value is stored in several buffers; 0 if it is
    /// stored in one.
    pub chunk: usize,
}

/// How a kernel accesses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The kernel only reads it.
    Read,
    /// The kernel writes it, and may also read it.
    Write,
}

impl Buf {
    pub(crate) fn new(id: BufId, shape: Shape, bytes: u64) -> Self {
        let batch = Batch { first: 0, of: shape.dims()[0], chunk: 0 };
        Self { id, shape, offset: 0, bytes, room: bytes, slice: None, batch }
    }

    /// The whole buffer of a value.
    pub fn of(value: Value, shape: Shape) -> Self {
        Self::new(BufId::Value(value), shape, shape.bytes())
    }

    /// The memory of an activation. It is divided into chunks if one buffer would exceed `limit` bytes. In that case a
    /// kernel binds a range of images ([`Buf::images`]).
    pub fn of_batch(value: Value, shape: Shape, limit: u64) -> Self {
        let mut whole = Self::of(value, shape);
        if whole.is_batch() && whole.bytes > limit {
            // A power of two, so that the chunks of one value are multiples of the chunks of another.
            whole.batch.chunk =
                limit.checked_div(whole.each()).and_then(u64::checked_ilog2).map_or(0, |bits| 1 << bits);
        }
        whole
    }

    /// Returns the buffer for use in an operation that binds `images` images of another value at a time. If a binding
    /// cannot begin at each multiple of `images`, the buffer is divided into chunks of that many images.
    pub fn beside_chunks_of(mut self, images: usize) -> Self {
        let begins = self.each().saturating_mul(images as u64);
        if self.is_batch() && self.shape.dims()[0] > images && !begins.is_multiple_of(ALIGNMENT) {
            self.batch.chunk = images;
        }
        self
    }

    /// Whether the value consists of more than one image.
    fn is_batch(&self) -> bool {
        matches!(self.shape.layout(), Layout::Image | Layout::Pixels) && self.shape.dims()[0] > 1
    }

    /// The size of one image in bytes.
    fn each(&self) -> u64 {
        self.bytes / self.shape.dims()[0].max(1) as u64
    }

    /// The step between the images at which a binding may begin: a power of two.
    pub(crate) fn pictures_between_bindings(&self) -> usize {
        let begins = 1 << self.each().trailing_zeros().min(ALIGNMENT.trailing_zeros());
        (ALIGNMENT / begins) as usize
    }

    /// The view of a range of images.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the range does not begin at a valid offset for a binding, [`Error::Usage`] if there are no such
    /// images.
    pub fn images(&self, images: Range<usize>) -> Result<Self> {
        let all = self.shape.dims()[0];
        let Batch { chunk, .. } = self.batch;
        if images.start > images.end || images.end > all {
            return Err(Error::usage(format!("there are no images {images:?} of {all}")));
        }
        if images == (0..all) && chunk == 0 {
            return Ok(*self);
        }
        let each = self.each();
        let (id, start, room) = match (self.id, images.start.checked_div(chunk)) {
            (BufId::Value(value), Some(i)) => {
                let here = chunk.min(all - i * chunk) as u64;
                (BufId::Chunk(value, i as u32), images.start % chunk, each * here)
            }
            (id, _) => (id, images.start, self.room),
        };
        let offset = self.offset + each * start as u64;
        if !offset.is_multiple_of(ALIGNMENT) {
            return Err(Error::gpu(format!(
                "{:?} is computed some pictures at a time, and picture {} of it begins at byte {offset}, not at a multiple of {ALIGNMENT}",
                self.shape, images.start
            ))
            .hint("use a smaller batch (in training the gradients of several can be summed in a step) or another input size"));
        }
        let batch = Batch { first: self.batch.first + images.start, chunk: 0, ..self.batch };
        let (shape, bytes) = (self.shape.with_images(images.len()), each * images.len() as u64);
        Ok(Self { id, shape, offset, bytes, room, batch, ..*self })
    }

    /// The view of the activations that start at channel `from`, a multiple of four, and have the given shape.
    pub fn channels(&self, from: usize, shape: Shape) -> Self {
        let ChannelSlice { pitch4, from4 } = self.pitch();
        Self { shape, slice: Some(ChannelSlice { pitch4, from4: from4 + (from / 4) as u32 }), ..*self }
    }

    /// Whether the view is the slice of `other` that starts at channel `from`.
    pub(crate) fn is_slice_of(&self, other: &Self, from: usize) -> bool {
        let from4 = other.pitch().from4 + (from / 4) as u32;
        self.id == other.id && self.slice.is_some_and(|s| s.from4 == from4)
    }

    /// The pitch of a pixel and the first channel, in `vec4`s.
    pub fn pitch(&self) -> ChannelSlice {
        let whole = ChannelSlice { pitch4: (self.shape.padded()[3] / 4) as u32, from4: 0 };
        self.slice.unwrap_or(whole)
    }

    /// The size of the view's content in `vec4`s.
    pub fn vec4s(&self) -> u32 {
        let bytes = if self.slice.is_some() { self.shape.bytes() } else { self.bytes };
        (bytes / (4 * self.shape.number_bytes())) as u32
    }
}

/// The ranges of images that an operation on these values can bind together: the whole batch, or chunks of the smallest
/// size.
pub fn chunk_ranges(bufs: &[Buf]) -> Vec<Range<usize>> {
    let smallest = bufs.iter().filter(|b| b.batch.chunk > 0).min_by_key(|b| b.batch.chunk);
    let Some(Buf { shape, batch: Batch { chunk, .. }, .. }) = smallest else {
        let all = bufs.first().map_or(0, |b| b.shape.dims()[0]);
        return std::iter::once(0..all).collect();
    };
    let [all, ..] = shape.dims();
    (0..all).step_by(*chunk).map(|first| first..all.min(first + chunk)).collect()
}
