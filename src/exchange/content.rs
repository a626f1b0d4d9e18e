//! The content of a file, before its network is decided.

use super::onnx_in::Imported;
#[cfg(feature = "pth")]
use super::selection::chosen;
use super::{IdentifyOptions, OpenOptions, Renamed, onnx_out};
use crate::error::Result;
#[cfg(feature = "pth")]
use crate::weights::pth::{Averages, Pth};
use crate::weights::{Format, Metadata, OpenFile, Safetensors, onnx};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The content of a file, before its network is decided.
#[derive(Clone)]
pub(super) enum Content {
    /// Named tensors, and the metadata strings.
    Tensors(Arc<Renamed>, BTreeMap<String, String>),
    /// A graph with its tensors.
    Graph(Arc<Imported>),
}

/// The error for a file of PyTorch in a build that reads none.
#[cfg(not(feature = "pth"))]
fn without_pth() -> crate::error::Error {
    crate::error::Error::data("files of PyTorch are not read: this is built without the feature pth")
        .hint("`ocelli convert` makes a safetensors file of it")
}

impl Content {
    /// Reads an open file of any format.
    pub(super) fn of_file(file: OpenFile, options: &OpenOptions) -> Result<Self> {
        let identify = options.identify()?;
        let place = file.path().display().to_string();
        match file.format() {
            Format::Safetensors => Ok(Self::of_safetensors(file.safetensors()?, identify)),
            #[cfg(feature = "pth")]
            Format::Pth => Ok(Self::of_pth(file.pth(identify.averaged)?, identify)),
            #[cfg(not(feature = "pth"))]
            Format::Pth => Err(without_pth().at(place)),
            Format::Onnx => {
                let external = onnx::ReadOptions::default().external_data(options.external_data);
                Self::of_onnx(file.onnx(external)?, options.output).map_err(|e| e.at(place))
            }
        }
    }

    /// Reads a file in memory.
    pub(super) fn of_bytes(bytes: Vec<u8>, format: Format, options: &OpenOptions) -> Result<Self> {
        let identify = options.identify()?;
        match format {
            Format::Safetensors => Ok(Self::of_safetensors(Safetensors::parse(bytes)?, identify)),
            Format::Onnx => Self::of_onnx(onnx::File::parse(bytes.into())?, options.output),
            #[cfg(feature = "pth")]
            Format::Pth => Ok(Self::of_pth(Pth::in_memory(bytes, identify.averaged)?, identify)),
            #[cfg(not(feature = "pth"))]
            Format::Pth => Err(without_pth()),
        }
    }

    pub(super) fn of_safetensors(file: Safetensors, identify: IdentifyOptions) -> Self {
        let strings = file.strings().clone();
        // A file that Ocelli wrote says which network it is, and has the right names.
        let renamed = match Metadata::read(&strings) {
            Ok(None) => Renamed::new(Box::new(file), identify),
            _ => Renamed::without_renaming(Box::new(file)),
        };
        Self::Tensors(Arc::new(renamed), strings)
    }

    /// A checkpoint. If its keys have decided which weights are taken, the names of the tensors do not.
    #[cfg(feature = "pth")]
    fn of_pth(file: Pth, mut identify: IdentifyOptions) -> Self {
        let note = match file.averages() {
            Averages::None => None,
            Averages::Only => {
                identify.is_averaged = true;
                None
            }
            Averages::Unread { average } => {
                let form = "are in it in a form that is not read; the plain ones are taken";
                Some(format!("averaged weights ({average}) {form}").into())
            }
            Averages::Both { taken, average, plain } => {
                identify.averaged = None;
                Some(chosen(*taken, average, if plain.is_empty() { "beside them" } else { plain }))
            }
        };
        let mut renamed = Renamed::new(Box::new(file), identify);
        renamed.note(note);
        Self::Tensors(Arc::new(renamed), BTreeMap::new())
    }

    pub(super) fn of_onnx(file: onnx::File, output: Option<&str>) -> Result<Self> {
        let strings = file.metadata();
        match Imported::with_output(file.clone(), output) {
            Ok(graph) => Ok(Self::Graph(Arc::new(graph))),
            // A file that Ocelli wrote says which network it is, and its tensors have the right names. An adaptive pooling
            // that does not divide its map is written as slices and averages, which are no layer of any of the families.
            Err(_)
                if file.model().producer_name == onnx_out::PRODUCER
                    && Metadata::read(&strings)?.is_some() =>
            {
                Ok(Self::Tensors(Arc::new(Renamed::without_renaming(Box::new(file))), strings))
            }
            Err(error) => Err(error),
        }
    }
}
