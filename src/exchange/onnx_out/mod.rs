//! Networks as ONNX files of opset 17, which any runtime of the last years takes.
//!
//! The input is `input`, normalised pixels `[batch, 3, H, W]` in f32, the output `logits` `[batch, classes]`;
//! the batch is open. Layers, batch norm too, are written as they are, and initialisers have PyTorch's names,
//! shapes and layout, so that others read the parameters by name. With the same content the bytes are the
//! same.

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

/// What a file says of who wrote it.
pub(super) const PRODUCER: &str = env!("CARGO_PKG_NAME");

/// The version of the file format that came with opset 17 (ONNX 1.12).
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

const INPUT: &str = "input";
const LOGITS: &str = "logits";

/// Writes a network as an ONNX file, as a whole or not at all. The parameters come from `source` under the
/// network's own names and in PyTorch's shapes, some rows at a time. Stored as f16 they are the file's only
/// f16: it turns them to f32 before it uses them. `metadata` becomes the model's `metadata_props`.
///
/// # Errors
/// [`Error::Usage`] if the settings do not fit the network or `dtype` is neither f32 nor f16; [`Error::Data`]
/// if `source` lacks a parameter, has one of another shape or one that the network has not, if a parameter
/// holds NaN or infinity or a number that `dtype` cannot hold, or if the file would exceed the 2 GiB of a
/// protocol buffer; otherwise those of `source`, and [`Error::Io`] and [`Error::NotFound`] if it cannot be
/// written.
pub fn write(
    path: &Path,
    arch: &Arch,
    settings: &Settings,
    source: &dyn Source,
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<()> {
    let settings = Settings { batch_size: 1, precision: Precision::F32, ..*settings };
    let network = arch.whole_network(&settings, Mode::Inference)?;
    write_network(path, arch.name, &network, source, metadata, dtype)
}

/// The same for a network that is no variant, under the name that its graph gets.
///
/// # Errors
/// As [`write()`]; [`Error::Usage`] too if a parameter is in pieces, or an operation is one that no network has
/// in inference.
pub fn write_network(
    path: &Path,
    name: &str,
    network: &Network,
    source: &dyn Source,
    metadata: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<()> {
    let place = |e: Error| e.at(path.display().to_string());
    let model = model(name, network, metadata, dtype).map_err(place)?;
    compare(source, &network.parameters).map_err(place)?;
    stream::write(path, model, source, dtype)
}

/// The parameters of the file must be those of the network; counters and other integers are none.
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

/// What [`write_network`] writes but for the numbers of the parameters: its initialisers have names and sizes
/// only.
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

/// An f32 value of the model, a picture of which has these sizes.
fn value(name: &str, sizes: &[usize]) -> ValueInfo {
    let batch = Dimension { dim_param: Some("batch".to_owned()), ..Dimension::default() };
    let size = |n: &usize| Dimension { dim_value: Some(integer(*n)), ..Dimension::default() };
    let shape = TensorShape { dim: std::iter::once(batch).chain(sizes.iter().map(size)).collect() };
    let tensor_type = Some(TensorType { elem_type: tensor::FLOAT, shape: Some(shape) });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
}

/// A size as ONNX writes it. Those of a graph are far below where this saturates.
fn integer(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
