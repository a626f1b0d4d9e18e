//! Export of networks as ONNX files of opset 17.
//!
//! The input is `input`: normalised pixels `[batch, 3, H, W]` in f32. The output is `logits`: `[batch, classes]`. The size of the
//! batch is open. Each layer becomes a node; batch norm is not folded. Initialisers have PyTorch's names, shapes and layout, so that
//! other programs can read the parameters by name. The same content gives the same bytes.

mod network;
mod nodes;
mod pooling;
mod stream;

use crate::error::{Error, Result};
use crate::models::{Arch, Difference, Mode, Network, Parameter, Settings};
use crate::tensor::Precision;
use crate::weights::onnx::proto::{
    Dimension, Graph, KeyValue, Model, OperatorSet, Tensor, TensorShape, TensorType, Type, ValueInfo, tensor,
};
use crate::weights::{Dtype, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// The producer in the files that are written.
pub(super) const PRODUCER: &str = env!("CARGO_PKG_NAME");

/// The version of the file format that came with opset 17 (ONNX 1.12).
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

const INPUT: &str = "input";
const LOGITS: &str = "logits";

/// What an ONNX file holds besides the nodes. Its fields may grow: set those you need and take the rest from [`Content::new`].
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// The parameters under the names of the network and in PyTorch's shapes. They are read some rows at a time.
    pub source: &'a dyn Source,
    /// Strings for the `metadata_props` of the model.
    pub metadata: &'a BTreeMap<String, String>,
    /// The type of the parameters in the file: f32 or f16. A model with f16 parameters casts them to f32 before it uses them.
    pub dtype: Dtype,
}

static NO_METADATA: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Content<'a> {
    /// Parameters of this type, and no metadata.
    pub fn new(source: &'a dyn Source, dtype: Dtype) -> Self {
        Self { source, metadata: &NO_METADATA, dtype }
    }
}

/// Writes a network as an ONNX file. The file is written completely or not at all.
///
/// # Errors
/// [`Error::Usage`] if the settings do not fit the network or the type is neither f32 nor f16; [`Error::Data`]
/// if the source lacks a parameter, has one of another shape or one that the network does not have, if a parameter
/// holds NaN or infinity or a number that does not fit the type, or if the file would exceed the 2 GiB of a
/// protocol buffer; the errors of the source; [`Error::Io`] and [`Error::NotFound`] if the file cannot be
/// written.
pub fn write(path: impl AsRef<Path>, arch: &Arch, settings: &Settings, content: Content) -> Result<()> {
    let settings = Settings { batch_size: 1, precision: Precision::F32, ..*settings };
    let network = arch.whole_network(&settings, Mode::Inference)?;
    write_network(path, arch.name, &network, content)
}

/// Writes a network that is no variant. `name` becomes the name of the graph.
///
/// # Errors
/// As [`write()`]; [`Error::Usage`] too if a parameter is in pieces, or an operation occurs in training only.
pub fn write_network(path: impl AsRef<Path>, name: &str, network: &Network, content: Content) -> Result<()> {
    let path = path.as_ref();
    let place = |e: Error| e.at(path.display().to_string());
    let Content { source, metadata, dtype } = content;
    let model = model(name, network, metadata, dtype).map_err(place)?;
    compare(source, &network.parameters).map_err(place)?;
    stream::write(path, model, source, dtype)
}

/// Checks that the tensors of the source are the parameters of the network. Integers are ignored.
fn compare(source: &dyn Source, parameters: &[Parameter]) -> Result<()> {
    let entries = source.entries().iter().filter(|(_, e)| !matches!(e.dtype, Dtype::Integer(_)));
    let names = entries.map(|(name, e)| (name.clone(), e.shape.clone())).collect();
    let difference = Difference::between(&names, parameters);
    if difference.is_empty() {
        return Ok(());
    }
    Err(Error::data(format!("these are not the weights of this network: {difference}"))
        .hint("give the network they were made for, and its number of classes"))
}

/// The model that [`write_network`] writes, without the numbers of the parameters: the initialisers have names and sizes only.
///
/// # Errors
/// [`Error::Usage`] as [`write_network`].
pub fn model(
    name: &str,
    network: &Network,
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<Model> {
    let data_type = match dtype {
        Dtype::F32 => tensor::FLOAT,
        Dtype::F16 => tensor::FLOAT16,
        other => {
            return Err(Error::usage(format!("an ONNX file of {} cannot be written", other.name()))
                .hint("f32 and f16 can"));
        }
    };
    if let Some(piece) = network.parameters.iter().find(|p| !p.is_whole()) {
        return Err(Error::usage("a parameter in pieces cannot be written")
            .at(piece.key())
            .hint("build the network with Arch::whole_network"));
    }
    let [_, h, w, _] = network.graph.shape(network.pixels)?.dims();
    let [.., classes] = network.graph.shape(network.logits)?.dims();
    let header = |p: &Parameter| Tensor {
        dims: p.torch_shape.iter().copied().map(integer).collect(),
        data_type,
        name: p.name.clone(),
        ..Tensor::default()
    };
    let graph = Graph {
        node: network::nodes(network, data_type != tensor::FLOAT)?,
        name: name.to_owned(),
        initializer: network.parameters.iter().map(header).collect(),
        input: vec![value(INPUT, &[3, h, w])],
        output: vec![value(LOGITS, &[classes])],
    };
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: PRODUCER.to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: metadata
            .iter()
            .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        ..Model::default()
    })
}

/// An f32 value of the model. `sizes` are those behind the batch.
fn value(name: &str, sizes: &[usize]) -> ValueInfo {
    let batch = Dimension { dim_param: Some("batch".to_owned()), ..Dimension::default() };
    let size = |n: &usize| Dimension { dim_value: Some(integer(*n)), ..Dimension::default() };
    let shape = TensorShape { dim: std::iter::once(batch).chain(sizes.iter().map(size)).collect() };
    let tensor_type = Some(TensorType { elem_type: tensor::FLOAT, shape: Some(shape) });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
}

/// A size as a number of the protocol buffer. Sizes of a graph are far below the limit at which this saturates.
fn integer(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
