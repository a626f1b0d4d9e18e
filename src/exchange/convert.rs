//! Conversion of weights from any format to any other.

use super::content::Content;
use super::{Model, ModelFile, OpenOptions, Renamed, names, onnx_out};
use crate::error::{Error, Note, Result, Untrusted};
use crate::models::{Arch, Difference};
use crate::weights::{Dtype, Format, Metadata, OpenFile, Source, write_source};
use std::collections::BTreeMap;
use std::path::Path;

/// What is converted and how the result is written. Its fields may grow: set those you need and take the rest from
/// [`ConvertOptions::default`].
#[derive(Debug, Clone)]
pub struct ConvertOptions<'a> {
    /// How the input is opened.
    pub open: OpenOptions<'a>,
    /// The names of the classes for the new file, in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// The type of the numbers in the new file: f32 (the default), f16 or bf16.
    pub dtype: Dtype,
}

impl Default for ConvertOptions<'_> {
    fn default() -> Self {
        Self { open: OpenOptions::default(), labels: None, dtype: Dtype::F32 }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Conversion {
    /// The new format.
    pub format: Format,
    /// The metadata of the new file; `None` if the weights are of no network of this crate.
    pub metadata: Option<Metadata>,
    /// Whether the preprocessing is the default of the network, because neither the file nor the caller gave it.
    pub assumed: bool,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<Note>,
    /// The number of tensors in the new file.
    pub tensors: usize,
}

/// Converts the file of weights `input` to the format that the name of `output` gives. The new file has the names and the layout of
/// PyTorch's implementations. Labels become the names of the classes. A network with one output takes the second of two labels.
/// Weights of no network of this crate keep their names, and cannot become ONNX.
///
/// # Errors
/// As [`ModelFile::open`]; [`Error::Usage`] if the name of `output` gives no format or the number of labels is not that of the
/// classes; [`Error::Data`] if there is NaN or infinity in the weights or a number does not fit the type; [`Error::Io`] if the file
/// cannot be written. After an error there is no new file.
pub fn convert(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: ConvertOptions,
) -> Result<Conversion> {
    let (input, output) = (input.as_ref(), output.as_ref());
    let ConvertOptions { open, labels, dtype } = options;
    let file = OpenFile::open(input)?;
    let (from, to) = (file.format(), Format::of_name(output)?);
    let described = labels.is_some() || !open.preprocessing.is_empty();
    if described && to == Format::Pth {
        return Err(Error::usage(
            "a file of PyTorch cannot say names of classes or how pictures are prepared",
        )
        .hint("leave those flags out, or write .safetensors or .onnx"));
    }
    let target = Target { input, output, format: to, dtype };
    let content = Content::of_file(file, &open)?;
    if let Content::Tensors(tensors, strings) = &content
        && tensors.is_unknown()
        && !(described || open.output.is_some() || to == Format::Onnx)
    {
        return target.unknown_tensors(tensors, strings);
    }
    let file = ModelFile::of_content_at(input, from, content, open)?;
    match &file.model {
        Model::Arch(arch) => target.network(arch, file, labels),
        Model::Imported(_) if described => Err(Error::usage(
            "its graph is none of the networks here, so the new file would hold tensors alone",
        )
        .at(input.display().to_string())
        .hint("leave out the flags for classes and preprocessing")),
        Model::Imported(_) => target.tensors_of_graph(&file),
    }
}

/// The file to write.
struct Target<'a> {
    input: &'a Path,
    output: &'a Path,
    format: Format,
    dtype: Dtype,
}

impl Target<'_> {
    /// Writes tensors of no network of this crate under their own names.
    fn unknown_tensors(&self, tensors: &Renamed, strings: &BTreeMap<String, String>) -> Result<Conversion> {
        self.write(tensors, strings)?;
        Ok(self.conversion(tensors, tensors.notes().to_vec()))
    }

    /// Writes the tensors of a graph that is no network of this crate. The graph is lost.
    fn tensors_of_graph(&self, file: &ModelFile) -> Result<Conversion> {
        if self.format == Format::Onnx {
            return Err(Error::data("its graph is none of the networks here, so it cannot be written again")
                .at(self.input.display().to_string())
                .hint("use the file as it is, which `predict`, `eval` and `bench` read"));
        }
        self.write(file.tensors.as_ref(), &BTreeMap::new())?;
        Ok(self.conversion(file.tensors.as_ref(), file.notes.clone()))
    }

    /// Writes a network of this crate with its metadata.
    fn network(
        &self,
        arch: &'static Arch,
        file: ModelFile,
        labels: Option<Vec<String>>,
    ) -> Result<Conversion> {
        let settings = file.settings(1);
        // Settings that do not fit are the fault of the file, not of the caller.
        let network =
            file.model.network(&settings).map_err(|e| self.of_input(Error::Data(e.report().clone())))?;
        let difference = Difference::between(&names(file.tensors.as_ref()), &network.parameters);
        if !difference.is_empty() {
            let what = format!("these are not the weights of {}: {difference}", arch.name);
            return Err(self.of_input(Error::data(what)));
        }
        let ModelFile { mut metadata, mut named, assumed, mut notes, tensors, .. } = file;
        if let Some(labels) = labels {
            metadata.classes = fitting_labels(labels, &metadata.classes, &mut notes)?;
            named = true;
        }
        // Numbered classes are not written as names.
        let strings = if named { metadata.strings()? } else { metadata.strings_without_names()? };
        let tensors = tensors.as_ref();
        if self.format == Format::Onnx {
            let content = onnx_out::Content { source: tensors, metadata: &strings, dtype: self.dtype };
            onnx_out::write(self.output, arch, &settings, content).map_err(|e| self.of_input(e))?;
        } else {
            self.write(tensors, &strings)?;
        }
        Ok(Conversion { metadata: Some(metadata), assumed, ..self.conversion(tensors, notes) })
    }

    /// Writes tensors in a format without a graph.
    fn write(&self, source: &dyn Source, strings: &BTreeMap<String, String>) -> Result<()> {
        let written = match self.format {
            #[cfg(feature = "pth")]
            Format::Pth => crate::weights::pth::write(self.output, source, self.dtype),
            #[cfg(not(feature = "pth"))]
            Format::Pth => Err(Error::usage("this is built without the feature pth")),
            Format::Onnx => Err(Error::internal("ONNX is written with its graph")),
            Format::Safetensors => {
                let mut strings = strings.clone();
                // PyTorch's readers require this entry.
                strings.insert("format".to_owned(), "pt".to_owned());
                write_source(self.output, source, &strings, self.dtype)
            }
        };
        written.map_err(|e| self.of_input(e))
    }

    /// Names the input in an error that its numbers cause.
    fn of_input(&self, error: Error) -> Error {
        match error {
            Error::Data(_) => error.at(self.input.display().to_string()),
            _ => error,
        }
    }

    /// The result for tensors without metadata.
    fn conversion(&self, tensors: &dyn Source, notes: Vec<Note>) -> Conversion {
        let tensors = names(tensors).len();
        Conversion { format: self.format, metadata: None, assumed: false, notes, tensors }
    }
}

/// One label for each class of the network. The only output of a network is that of the second of two classes.
fn fitting_labels(mut labels: Vec<String>, classes: &[String], notes: &mut Vec<Note>) -> Result<Vec<String>> {
    if let ([_], [zero, one]) = (classes, labels.as_slice()) {
        let [zero, one] = [zero, one].map(|name| Untrusted::short(name).to_string());
        notes.push(format!("the network has one output, which is named {one}; {zero} is left out").into());
        labels.remove(0);
    }
    if labels.len() != classes.len() {
        let (given, wanted) = (labels.len(), classes.len());
        return Err(Error::usage(format!("{given} names for {wanted} classes")).hint("give one name a line"));
    }
    Ok(labels)
}
