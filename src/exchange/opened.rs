//! A file of weights of any format, and the network that they are of.

use super::{Renamed, names, usual_preprocessing};
use crate::data::{ChannelOrder, Normalization, Preprocessing, Resize};
use crate::error::{Error, Result};
use crate::graph::Precision;
use crate::models::{Arch, Found, Mode, Network, Settings, recognise_as};
#[cfg(feature = "pth")]
use crate::weights::pth::Pth;
use crate::weights::{Format, Metadata, Safetensors, Source};
use std::collections::BTreeMap;
use std::path::Path;

/// The network of a file.
#[derive(Clone)]
pub enum Model {
    /// One of the variants here.
    Arch(&'static Arch),
}

impl Model {
    /// Its name: that of the variant.
    pub fn name(&self) -> &str {
        match self {
            Self::Arch(arch) => arch.name,
        }
    }

    /// The variant, which can be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is none.
    pub fn trainable(&self) -> Result<&'static Arch> {
        match self {
            Self::Arch(arch) => Ok(arch),
        }
    }

    /// Its graph for inference.
    ///
    /// # Errors
    /// As [`Arch::network`].
    pub fn network(&self, settings: &Settings) -> Result<Network> {
        match self {
            Self::Arch(arch) => arch.network(settings, Mode::Inference),
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
}

/// A file of weights whose network is known. Its tensors have not been read.
pub struct Opened {
    /// The format.
    pub format: Format,
    /// The network.
    pub model: Model,
    /// What the file says of itself, or where it does not what is usual for its network.
    pub metadata: Metadata,
    /// Whether the classes have names in the file.
    pub named: bool,
    /// Whether the preprocessing is the usual one of its network, because nobody has said which it is.
    pub assumed: bool,
    /// The tensors under the names of the network.
    pub tensors: Box<dyn Source>,
}

/// The tensors of a file of any format under the names that the networks here use, and the strings of the file.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used.
pub fn tensors(path: &Path, format: Format) -> Result<(Box<dyn Source>, BTreeMap<String, String>)> {
    let (source, strings): (Box<dyn Source>, _) = match format {
        Format::Safetensors => {
            let file = Safetensors::open(path)?;
            let strings = file.strings().clone();
            (Box::new(file), strings)
        }
        Format::Pth | Format::Onnx => {
            return Err(
                Error::data(format!("files of {format} cannot be read")).at(path.display().to_string())
            );
        }
    };
    let renamed = Renamed::new(source).map_err(|e| e.at(path.display().to_string()))?;
    Ok((Box::new(renamed), strings))
}

impl Opened {
    /// The settings with which its network is built for batches of so many pictures, in f32.
    pub fn settings(&self, batch_size: usize) -> Settings {
        let Metadata { input: [h, w, _], classes, preprocessing, .. } = &self.metadata;
        let Normalization { mean, std } = preprocessing.channels();
        Settings { batch_size, size: [*h, *w], classes: classes.len(), mean, std, precision: Precision::F32 }
    }

    /// Opens a file and finds out what it holds. A file without Ocelli's metadata is recognised by names and shapes of its
    /// tensors; its classes then are numbered.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used; [`Error::Usage`] for a variant that there is
    /// not, and for a preprocessing that makes no sense.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self> {
        let wanted = options.arch.map(Arch::find).transpose()?;
        let place = |e: Error| e.at(path.display().to_string());
        let format = Format::of(path)?;
        let (tensors, strings) = tensors(path, format)?;
        let said = Metadata::read(&strings).map_err(place)?;
        let (named, assumed) = (said.is_some(), said.is_none() && options.preprocessing.is_empty());
        let mut metadata = match said {
            Some(metadata) => metadata,
            None => {
                let Found { arch, classes, size } =
                    recognise_as(&names(tensors.as_ref()), wanted).map_err(place)?;
                Metadata {
                    arch: arch.name.to_owned(),
                    classes: (0..classes).map(|i| format!("class {i}")).collect(),
                    input: [size, size, 3],
                    preprocessing: usual_preprocessing(arch, size),
                }
            }
        };
        let arch = match wanted {
            Some(arch) => arch,
            // What makes no sense here is the fault of the file, not of who asked.
            None => Arch::find(&metadata.arch).map_err(|e| {
                Error::Data(e.report().clone()).at(format!("{}: its metadata", path.display()))
            })?,
        };
        metadata.arch = arch.name.to_owned();
        let size = metadata.input[0].min(metadata.input[1]);
        metadata.preprocessing = options.preprocessing.of(metadata.preprocessing, size)?;
        Ok(Self { format, model: Model::Arch(arch), metadata, named, assumed, tensors })
    }
}
