//! Writes a model tensor by tensor. A protocol buffer has the length of each message before the message, so all lengths are computed
//! first.

use crate::error::{Error, Result};
use crate::weights::onnx::proto::{Graph, Model, Tensor};
use crate::weights::{Dtype, Source, write_atomically};
use prost::{Message, encode_length_delimiter, length_delimiter_len};
use std::io::{self, Write};
use std::path::Path;

/// The size of the largest protocol buffer that readers accept.
const LARGEST: u64 = i32::MAX as u64;

/// How many numbers of a tensor are in memory at once; a whole row if it has more.
const CHUNK: usize = 1 << 20;

/// The numbers of the fields that are framed here, because [`Message`] does not encode all of their content.
mod field {
    pub const GRAPH: u8 = 7;
    pub const INITIALIZER: u8 = 5;
    pub const RAW_DATA: u8 = 9;
}

/// The bytes before the content of a field: its number and wire type, and the length.
fn field_header(field: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    // Encoding into a vector cannot fail.
    let _ = encode_length_delimiter(length, &mut bytes);
    bytes
}

/// The length of a field with its header; `None` on overflow.
fn framed(length: usize) -> Option<usize> {
    length.checked_add(1 + length_delimiter_len(length))
}

/// A tensor whose numbers are written in pieces.
struct StreamedTensor {
    /// The message without the numbers.
    header: Tensor,
    /// How many rows it has.
    rows: usize,
    /// How many numbers a row has.
    row: usize,
    /// The bytes of all numbers.
    bytes: usize,
}

impl StreamedTensor {
    /// `None` if the size overflows.
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

/// A model whose tensors are written in pieces: the messages before and behind them.
struct StreamedModel {
    /// The fields of the model before the graph.
    head: Model,
    /// The fields of the model behind the graph.
    tail: Model,
    /// The fields of the graph before the tensors.
    graph_head: Graph,
    /// The fields of the graph behind the tensors.
    graph_tail: Graph,
    tensors: Vec<StreamedTensor>,
}

impl StreamedModel {
    /// `None` if the size of a tensor overflows.
    fn new(mut model: Model, dtype: Dtype) -> Option<Self> {
        let Graph { node, name, initializer, input, output } = model.graph.take().unwrap_or_default();
        let tensors =
            initializer.into_iter().map(|t| StreamedTensor::new(t, dtype)).collect::<Option<_>>()?;
        let opset_import = std::mem::take(&mut model.opset_import);
        let metadata_props = std::mem::take(&mut model.metadata_props);
        Some(Self {
            head: model,
            tail: Model { opset_import, metadata_props, ..Model::default() },
            graph_head: Graph { node, name, ..Graph::default() },
            graph_tail: Graph { input, output, ..Graph::default() },
            tensors,
        })
    }

    /// The length of the graph; `None` if the file would be larger than readers accept.
    fn graph_length(&self) -> Option<usize> {
        let ends = self.graph_head.encoded_len().checked_add(self.graph_tail.encoded_len())?;
        let graph = self.tensors.iter().try_fold(ends, |sum, t| sum.checked_add(framed(t.length()?)?))?;
        let ends = self.head.encoded_len().checked_add(self.tail.encoded_len())?;
        let file = framed(graph)?.checked_add(ends)?;
        (file as u64 <= LARGEST).then_some(graph)
    }
}

/// Writes a model. Its initialisers have no numbers; these come from `source`.
///
/// # Errors
/// As [`super::write`].
pub(super) fn write(path: &Path, model: Model, source: &dyn Source, dtype: Dtype) -> Result<()> {
    let place = |e: Error| e.at(path.display().to_string());
    let streamed = StreamedModel::new(model, dtype).and_then(|model| Some((model.graph_length()?, model)));
    let (graph_length, model) = streamed.ok_or_else(|| {
        place(
            Error::data(
                "the file would have more than 2 GiB, and no program reads an ONNX file of that size",
            )
            .hint("write f16, or a safetensors file"),
        )
    })?;
    let mut fault = None;
    let written = write_atomically(path, |out| {
        out.write_all(&model.head.encode_to_vec())?;
        out.write_all(&field_header(field::GRAPH, graph_length))?;
        out.write_all(&model.graph_head.encode_to_vec())?;
        for tensor in &model.tensors {
            let length = tensor.length().ok_or_else(|| io::Error::other("a tensor of no size"))?;
            out.write_all(&field_header(field::INITIALIZER, length))?;
            out.write_all(&tensor.header.encode_to_vec())?;
            out.write_all(&field_header(field::RAW_DATA, tensor.bytes))?;
            tensor.write(out, source, dtype, &mut fault)?;
        }
        out.write_all(&model.graph_tail.encode_to_vec())?;
        out.write_all(&model.tail.encode_to_vec())
    });
    // The error of the source says more than that of the writer.
    fault.map_or(written, |e| Err(place(e)))
}

impl StreamedTensor {
    /// Writes the numbers, some rows at a time. An error that is not one of writing goes to `fault`.
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

/// `count` numbers as little-endian bytes.
fn encode(name: &str, numbers: &[f32], count: usize, dtype: Dtype) -> Result<Vec<u8>> {
    if numbers.len() != count {
        return Err(Error::internal(format!("{} numbers instead of {count}", numbers.len())).at(name));
    }
    dtype.encode(name, numbers)
}
