//! An ONNX file: decoded, checked, and its tensors by name.

use super::stored::Stored;
use super::{limits, proto};
use crate::data::open_regular;
use crate::error::{Error, Result, Untrusted};
use crate::weights::Format;
use crate::weights::other_content::other_content;
use crate::weights::{Entry, Source, entry};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The newest version of ONNX's operators (opset) that can be read (ONNX 1.23).
const NEWEST_OPSET: i64 = 28;

/// The size of the largest file in bytes: a protocol buffer has less than 2 GiB.
const MOST_BYTES: u64 = (1 << 31) - 1;

/// How an ONNX file is read.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Whether tensors may lie in other files of the file's folder.
    pub external_data: bool,
}

impl ReadOptions {
    /// Sets whether tensors may lie in other files of the file's folder. By default that is an error.
    #[must_use]
    pub const fn external_data(self, allowed: bool) -> Self {
        Self { external_data: allowed }
    }
}

/// A decoded ONNX file. Numbers are decoded when they are asked for.
#[derive(Debug, Clone)]
pub struct File {
    model: proto::Model,
    graph: proto::Graph,
    tensors: BTreeMap<String, Arc<Stored>>,
    entries: BTreeMap<String, Entry>,
    /// The folder of the file, if tensors may lie in other files there.
    folder: Option<PathBuf>,
}

/// Whether a file with these first bytes may be an ONNX model: the version of its format, then another field of
/// a model. No text has such first bytes.
pub fn is_onnx(start: &[u8]) -> bool {
    // Producer, its version, domain, version of the model, description, graph, operator sets, properties.
    const NEXT: [u8; 8] = [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72];
    matches!(start, [0x08, 1..=0x7f, next, ..] if NEXT.contains(next))
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; [`Error::Io`] if it cannot be read; [`Error::Data`] if
    /// it is no ONNX model, is damaged, or keeps tensors in other files and the options do not allow that.
    pub fn open(path: impl AsRef<Path>, options: ReadOptions) -> Result<Self> {
        let path = path.as_ref();
        let (file, length) = open_regular(path)?;
        Self::read(path, file, length, options)
    }

    /// Reads an open file of this length.
    pub(in crate::weights) fn read(
        path: &Path,
        mut file: std::fs::File,
        length: u64,
        options: ReadOptions,
    ) -> Result<Self> {
        let place = path.display().to_string();
        if length > MOST_BYTES {
            return Err(Error::data("this file is larger than the 2 GiB of an ONNX file")
                .at(place)
                .hint("a larger network has its numbers in a file beside it"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|e| Error::from_io(e, "read", path))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::decode(bytes.into(), options.external_data.then_some(folder)).map_err(|e| e.at(place))
    }

    /// Decodes a file that is in memory.
    ///
    /// # Errors
    /// [`Error::Data`] if it is no ONNX model, is damaged, or keeps tensors in other files.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        Self::decode(bytes, None)
    }

    fn decode(bytes: Bytes, folder: Option<PathBuf>) -> Result<Self> {
        let start = bytes.get(..bytes.len().min(512)).unwrap_or_default();
        if let Some(error) = other_content(start) {
            return Err(error);
        }
        if let Ok(other @ (Format::Pth | Format::Safetensors)) = Format::of_start(start) {
            return Err(Error::data(format!("this is a file of {other}, not an ONNX model")).hint(NO_MODEL));
        }
        limits::check(&bytes)?;
        let mut model = proto::Model::decode(bytes).map_err(|e| {
            Error::data(format!("this is no usable ONNX file: {e}"))
                .hint("it may be damaged; get it again")
                .with_source(e)
        })?;
        let mut graph =
            model.graph.take().ok_or_else(|| Error::data("there is no graph in it").hint(NO_MODEL))?;
        let opset = opset(&model);
        if opset > NEWEST_OPSET {
            return Err(Error::data(format!(
                "its operators are of opset {opset}, newer than {NEWEST_OPSET}"
            ))
            .hint("export the model for an older opset"));
        }
        let mut tensors = BTreeMap::new();
        for tensor in std::mem::take(&mut graph.initializer) {
            let stored = Stored::new(tensor, folder.as_deref())?;
            let name = stored.name().to_owned();
            if name.is_empty() {
                return Err(Error::data("a tensor in it has no name").hint("get it again"));
            }
            if tensors.insert(name.clone(), Arc::new(stored)).is_some() {
                return Err(Error::data("the name stands for two tensors")
                    .at(Untrusted::short(&name))
                    .hint("get it again"));
            }
        }
        let entries = tensors.iter().map(|(name, t)| (name.clone(), t.entry().clone())).collect();
        Ok(Self { model, graph, tensors, entries, folder })
    }

    /// The model without its graph.
    pub fn model(&self) -> &proto::Model {
        &self.model
    }

    /// The graph without its tensors.
    pub fn graph(&self) -> &proto::Graph {
        &self.graph
    }

    /// A tensor of the graph.
    pub fn tensor(&self, name: &str) -> Option<&Arc<Stored>> {
        self.tensors.get(name)
    }

    /// The folder of the file, if tensors may lie in other files there.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The version of ONNX's own operators (opset) of the file; 1 if the file does not say it.
    pub fn opset(&self) -> i64 {
        opset(&self.model)
    }

    /// The metadata of the file (`metadata_props`).
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.model.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone())).collect()
    }
}

fn opset(model: &proto::Model) -> i64 {
    let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    model.opset_import.iter().find(|o| own(&o.domain)).map_or(1, |o| o.version.max(1))
}

/// The tensors under the names and in the shapes of the file.
impl Source for File {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let found = entry(&self.entries, name, &rows)?;
        let row = found.elements().checked_div(found.rows()).unwrap_or(0);
        let stored =
            self.tensors.get(name).ok_or_else(|| Error::internal("there is no such tensor").at(name))?;
        stored.read(row * rows.start..row * rows.end)
    }
}

const NO_MODEL: &str = "give a model that an ONNX exporter wrote";
