//! A file of weights of any format, and the network of these weights.

use super::content::Content;
use super::default_preprocessing::default_for_graph;
use super::onnx_in::{Imported, Variant};
use super::options::check_average;
use super::{OpenOptions, PreprocessingChange, Renamed, default_preprocessing, fold_transform};
use crate::data::{Normalization, Preprocessing};
use crate::error::{Error, Note, Result};
use crate::models::{Arch, Found, Mode, Network, Settings};
use crate::tensor::Precision;
use crate::weights::{Format, Metadata, OpenFile, Safetensors, Source, numbered};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The network of a file.
#[derive(Clone)]
#[non_exhaustive]
pub enum Model {
    /// A variant of this crate.
    Arch(&'static Arch),
    /// The graph of an ONNX file that is no variant of this crate.
    Imported(Arc<Imported>),
}

impl Model {
    /// The name of the variant, or "an ONNX graph".
    pub fn name(&self) -> &str {
        match self {
            Self::Arch(arch) => arch.name,
            Self::Imported(_) => "an ONNX graph",
        }
    }

    /// The variant. Only variants of this crate can be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] for a graph that is no variant.
    pub fn trainable(&self) -> Result<&'static Arch> {
        match self {
            Self::Arch(arch) => Ok(arch),
            Self::Imported(_) => {
                Err(Error::usage("this ONNX graph is none of the networks here, which can be trained")
                    .hint("`ocelli show` lists them"))
            }
        }
    }

    /// The graph of the network for inference.
    ///
    /// # Errors
    /// As [`Arch::network`].
    pub fn network(&self, settings: &Settings) -> Result<Network> {
        match self {
            Self::Arch(arch) => arch.network(settings, Mode::Inference),
            Self::Imported(graph) => graph.network(settings),
        }
    }
}

/// A file of weights whose network is known. Its tensors are read later.
pub struct ModelFile {
    /// The format.
    pub format: Format,
    /// The network.
    pub model: Model,
    /// The metadata of the file. If the file has none, the defaults of the network.
    pub metadata: Metadata,
    /// Whether the file names the classes.
    pub named: bool,
    /// Whether the metadata, with the size of the input, comes from the file.
    pub has_metadata: bool,
    /// Whether the preprocessing is the default of the network, because neither the file nor the caller gave it.
    pub assumed: bool,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<Note>,
    /// The tensors under the names of the network.
    pub tensors: Arc<dyn Source>,
}

impl ModelFile {
    /// The settings that build the network for batches of this size, in f32.
    pub fn settings(&self, batch_size: usize) -> Settings {
        let Metadata { input: [h, w, _], classes, preprocessing, .. } = &self.metadata;
        let Normalization { mean, std } = preprocessing.channels();
        Settings { batch_size, size: [*h, *w], classes: classes.len(), mean, std, precision: Precision::F32 }
    }

    /// Opens a file and finds out what it holds. A file without Ocelli's metadata is recognised by the names and shapes of its
    /// tensors, even if its modules lie in other modules. Its classes get numbers for names.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used; [`Error::Usage`] for a variant that does not exist
    /// and for a preprocessing that is not possible.
    pub fn open(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenFile::open(path)?;
        let format = file.format();
        Self::of_content_at(path, format, Content::of_file(file, &options)?, options)
    }

    /// Finds out what a file in memory holds, of any format.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn parse(bytes: Vec<u8>, options: OpenOptions) -> Result<Self> {
        let format = Format::of_bytes(&bytes)?;
        Self::of_content(format, Content::of_bytes(bytes, format, &options)?, options)
    }

    /// Finds out what a safetensors file holds whose header has been read. Its tensors may come later, see
    /// [`crate::weights::StreamReader`].
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn of_safetensors(file: Safetensors, options: OpenOptions) -> Result<Self> {
        Self::of_content(Format::Safetensors, Content::of_safetensors(file, options.identify()?), options)
    }

    /// Finds out which network the content of the file at `path` is.
    pub(super) fn of_content_at(
        path: &Path,
        format: Format,
        content: Content,
        options: OpenOptions,
    ) -> Result<Self> {
        Self::of_content(format, content, options).map_err(|e| match e {
            // The request is not possible with any file.
            Error::Usage(_) => e,
            other => other.at(path.display().to_string()),
        })
    }

    pub(super) fn of_content(format: Format, content: Content, options: OpenOptions) -> Result<Self> {
        let identify = options.identify()?;
        // If the names of the tensors were examined, averages were too. Any other file has one kind of weights.
        if !matches!(&content, Content::Tensors(tensors, _) if tensors.found().is_some()) {
            check_average(identify, false)?;
        }
        let mut file = match content {
            Content::Tensors(..) if options.output.is_some() => {
                return Err(Error::usage("there are no outputs to choose from")
                    .hint("name none: only the graph of an ONNX file has any"));
            }
            Content::Tensors(tensors, strings) => Self::of_tensors(format, tensors, &strings, identify.arch)?,
            Content::Graph(graph) => return Self::of_graph(graph, identify.arch, &options.preprocessing),
        };
        let [h, w, _] = file.metadata.input;
        let preprocessing = &mut file.metadata.preprocessing;
        *preprocessing = options.preprocessing.of(*preprocessing, h.min(w))?;
        file.assumed &= options.preprocessing.is_empty();
        Ok(file)
    }

    fn of_tensors(
        format: Format,
        tensors: Arc<Renamed>,
        strings: &BTreeMap<String, String>,
        wanted: Option<&'static Arch>,
    ) -> Result<Self> {
        let recorded = Metadata::read(strings)?;
        let has_metadata = recorded.is_some();
        let mut metadata = recorded.map_or_else(|| recognised(&tensors), Ok)?;
        let arch = match wanted {
            Some(arch) => arch,
            // An unknown name is the fault of the file, not of the caller.
            None => {
                Arch::find(&metadata.arch).map_err(|e| Error::Data(e.report().clone()).at("its metadata"))?
            }
        };
        metadata.arch = arch.name.to_owned();
        Ok(Self {
            format,
            model: Model::Arch(arch),
            metadata,
            named: has_metadata && Metadata::names_classes(strings),
            has_metadata,
            assumed: !has_metadata,
            notes: tensors.notes().to_vec(),
            tensors,
        })
    }

    fn of_graph(
        graph: Arc<Imported>,
        wanted: Option<&'static Arch>,
        change: &PreprocessingChange,
    ) -> Result<Self> {
        let variant = graph.variant();
        let input = input_of(&graph, variant.as_ref());
        let strings = graph.metadata();
        let recorded =
            Metadata::read(&strings)?.filter(|m| m.input == input && m.classes.len() == graph.classes());
        let has_metadata = recorded.is_some();
        // The preprocessing of a file is that before its graph, which may transform the input further.
        let size = input[0].min(input[1]);
        let default = default_for_graph(graph.operators().contains_key("LRN"), size);
        let before = change.of(recorded.as_ref().map_or(default, |m| m.preprocessing), size)?;
        let variant = variant.and_then(|variant| with_preprocessing(variant, &before));
        check_variant(variant.as_ref().map(|(arch, ..)| *arch), wanted)?;
        let classes = recorded.map_or_else(|| numbered(graph.classes()), |m| m.classes);
        let notes = graph.choice().into_iter().collect();
        let (model, preprocessing, tensors): (_, _, Arc<dyn Source>) = match variant {
            Some((arch, source, preprocessing)) => (Model::Arch(arch), preprocessing, source),
            None => (Model::Imported(graph.clone()), before, graph),
        };
        let metadata = Metadata { arch: model.name().to_owned(), classes, input, preprocessing };
        let named = has_metadata && Metadata::names_classes(&strings);
        let assumed = !has_metadata && change.is_empty();
        Ok(Self { format: Format::Onnx, model, metadata, named, has_metadata, assumed, notes, tensors })
    }
}

/// The metadata of a file that has none: the network that its tensors are, with its default preprocessing.
fn recognised(tensors: &Renamed) -> Result<Metadata> {
    let found = tensors.found().cloned();
    let found = found.ok_or_else(|| Error::internal("nobody has looked for its network"))?;
    let Found { arch, classes, size } = found?;
    Ok(Metadata {
        arch: arch.name.to_owned(),
        classes: numbered(classes),
        input: [size, size, 3],
        preprocessing: default_preprocessing(arch, size),
    })
}

/// The size of the input. If the file of a variant leaves it open, it is that of the variant.
fn input_of(graph: &Imported, variant: Option<&Variant>) -> [usize; 3] {
    let [h, w, channels] = graph.input();
    match variant {
        Some(variant) if graph.has_open_size() => {
            [variant.found.arch.size, variant.found.arch.size, channels]
        }
        _ => [h, w, channels],
    }
}

/// A variant with the preprocessing that includes what its graph does to the input first. `None` if there is no such preprocessing: then
/// the graph is run as it is.
fn with_preprocessing(
    variant: Variant,
    before: &Preprocessing,
) -> Option<(&'static Arch, Arc<dyn Source>, Preprocessing)> {
    let preprocessing = match variant.transform {
        None => *before,
        Some(transform) => fold_transform(before, &transform)?,
    };
    Some((variant.found.arch, Arc::new(variant.source), preprocessing))
}

/// Refuses a graph that is another variant than the wanted one.
fn check_variant(found: Option<&Arch>, wanted: Option<&Arch>) -> Result<()> {
    let found = found.map(|arch| arch.name);
    let Some(wanted) = wanted.filter(|wanted| found != Some(wanted.name)) else { return Ok(()) };
    let what = found.map_or("none of the networks here".to_owned(), |name| format!("that of {name}"));
    Err(Error::data(format!("its graph is {what}, not that of {}", wanted.name)))
}
