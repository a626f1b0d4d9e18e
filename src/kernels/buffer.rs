//! The buffers of a recording: what a kernel sees of them.

use crate::error::{Error, Result};
use crate::gpu::BINDING_ALIGNMENT as ALIGNMENT;
use crate::tensor::{Layout, Shape, Value};
use std::ops::Range;

/// A buffer of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BufId {
    /// The memory of a value of the graph.
    Value(Value),
    /// The memory of some pictures of a value that is too large for one buffer, by number.
    Chunk(Value, u32),
    /// Memory used within one operation, by number.
    Workspace(u32),
    /// The memory of several states, by number.
    Arena(u32),
}

/// What a kernel sees of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buf {
    /// Which buffer.
    pub id: BufId,
    /// The shape of what is seen; [`Shape::nothing`] for a workspace.
    pub shape: Shape,
    /// Where it begins in the buffer, in bytes.
    pub offset: u64,
    /// Its bytes; if it is a slice of channels, those of all channels.
    pub bytes: u64,
    /// The bytes of the whole buffer.
    pub room: u64,
    /// Where in the channels of the buffer it lies, if it is a part of them.
    pub slice: Option<ChannelSlice>,
    /// Which pictures it has.
    pub batch: Batch,
}

/// A part of the channels of a wider buffer, in `vec4`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelSlice {
    /// From one pixel to the next.
    pub pitch4: u32,
    /// From the first channel of a pixel to the first one of the slice.
    pub from4: u32,
}

/// Some pictures of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The first one.
    pub first: usize,
    /// How many the whole batch has.
    pub of: usize,
    /// The pictures of each buffer where they lie in several, a power of two; 0 where they lie in one.
    pub chunk: usize,
}

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes it, possibly after reading it.
    Write,
}

impl Buf {
    pub(crate) fn new(id: BufId, shape: Shape, bytes: u64) -> Self {
        let batch = Batch { first: 0, of: shape.dims()[0], chunk: 0 };
        Self { id, shape, offset: 0, bytes, room: bytes, slice: None, batch }
    }

    /// The buffer of a value.
    pub fn of(value: Value, shape: Shape) -> Self {
        Self::new(BufId::Value(value), shape, shape.bytes())
    }

    /// The memory of an activation: several buffers where one would be larger than `limit`. Then it must be bound some
    /// pictures at a time ([`Buf::images`]).
    pub fn of_batch(value: Value, shape: Shape, limit: u64) -> Self {
        let mut whole = Self::of(value, shape);
        if whole.is_batch() && whole.bytes > limit {
            // A power of two, so that the chunks of one value are whole numbers of chunks of another one.
            whole.batch.chunk =
                limit.checked_div(whole.each()).and_then(u64::checked_ilog2).map_or(0, |bits| 1 << bits);
        }
        whole
    }

    /// The same beside values of which `images` pictures are bound at a time: in chunks of so many if it could not be bound
    /// from each of their first pictures on.
    pub fn beside_chunks_of(mut self, images: usize) -> Self {
        let begins = self.each().saturating_mul(images as u64);
        if self.is_batch() && self.shape.dims()[0] > images && !begins.is_multiple_of(ALIGNMENT) {
            self.batch.chunk = images;
        }
        self
    }

    /// Whether it is pictures, and more than one.
    fn is_batch(&self) -> bool {
        matches!(self.shape.layout(), Layout::Image | Layout::Pixels) && self.shape.dims()[0] > 1
    }

    /// The bytes of a picture.
    fn each(&self) -> u64 {
        self.bytes / self.shape.dims()[0].max(1) as u64
    }

    /// A binding may begin at every so many-th picture: a power of two.
    pub(crate) fn pictures_between_bindings(&self) -> usize {
        let begins = 1 << self.each().trailing_zeros().min(ALIGNMENT.trailing_zeros());
        (ALIGNMENT / begins) as usize
    }

    /// Some of the pictures.
    ///
    /// # Errors
    /// [`Error::Gpu`] if they do not begin where a binding may.
    pub fn images(&self, images: Range<usize>) -> Result<Self> {
        let all = self.shape.dims()[0];
        let Batch { chunk, .. } = self.batch;
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

    /// The channels from `from` on, a multiple of four, of activations in this buffer.
    pub fn channels(&self, from: usize, shape: Shape) -> Self {
        let ChannelSlice { pitch4, from4 } = self.pitch();
        Self { shape, slice: Some(ChannelSlice { pitch4, from4: from4 + (from / 4) as u32 }), ..*self }
    }

    /// Whether it is the slice of `other` that starts at channel `from`.
    pub(crate) fn is_slice_of(&self, other: &Self, from: usize) -> bool {
        let from4 = other.pitch().from4 + (from / 4) as u32;
        self.id == other.id && self.slice.is_some_and(|s| s.from4 == from4)
    }

    /// Where its activations lie.
    pub fn pitch(&self) -> ChannelSlice {
        let whole = ChannelSlice { pitch4: (self.shape.padded()[3] / 4) as u32, from4: 0 };
        self.slice.unwrap_or(whole)
    }

    /// The size of what it holds in `vec4`s.
    pub fn vec4s(&self) -> u32 {
        let bytes = if self.slice.is_some() { self.shape.bytes() } else { self.bytes };
        (bytes / (4 * self.shape.number_bytes())) as u32
    }
}

/// The pictures that can be bound at a time, of values of which some may lie in chunks: all, or as many as the smallest
/// chunk has.
pub fn chunk_ranges(bufs: &[Buf]) -> Vec<Range<usize>> {
    let smallest = bufs.iter().filter(|b| b.batch.chunk > 0).min_by_key(|b| b.batch.chunk);
    let Some(Buf { shape, batch: Batch { chunk, .. }, .. }) = smallest else {
        let all = bufs.first().map_or(0, |b| b.shape.dims()[0]);
        return std::iter::once(0..all).collect();
    };
    let [all, ..] = shape.dims();
    (0..all).step_by(*chunk).map(|first| first..all.min(first + chunk)).collect()
}
