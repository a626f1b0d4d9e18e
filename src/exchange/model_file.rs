//! A file of weights of any format, and the network that they are of.

use super::default_preprocessing::{folded, usual_for_graph};
#[cfg(feature = "pth")]
use super::identify::chosen;
use super::identify::must_be;
use super::onnx_in::Imported;
use super::onnx_out;
use super::{Renamed, Wish, usual_preprocessing};
use crate::data::{ChannelOrder, Normalization, Preprocessing, Resize};
use crate::error::{Error, Result};
use crate::models::{Arch, Found, Mode, Network, Settings};
use crate::tensor::Precision;
#[cfg(feature = "pth")]
use crate::weights::pth::Averages;
use crate::weights::{Format, Metadata, Safetensors, Source, numbered, onnx};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The network of a file.
#[derive(Clone)]
pub enum Model {
    /// One of the variants here.
    Arch(&'static Arch),
    /// The graph of an ONNX file that is none of them.
    Imported(Arc<Imported>),
}

impl Model {
    /// Its name: that of the variant.
    pub fn name(&self) -> &str {
        match self {
            Self::Arch(arch) => arch.name,
            Self::Imported(_) => "an ONNX graph",
        }
    }

    /// The variant, which can be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none.
    pub fn trainable(&self) -> Result<&'static Arch> {
        match self {
            Self::Arch(arch) => Ok(arch),
            Self::Imported(_) => {
                Err(Error::usage("this ONNX graph is none of the networks here, which can be trained")
                    .hint("`ocelli show` lists them"))
            }
        }
    }

    /// Its graph for inference.
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

/// What is said of the preprocessing instead of what the file says.
#[derive(Debug, Clone, Copy, Default)]
pub struct PreprocessingChange {
    /// Everything at once; what follows changes it further.
    pub whole: Option<fn(usize) -> Preprocessing>,
    /// How a picture comes to the size of the input.
    pub resize: Option<Resize>,
    /// The order of the colours.
    pub order: Option<ChannelOrder>,
    /// Means.
    pub mean: Option<[f32; 3]>,
    /// Deviations.
    pub std: Option<[f32; 3]>,
}

impl PreprocessingChange {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.whole.is_none()
            && self.resize.is_none()
            && self.order.is_none()
            && self.mean.is_none()
            && self.std.is_none()
    }

    /// The preprocessing with the changes, for an input of this size.
    ///
    /// # Errors
    /// [`Error::Usage`] if means are not finite or deviations not positive.
    pub fn of(&self, mut preprocessing: Preprocessing, size: usize) -> Result<Preprocessing> {
        if let Some(whole) = self.whole {
            preprocessing = whole(size);
        }
        preprocessing.resize = self.resize.unwrap_or(preprocessing.resize);
        preprocessing.order = self.order.unwrap_or(preprocessing.order);
        preprocessing.normalization.mean = self.mean.unwrap_or(preprocessing.normalization.mean);
        preprocessing.normalization.std = self.std.unwrap_or(preprocessing.normalization.std);
        preprocessing.check().map_err(|e| Error::Usage(e.report().clone()))?;
        Ok(preprocessing)
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    /// The variant, where the file does not say it and several fit.
    pub arch: Option<&'a str>,
    /// What is said of the preprocessing instead of what the file says.
    pub preprocessing: PreprocessingChange,
    /// Whether an ONNX file may have its numbers in other files of its folder.
    pub external_data: bool,
    /// The output of an ONNX graph that has the classes, if it has several; the likely one if nobody says it.
    pub output: Option<&'a str>,
    /// Averaged weights or plain ones, where a file has both; averaged ones if nobody says it.
    pub averaged: Option<bool>,
}

impl OpenOptions<'_> {
    fn wish(&self) -> Result<Wish> {
        let arch = self.arch.map(Arch::find).transpose()?;
        Ok(Wish { arch, averaged: self.averaged, is_averaged: false })
    }
}

/// A file of weights whose network is known. Its tensors have not been read.
pub struct ModelFile {
    /// The format.
    pub format: Format,
    /// The network.
    pub model: Model,
    /// What the file says of itself, or where it does not what is usual for its network.
    pub metadata: Metadata,
    /// Whether the classes have names in the file.
    pub named: bool,
    /// Whether the file says itself what it is, its size of input among it.
    pub said: bool,
    /// Whether the preprocessing is the usual one of its network, because nobody has said which it is.
    pub assumed: bool,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<String>,
    /// The tensors under the names of the network.
    pub tensors: Arc<dyn Source>,
}

/// What a file holds before anybody has asked which network it is.
#[derive(Clone)]
pub(super) enum Content {
    /// Tensors with names, and strings.
    Tensors(Arc<Renamed>, BTreeMap<String, String>),
    /// A graph with its tensors.
    Graph(Arc<Imported>),
}

impl Content {
    /// Opens a file of any format.
    pub(super) fn of(path: &Path, format: Format, options: &OpenOptions) -> Result<Self> {
        let wish = options.wish()?;
        let place = |e: Error| e.at(path.display().to_string());
        match format {
            Format::Safetensors => Ok(Self::of_safetensors(Safetensors::open(path)?, wish)),
            #[cfg(feature = "pth")]
            Format::Pth => {
                let file = crate::weights::pth::Pth::open_as(path, wish.averaged)?;
                Ok(Self::of_pth(file, wish))
            }
            #[cfg(not(feature = "pth"))]
            Format::Pth => Err(place(Error::data(
                "files of PyTorch are not read: this is built without the feature pth",
            ))),
            Format::Onnx => {
                let file = onnx::File::open(path, options.external_data)?;
                Self::of_onnx(file, options.output).map_err(place)
            }
        }
    }

    /// The same for a file that is in memory.
    fn of_bytes(bytes: Vec<u8>, format: Format, options: &OpenOptions) -> Result<Self> {
        let wish = options.wish()?;
        match format {
            Format::Safetensors => Ok(Self::of_safetensors(Safetensors::parse(bytes)?, wish)),
            Format::Onnx => Self::of_onnx(onnx::File::parse(bytes.into())?, options.output),
            Format::Pth => Err(Error::data("files of PyTorch are not read from memory")
                .hint("`ocelli convert` makes a safetensors file of it")),
        }
    }

    fn of_tensors(source: Box<dyn Source>, strings: BTreeMap<String, String>, wish: Wish) -> Self {
        // A file of ours says which network it is, and has the right names.
        let renamed = match Metadata::read(&strings) {
            Ok(None) => Renamed::new(source, wish),
            _ => Renamed::as_it_is(source),
        };
        Self::Tensors(Arc::new(renamed), strings)
    }

    /// What the keys of a checkpoint have decided is not asked of the names.
    #[cfg(feature = "pth")]
    fn of_pth(file: crate::weights::pth::Pth, mut wish: Wish) -> Self {
        let note = match file.averages() {
            Averages::None => None,
            Averages::Only => {
                wish.is_averaged = true;
                None
            }
            Averages::Unread { average } => Some(format!(
                "averaged weights ({average}) are in it in a form that is not read; the plain ones are taken"
            )),
            Averages::Both { taken, average, plain } => {
                wish.averaged = None;
                Some(chosen(*taken, average, if plain.is_empty() { "beside them" } else { plain }))
            }
        };
        let mut renamed = Renamed::new(Box::new(file), wish);
        renamed.note(note);
        Self::Tensors(Arc::new(renamed), BTreeMap::new())
    }

    fn of_safetensors(file: Safetensors, wish: Wish) -> Self {
        let strings = file.strings().clone();
        Self::of_tensors(Box::new(file), strings, wish)
    }

    pub(super) fn of_onnx(file: onnx::File, output: Option<&str>) -> Result<Self> {
        let strings = file.metadata();
        match Imported::with_output(file.clone(), output) {
            Ok(graph) => Ok(Self::Graph(Arc::new(graph))),
            // A file of ours says which network it is, and its tensors have our names: an adaptive pooling that does not
            // divide its map is written as slices and averages, which are no layer of any of the families.
            Err(_)
                if file.model().producer_name == onnx_out::PRODUCER
                    && Metadata::read(&strings)?.is_some() =>
            {
                Ok(Self::Tensors(Arc::new(Renamed::as_it_is(Box::new(file))), strings))
            }
            Err(error) => Err(error),
        }
    }
}

impl ModelFile {
    /// The settings with which its network is built for batches of so many pictures, in f32.
    pub fn settings(&self, batch_size: usize) -> Settings {
        let Metadata { input: [h, w, _], classes, preprocessing, .. } = &self.metadata;
        let Normalization { mean, std } = preprocessing.channels();
        Settings { batch_size, size: [*h, *w], classes: classes.len(), mean, std, precision: Precision::F32 }
    }

    /// Opens a file and finds out what it holds. A file without Ocelli's metadata is recognised by names and shapes of its
    /// tensors, whatever its modules are wrapped in; its classes then are numbered.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used; [`Error::Usage`] for a variant that there is
    /// not, and for a preprocessing that makes no sense.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self> {
        let format = Format::of(path)?;
        Self::of_file(path, format, Content::of(path, format, &options)?, options)
    }

    pub(super) fn of_file(
        path: &Path,
        format: Format,
        content: Content,
        options: OpenOptions,
    ) -> Result<Self> {
        Self::of_content(format, content, options).map_err(|e| match e {
            // What was asked for makes no sense with any file.
            Error::Usage(_) => e,
            other => other.at(path.display().to_string()),
        })
    }

    /// The same for a safetensors or ONNX file that is in memory.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn parse(bytes: Vec<u8>, options: OpenOptions) -> Result<Self> {
        let format = Format::of_bytes(&bytes)?;
        Self::of_content(format, Content::of_bytes(bytes, format, &options)?, options)
    }

    /// The same for a safetensors file whose header is known. Its tensors need not be there yet, see
    /// [`crate::weights::StreamReader`].
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn of_safetensors(file: Safetensors, options: OpenOptions) -> Result<Self> {
        Self::of_content(Format::Safetensors, Content::of_safetensors(file, options.wish()?), options)
    }

    pub(super) fn of_content(format: Format, content: Content, options: OpenOptions) -> Result<Self> {
        let wish = options.wish()?;
        let wanted = wish.arch;
        // Whoever looks at the names of tensors looks for averages too; the other files hold one kind of weights.
        if !matches!(&content, Content::Tensors(tensors, _) if tensors.found().is_some()) {
            must_be(wish, false)?;
        }
        let mut opened = match content {
            Content::Tensors(..) if options.output.is_some() => {
                return Err(Error::usage("there are no outputs to choose from")
                    .hint("name none: only the graph of an ONNX file has any"));
            }
            Content::Tensors(tensors, strings) => Self::of_tensors(format, tensors, &strings, wanted)?,
            Content::Graph(graph) => return Self::of_graph(graph, wanted, &options.preprocessing),
        };
        let [h, w, _] = opened.metadata.input;
        let preprocessing = &mut opened.metadata.preprocessing;
        *preprocessing = options.preprocessing.of(*preprocessing, h.min(w))?;
        opened.assumed &= options.preprocessing.is_empty();
        Ok(opened)
    }

    fn of_tensors(
        format: Format,
        tensors: Arc<Renamed>,
        strings: &BTreeMap<String, String>,
        wanted: Option<&'static Arch>,
    ) -> Result<Self> {
        let said = Metadata::read(strings)?;
        let known = said.is_some();
        let mut metadata = match said {
            Some(metadata) => metadata,
            None => {
                let nobody = || Error::internal("nobody has looked for its network");
                let found = tensors.found().cloned().ok_or_else(nobody)?;
                let Found { arch, classes, size } = found?;
                Metadata {
                    arch: arch.name.to_owned(),
                    classes: numbered(classes),
                    input: [size, size, 3],
                    preprocessing: usual_preprocessing(arch, size),
                }
            }
        };
        let arch = match wanted {
            Some(arch) => arch,
            // What makes no sense here is the fault of the file, not of who asked.
            None => {
                Arch::find(&metadata.arch).map_err(|e| Error::Data(e.report().clone()).at("its metadata"))?
            }
        };
        metadata.arch = arch.name.to_owned();
        let notes = tensors.notes().to_vec();
        let named = known && Metadata::names_classes(strings);
        Ok(Self {
            format,
            model: Model::Arch(arch),
            metadata,
            named,
            said: known,
            assumed: !known,
            notes,
            tensors,
        })
    }

    fn of_graph(
        graph: Arc<Imported>,
        wanted: Option<&'static Arch>,
        change: &PreprocessingChange,
    ) -> Result<Self> {
        let (mut input, classes) = (graph.input(), graph.classes());
        let notes: Vec<String> = graph.choice().into_iter().collect();
        let variant = graph.variant();
        // A file that leaves its size open is for pictures of the size that its network is for.
        if let Some(variant) = variant.as_ref().filter(|_| graph.has_open_size()) {
            input = [variant.found.arch.size, variant.found.arch.size, input[2]];
        }
        let graph_strings = graph.metadata();
        let said = Metadata::read(&graph_strings)?;
        let said = said.filter(|m| m.input == input && m.classes.len() == classes);
        let known = said.is_some();
        let usual = usual_for_graph(graph.operators().contains_key("LRN"), input[0].min(input[1]));
        // What is said of the pictures is said of the input of the file, before what its graph does to it.
        let size = input[0].min(input[1]);
        let before = change.of(said.as_ref().map_or(usual, |m| m.preprocessing), size)?;
        // A variant whose input is prepared in a way that pixels cannot be runs as the graph that it is.
        let variant = variant.and_then(|variant| {
            let preprocessing = match variant.transform {
                None => Some(before),
                Some(transform) => folded(&before, &transform),
            };
            Some((variant.found.arch, variant.source, preprocessing?))
        });
        let found = variant.as_ref().map(|(arch, ..)| arch.name);
        if let Some(wanted) = wanted.filter(|wanted| found != Some(wanted.name)) {
            let what = found.map_or("none of the networks here".to_owned(), |name| format!("that of {name}"));
            return Err(Error::data(format!("its graph is {what}, not that of {}", wanted.name)));
        }
        let classes = said.map_or_else(|| numbered(classes), |m| m.classes);
        let (model, preprocessing, tensors): (_, _, Arc<dyn Source>) = match variant {
            Some((arch, source, preprocessing)) => (Model::Arch(arch), preprocessing, Arc::new(source)),
            None => (Model::Imported(graph.clone()), before, graph),
        };
        let metadata = Metadata { arch: model.name().to_owned(), classes, input, preprocessing };
        let assumed = !known && change.is_empty();
        let named = known && Metadata::names_classes(&graph_strings);
        Ok(Self { format: Format::Onnx, model, metadata, named, said: known, assumed, notes, tensors })
    }
}
