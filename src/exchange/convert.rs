//! From any format of weights to any other.

use super::model_file::Content;
use super::{Model, ModelFile, OpenOptions, names};
use crate::error::{Error, Result, Untrusted};
use crate::models::Difference;
use crate::weights::{Dtype, Format, Metadata, Source, write_source};
use std::collections::BTreeMap;
use std::path::Path;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The new format.
    pub format: Format,
    /// What the new file says of itself; `None` where the weights are of no network here.
    pub metadata: Option<Metadata>,
    /// Whether nobody had said how pictures are prepared.
    pub assumed: bool,
    /// What was chosen and what was left out, a sentence each.
    pub notes: Vec<String>,
    /// How many tensors it holds.
    pub tensors: usize,
}

/// Writes the weights of a file in the format that the name of another one asks for. Names and layout become those of
/// PyTorch's implementations; labels, if there are any, become the names of the classes; of two for a network with one output, the second
/// does. Weights of no network here keep
/// their names, and cannot become ONNX.
///
/// # Errors
/// As [`ModelFile::open`]; [`Error::Usage`] if the name does not say a format or there are not as many labels as classes;
/// [`Error::Data`] if there is NaN or infinity in the weights or a number does not fit the type; [`Error::Io`] if the file
/// cannot be written. Then nothing is written.
pub fn convert(
    input: &Path,
    output: &Path,
    options: OpenOptions,
    labels: Option<Vec<String>>,
    dtype: Dtype,
) -> Result<Conversion> {
    let (format, to) = (Format::of(input)?, Format::of_name(output)?);
    let flags = labels.is_some() || !options.preprocessing.is_empty();
    if flags && to == Format::Pth {
        return Err(Error::usage(
            "a file of PyTorch cannot say names of classes or how pictures are prepared",
        )
        .hint("leave those flags out, or write .safetensors or .onnx"));
    }
    // A fault of the numbers is one of the file that they are read from.
    let of_input = |e: Error| if matches!(e, Error::Data(_)) { e.at(input.display().to_string()) } else { e };
    let content = Content::of(input, format, &options)?;
    if let Content::Tensors(source, strings) = &content
        && source.is_stranger()
        && !(flags || options.output.is_some() || to == Format::Onnx)
    {
        write(output, to, source.as_ref(), strings, dtype).map_err(of_input)?;
        let (tensors, notes) = (names(source.as_ref()).len(), source.notes().to_vec());
        return Ok(Conversion { format: to, metadata: None, assumed: false, notes, tensors });
    }
    let opened = ModelFile::of_file(input, format, content, options)?;
    if let Model::Imported(_) = opened.model {
        if flags {
            return Err(Error::usage(
                "its graph is none of the networks here, so the new file would hold tensors alone",
            )
            .at(input.display().to_string())
            .hint("leave out the flags for classes and preprocessing"));
        }
        return imported(&opened, output, to, dtype).map_err(of_input);
    }
    let settings = opened.settings(1);
    // What makes no sense here is the fault of the file, not of who asked.
    let network = opened.model.network(&settings).map_err(|e| of_input(Error::Data(e.report().clone())))?;
    let difference = Difference::between(&names(opened.tensors.as_ref()), &network.parameters);
    if !difference.is_empty() {
        let what = format!("these are not the weights of {}: {difference}", opened.model.name());
        return Err(Error::data(what).at(input.display().to_string()));
    }
    let ModelFile { model, mut metadata, mut named, assumed, mut notes, tensors, .. } = opened;
    if let Some(mut labels) = labels {
        // One output is that of the second of two classes, and a file has a name for each output.
        if let ([_], [zero, one]) = (metadata.classes.as_slice(), labels.as_slice()) {
            let [zero, one] = [zero, one].map(|name| Untrusted::short(name).to_string());
            notes.push(format!("the network has one output, which is named {one}; {zero} is left out"));
            labels.remove(0);
        }
        if labels.len() != metadata.classes.len() {
            let (given, wanted) = (labels.len(), metadata.classes.len());
            return Err(
                Error::usage(format!("{given} names for {wanted} classes")).hint("give one name a line")
            );
        }
        metadata.classes = labels;
        named = true;
    }
    // Names that nobody knows are not written.
    let strings = if named { metadata.strings()? } else { metadata.strings_without_names()? };
    match to {
        Format::Onnx => {
            let arch = model.trainable()?;
            super::onnx_out::write(output, arch, &settings, tensors.as_ref(), &strings, dtype)
                .map_err(of_input)?;
        }
        _ => write(output, to, tensors.as_ref(), &strings, dtype).map_err(of_input)?,
    }
    let tensors = names(tensors.as_ref()).len();
    Ok(Conversion { format: to, metadata: Some(metadata), assumed, notes, tensors })
}

fn write(
    output: &Path,
    to: Format,
    source: &dyn Source,
    strings: &BTreeMap<String, String>,
    dtype: Dtype,
) -> Result<()> {
    match to {
        #[cfg(feature = "pth")]
        Format::Pth => crate::weights::pth::write(output, source, dtype),
        #[cfg(not(feature = "pth"))]
        Format::Pth => Err(Error::usage("this is built without the feature pth")),
        Format::Onnx => Err(Error::internal("ONNX is written with its graph")),
        Format::Safetensors => {
            let mut strings = strings.clone();
            // What PyTorch's readers look for.
            strings.insert("format".to_owned(), "pt".to_owned());
            write_source(output, source, &strings, dtype)
        }
    }
}

/// The tensors of a graph that is none of the networks here, without the graph.
fn imported(opened: &ModelFile, output: &Path, to: Format, dtype: Dtype) -> Result<Conversion> {
    if to == Format::Onnx {
        return Err(Error::data("its graph is none of the networks here, so it cannot be written again")
            .hint("use the file as it is, which `predict`, `eval` and `bench` read"));
    }
    write(output, to, opened.tensors.as_ref(), &BTreeMap::new(), dtype)?;
    let tensors = names(opened.tensors.as_ref()).len();
    let notes = opened.notes.clone();
    Ok(Conversion { format: to, metadata: None, assumed: false, notes, tensors })
}
