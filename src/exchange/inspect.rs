//! What a file of weights holds.

use super::model_file::Content;
use super::{Model, ModelFile, OpenOptions, names};
use crate::data::Preprocessing;
use crate::error::{Error, Result};
use crate::models::Difference;
use crate::weights::{Format, Metadata, Source, onnx};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name in terms of the networks here.
    pub name: String,
    /// How its numbers lie in the file.
    pub dtype: &'static str,
    /// Sizes, slowest first.
    pub shape: Vec<usize>,
    /// The least of its finite numbers; `None` of integers, which are not read.
    pub least: Option<f32>,
    /// The greatest of its finite numbers.
    pub greatest: Option<f32>,
    /// How many of its numbers are NaN or infinite.
    pub not_finite: usize,
    /// Whether it is not of the network, and is left out.
    pub left_out: bool,
}

/// The network that a file is of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NetworkReport {
    /// The variant.
    pub name: String,
    /// Height, width and channels of the input.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// What becomes of pictures.
    pub preprocessing: Preprocessing,
    /// Whether that is only what is usual for the network.
    pub assumed: bool,
    /// Whether it can be trained.
    pub trainable: bool,
}

/// A file. Field names are those of `ocelli inspect --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The format.
    #[serde(serialize_with = "as_text")]
    pub format: Format,
    /// The size of the file.
    pub bytes: u64,
    /// Its tensors.
    pub tensors: Vec<TensorReport>,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<String>,
    /// How many numbers they have together, integers left out.
    pub numbers: u64,
    /// The network, or why it was not recognised.
    #[serde(serialize_with = "network_or_reason")]
    pub network: std::result::Result<NetworkReport, String>,
    /// The names of the graph's outputs, in ONNX.
    pub outputs: Vec<String>,
    /// The output that is taken for the classes, in ONNX.
    pub output: Option<String>,
    /// What the file says of itself.
    pub strings: BTreeMap<String, String>,
    /// How often each operator occurs, in ONNX.
    pub operators: BTreeMap<String, usize>,
}

fn as_text<S: Serializer>(format: &Format, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(format)
}

fn network_or_reason<S: Serializer>(
    network: &std::result::Result<NetworkReport, String>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Unknown<'a> {
        unknown: &'a str,
    }
    match network {
        Ok(network) => network.serialize(serializer),
        Err(reason) => Unknown { unknown: reason }.serialize(serializer),
    }
}

/// Reads all of a file and says what is in it. A file that can be read but is of no network here is no error.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Data`] if the file cannot be read, [`Error::Usage`] for a variant that there is not.
pub fn inspect(path: &Path, options: OpenOptions) -> Result<Inspection> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::from_io(&e, "read", path))?.len();
    let format = Format::of(path)?;
    let place = |e: Error| e.at(path.display().to_string());
    let (source, strings, operators, content) = look(path, format, &options)?;
    // What nobody can choose from is said at once.
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
    let opened =
        content.and_then(|content| ModelFile::of_content(format, content, options)).and_then(checked);
    let mut notes = Vec::new();
    let network = match opened {
        Ok(ModelFile { model, metadata, assumed, notes: said, .. }) => {
            notes = said;
            let Metadata { input, classes, preprocessing, .. } = metadata;
            let (name, trainable) = (model.name().to_owned(), matches!(model, Model::Arch(_)));
            Ok(NetworkReport { name, input, classes: classes.len(), preprocessing, assumed, trainable })
        }
        Err(Error::Data(report)) => Err(Error::Data(report).to_string()),
        Err(error) => return Err(error),
    };
    let (mut reports, mut numbers) = (Vec::new(), 0u64);
    let of_network = source.entries().iter().map(|(name, entry)| (name, entry, false));
    let left_out = renamed.iter().flat_map(|file| file.left_out()).map(|(name, entry)| (name, entry, true));
    for (name, entry, left_out) in of_network.chain(left_out) {
        let mut report = TensorReport {
            name: name.clone(),
            dtype: entry.dtype.name(),
            shape: entry.shape.clone(),
            least: None,
            greatest: None,
            not_finite: 0,
            left_out,
        };
        if entry.is_weights() {
            numbers = numbers.saturating_add(entry.elements() as u64);
            let source = match &renamed {
                Some(file) if left_out => file.file(),
                _ => source.as_ref(),
            };
            read(source, name, entry.rows(), &mut report).map_err(place)?;
        }
        reports.push(report);
    }
    Ok(Inspection {
        format,
        bytes,
        tensors: reports,
        notes,
        numbers,
        network,
        outputs,
        output,
        strings,
        operators,
    })
}

type Looked = (Arc<dyn Source>, BTreeMap<String, String>, BTreeMap<String, usize>, Result<Content>);

/// Tensors, strings and operators of a file, and its content as a network. Of an ONNX file the tensors as they lie there,
/// whatever becomes of its graph.
fn look(path: &Path, format: Format, options: &OpenOptions) -> Result<Looked> {
    if format == Format::Onnx {
        let file = onnx::File::open(path, options.external_data)?;
        let (strings, content) = (file.metadata(), Content::of_onnx(file.clone(), options.output));
        let operators = match &content {
            Ok(Content::Graph(graph)) => graph.operators(),
            _ => BTreeMap::new(),
        };
        return Ok((Arc::new(file), strings, operators, content));
    }
    let content = Content::of(path, format, options)?;
    Ok(match &content {
        Content::Tensors(source, strings) => (source.clone(), strings.clone(), BTreeMap::new(), Ok(content)),
        Content::Graph(graph) => (graph.clone(), graph.metadata(), graph.operators(), Ok(content)),
    })
}

/// A file that says which network it is may be wrong.
fn checked(opened: ModelFile) -> Result<ModelFile> {
    let network = opened.model.network(&opened.settings(1)).map_err(|e| Error::Data(e.report().clone()))?;
    let difference = Difference::between(&names(opened.tensors.as_ref()), &network.parameters);
    if difference.is_empty() {
        return Ok(opened);
    }
    Err(Error::data(format!("these are not the weights of {}: {difference}", opened.model.name())))
}

/// Looks at the numbers of a tensor, some rows at a time.
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
