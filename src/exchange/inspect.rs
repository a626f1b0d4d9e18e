//! A report of what a file of weights holds.

use super::content::Content;
use super::{Model, ModelFile, OpenOptions, Renamed, names};
use crate::data::Preprocessing;
use crate::error::{Error, Note, Result};
use crate::models::Difference;
use crate::weights::{Entry, Format, Metadata, OpenFile, Source, onnx};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorReport {
    /// The name in the network. If the file is no network of this crate, or the tensor is left out, the name in the file.
    pub name: String,
    /// The type of its numbers in the file.
    pub dtype: &'static str,
    /// Sizes, slowest first.
    pub shape: Vec<usize>,
    /// The least of its finite numbers; `None` for integers, which are not read.
    pub least: Option<f32>,
    /// The greatest of its finite numbers.
    pub greatest: Option<f32>,
    /// How many of its numbers are NaN or infinite.
    pub not_finite: usize,
    /// Whether it is left out, because it is not part of the network.
    pub left_out: bool,
}

/// The network of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NetworkReport {
    /// The variant.
    pub name: String,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// The preprocessing of pictures.
    pub preprocessing: Preprocessing,
    /// Whether the preprocessing is the default of the network, because neither the file nor the caller gave it.
    pub assumed: bool,
    /// Whether it can be trained.
    pub trainable: bool,
}

/// A report of a file. Field names are those of `ocelli inspect --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The format.
    #[serde(serialize_with = "as_text")]
    pub format: Format,
    /// The size of the file.
    pub bytes: u64,
    /// Its tensors.
    pub tensors: Vec<TensorReport>,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<Note>,
    /// The numbers of all tensors together, without integers.
    pub numbers: u64,
    /// The network, or why it was not recognised.
    #[serde(serialize_with = "network_or_reason")]
    pub network: Result<NetworkReport>,
    /// The names of the outputs of an ONNX graph.
    pub outputs: Vec<String>,
    /// The output of an ONNX graph that is taken for the classes.
    pub output: Option<String>,
    /// The metadata strings of the file.
    pub strings: BTreeMap<String, String>,
    /// How often each operator occurs in an ONNX graph.
    pub operators: BTreeMap<String, usize>,
}

fn as_text<S: Serializer>(format: &Format, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(format)
}

fn network_or_reason<S: Serializer>(
    network: &Result<NetworkReport>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Unknown {
        unknown: String,
    }
    match network {
        Ok(network) => network.serialize(serializer),
        Err(reason) => Unknown { unknown: reason.to_string() }.serialize(serializer),
    }
}

/// Reads a whole file and reports what it holds. A readable file that is no network of this crate is not an error.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Data`] if the file cannot be read, [`Error::Usage`] for a variant that does not exist.
pub fn inspect(path: impl AsRef<Path>, options: OpenOptions) -> Result<Inspection> {
    let path = path.as_ref();
    let place = |e: Error| e.at(path.display().to_string());
    let file = OpenFile::open(path)?;
    let (bytes, format) = (file.length(), file.format());
    let Opened { source, strings, operators, content } = Opened::read(file, &options)?;
    // A request that is not possible is an error, whatever else the file holds.
    let content = match content {
        Err(error @ Error::Usage(_)) => return Err(place(error)),
        content => content,
    };
    let (outputs, output) = match &content {
        Ok(Content::Graph(graph)) => (graph.outputs().to_vec(), Some(graph.output().to_owned())),
        _ => (Vec::new(), None),
    };
    let renamed = match &content {
        Ok(Content::Tensors(file, _)) => Some(file.clone()),
        _ => None,
    };
    let (network, notes) = network_of(format, content, options)?;
    let tensors = tensor_reports(source.as_ref(), renamed.as_deref()).map_err(place)?;
    let weights = source.entries().iter().chain(renamed.iter().flat_map(|file| file.left_out()));
    let weights = weights.filter(|(_, entry)| entry.is_weights());
    let numbers = weights.fold(0u64, |sum, (_, entry)| sum.saturating_add(entry.elements() as u64));
    Ok(Inspection { format, bytes, tensors, notes, numbers, network, outputs, output, strings, operators })
}

/// The parts of a file that a report is made of.
struct Opened {
    /// The tensors. Those of an ONNX file are as in the file, even if its graph cannot be read.
    source: Arc<dyn Source>,
    strings: BTreeMap<String, String>,
    operators: BTreeMap<String, usize>,
    /// The content as a network, or why it is none.
    content: Result<Content>,
}

impl Opened {
    fn read(file: OpenFile, options: &OpenOptions) -> Result<Self> {
        if file.format() == Format::Onnx {
            let external = onnx::ReadOptions::default().external_data(options.external_data);
            let file = file.onnx(external)?;
            let (strings, content) = (file.metadata(), Content::of_onnx(file.clone(), options.output));
            let operators = match &content {
                Ok(Content::Graph(graph)) => graph.operators(),
                _ => BTreeMap::new(),
            };
            return Ok(Self { source: Arc::new(file), strings, operators, content });
        }
        let content = Content::of_file(file, options)?;
        let (source, strings, operators): (Arc<dyn Source>, _, _) = match &content {
            Content::Tensors(source, strings) => (source.clone(), strings.clone(), BTreeMap::new()),
            Content::Graph(graph) => (graph.clone(), graph.metadata(), graph.operators()),
        };
        Ok(Self { source, strings, operators, content: Ok(content) })
    }
}

/// The network of a file, or why it was not recognised, and the notes.
fn network_of(
    format: Format,
    content: Result<Content>,
    options: OpenOptions,
) -> Result<(Result<NetworkReport>, Vec<Note>)> {
    let file = content.and_then(|content| ModelFile::of_content(format, content, options)).and_then(checked);
    match file {
        Ok(ModelFile { model, metadata, assumed, notes, .. }) => {
            let Metadata { input, classes, preprocessing, .. } = metadata;
            let (name, trainable) = (model.name().to_owned(), matches!(model, Model::Arch(_)));
            let report =
                NetworkReport { name, input, classes: classes.len(), preprocessing, assumed, trainable };
            Ok((Ok(report), notes))
        }
        Err(error @ Error::Data(_)) => Ok((Err(error), Vec::new())),
        Err(error) => Err(error),
    }
}

/// Reads all tensors of a file, those that are left out last.
fn tensor_reports(source: &dyn Source, renamed: Option<&Renamed>) -> Result<Vec<TensorReport>> {
    let of_network = source.entries().iter().map(|(name, entry)| report(source, name, entry, false));
    let left_out = renamed
        .into_iter()
        .flat_map(|file| file.left_out().iter().map(|(name, entry)| report(file.file(), name, entry, true)));
    of_network.chain(left_out).collect()
}

fn report(source: &dyn Source, name: &str, entry: &Entry, left_out: bool) -> Result<TensorReport> {
    let mut report = TensorReport {
        name: name.to_owned(),
        dtype: entry.dtype.name(),
        shape: entry.shape.clone(),
        least: None,
        greatest: None,
        not_finite: 0,
        left_out,
    };
    if entry.is_weights() {
        read(source, name, entry.rows(), &mut report)?;
    }
    Ok(report)
}

/// Compares the tensors of a file with those of its network: what the file says of its network may be wrong.
fn checked(file: ModelFile) -> Result<ModelFile> {
    let network = file.model.network(&file.settings(1)).map_err(|e| Error::Data(e.report().clone()))?;
    let difference = Difference::between(&names(file.tensors.as_ref()), &network.parameters);
    if difference.is_empty() {
        return Ok(file);
    }
    Err(Error::data(format!("these are not the weights of {}: {difference}", file.model.name())))
}

/// Reads the numbers of a tensor, some rows at a time, and counts those that are not finite.
fn read(source: &dyn Source, name: &str, rows: usize, report: &mut TensorReport) -> Result<()> {
    const AT_ONCE: usize = 1 << 22;
    let row = report.shape.iter().skip(1).product::<usize>().max(1);
    let step = (AT_ONCE / row).max(1);
    let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
    for first in (0..rows).step_by(step) {
        let numbers = source.rows(name, first..(first + step).min(rows))?;
        let finite = numbers.iter().copied().filter(|x| x.is_finite());
        report.not_finite += numbers.len() - finite.clone().count();
        (least, greatest) = finite.fold((least, greatest), |(low, high), x| (low.min(x), high.max(x)));
    }
    (report.least, report.greatest) =
        (Some(least).filter(|x| x.is_finite()), Some(greatest).filter(|x| x.is_finite()));
    Ok(())
}
