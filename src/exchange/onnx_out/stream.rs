//! A model written tensor by tensor: a protocol buffer says the length of a part before the part, so the
//! lengths of all are counted first.

use crate::error::{Error, Result};
use crate::weights::onnx::proto::{Graph, Model, Tensor};
use crate::weights::{Dtype, Source, write_atomically};
use prost::{Message, encode_length_delimiter, length_delimiter_len};
use std::io::{self, Write};
use std::path::Path;

/// No reader takes a larger protocol buffer.
const LARGEST: u64 = i32::MAX as u64;

/// So many numbers of a tensor are in memory at once, or a row if that has more.
const CHUNK: usize = 1 << 20;

/// The numbers of the fields whose length exceeds that of what [`Message`] encodes.
mod field {
    pub const GRAPH: u8 = 7;
    pub const INITIALIZER: u8 = 5;
    pub const RAW_DATA: u8 = 9;
}

/// The bytes before a field: its number, that a length follows, the length.
fn before(field: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    // A vector takes whatever is encoded.
    let _ = encode_length_delimiter(length, &mut bytes);
    bytes
}

/// The length of a field with what comes before it; `None` if it overflows.
fn framed(length: usize) -> Option<usize> {
    length.checked_add(1 + length_delimiter_len(length))
}

/// A tensor of which `header` is all but the numbers.
struct Numbers {
    header: Tensor,
    rows: usize,
    /// Numbers in a row.
    row: usize,
    bytes: usize,
}

impl Numbers {
    /// `None` if its size overflows.
    fn new(header: Tensor, dtype: Dtype) -> Option<Self> {
        let sizes = header.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>()?;
        let (rows, others) = sizes.split_first().map_or((1, &[][..]), |(rows, others)| (*rows, others));
        let row = others.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        let bytes = rows.checked_mul(row)?.checked_mul(dtype.bytes())?;
        Some(Self { header, rows, row, bytes })
    }

    fn length(&self) -> Option<usize> {
        self.header.encoded_len().checked_add(framed(self.bytes)?)
    }
}

/// A model in the parts between which the numbers lie.
struct Parts {
    head: Model,
    tail: Model,
    graph_head: Graph,
    graph_tail: Graph,
    numbers: Vec<Numbers>,
}

impl Parts {
    /// `None` if the size of a tensor overflows.
    fn new(mut model: Model, dtype: Dtype) -> Option<Self> {
        let Graph { node, name, initializer, input, output } = model.graph.take().unwrap_or_default();
        let numbers = initializer.into_iter().map(|t| Numbers::new(t, dtype)).collect::<Option<_>>()?;
        let opset_import = std::mem::take(&mut model.opset_import);
        let metadata_props = std::mem::take(&mut model.metadata_props);
        Some(Self {
            head: model,
            tail: Model { opset_import, metadata_props, ..Model::default() },
            graph_head: Graph { node, name, ..Graph::default() },
            graph_tail: Graph { input, output, ..Graph::default() },
            numbers,
        })
    }

    /// The length of the graph; `None` if the file would be larger than any reader takes.
    fn graph_length(&self) -> Option<usize> {
        let ends = self.graph_head.encoded_len().checked_add(self.graph_tail.encoded_len())?;
        let graph = self.numbers.iter().try_fold(ends, |sum, n| sum.checked_add(framed(n.length()?)?))?;
        let ends = self.head.encoded_len().checked_add(self.tail.encoded_len())?;
        let file = framed(graph)?.checked_add(ends)?;
        (file as u64 <= LARGEST).then_some(graph)
    }
}

/// Writes a model whose initialisers lack their numbers, which come from `source`.
///
/// # Errors
/// As [`super::write`].
pub(super) fn write(path: &Path, model: Model, source: &dyn Source, dtype: Dtype) -> Result<()> {
    let place = |e: Error| e.at(path.display().to_string());
    let parts = Parts::new(model, dtype).and_then(|parts| Some((parts.graph_length()?, parts)));
    let (graph_length, parts) = parts.ok_or_else(|| {
        place(
            Error::data(
                "the file would have more than 2 GiB, and no program reads an ONNX file of that size",
            )
            .hint("write f16, or a safetensors file"),
        )
    })?;
    let mut fault = None;
    let written = write_atomically(path, |out| {
        out.write_all(&parts.head.encode_to_vec())?;
        out.write_all(&before(field::GRAPH, graph_length))?;
        out.write_all(&parts.graph_head.encode_to_vec())?;
        for numbers in &parts.numbers {
            let length = numbers.length().ok_or_else(|| io::Error::other("a tensor of no size"))?;
            out.write_all(&before(field::INITIALIZER, length))?;
            out.write_all(&numbers.header.encode_to_vec())?;
            out.write_all(&before(field::RAW_DATA, numbers.bytes))?;
            numbers.write(out, source, dtype, &mut fault)?;
        }
        out.write_all(&parts.graph_tail.encode_to_vec())?;
        out.write_all(&parts.tail.encode_to_vec())
    });
    // What stopped the writing says more than that it stopped.
    fault.map_or(written, |e| Err(place(e)))
}

impl Numbers {
    /// Writes the numbers, some rows at a time. A fault that is none of the system's ends in `fault`.
    fn write(
        &self,
        out: &mut dyn Write,
        source: &dyn Source,
        dtype: Dtype,
        fault: &mut Option<Error>,
    ) -> io::Result<()> {
        let step = (CHUNK / self.row.max(1)).max(1);
        for start in (0..self.rows).step_by(step) {
            let rows = start..start.saturating_add(step).min(self.rows);
            let count = rows.len().saturating_mul(self.row);
            let bytes = source
                .rows(&self.header.name, rows)
                .and_then(|numbers| encode(&self.header.name, &numbers, count, dtype));
            match bytes {
                Ok(bytes) => out.write_all(&bytes)?,
                Err(error) => {
                    *fault = Some(error);
                    return Err(io::Error::other("the numbers cannot be written"));
                }
            }
        }
        Ok(())
    }
}

/// Little-endian numbers, `count` of them.
fn encode(name: &str, numbers: &[f32], count: usize, dtype: Dtype) -> Result<Vec<u8>> {
    if numbers.len() != count {
        return Err(Error::internal(format!("{} numbers instead of {count}", numbers.len())).at(name));
    }
    dtype.encode(name, numbers)
}
