//! From any format of weights to any other.

use super::{Model, OpenOptions, Opened, names, tensors};
use crate::error::{Error, Result};
use crate::models::{Difference, recognise};
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
    /// How many tensors it holds.
    pub tensors: usize,
}

/// Writes the weights of a file in the format that the name of another one asks for. Names and layout become those of
/// PyTorch's implementations; labels, if there are any, become the names of the classes. Weights of no network here keep
/// their names, and cannot become ONNX.
///
/// # Errors
/// As [`Opened::open`]; [`Error::Usage`] if the name does not say a format or there are not as many labels as classes;
/// [`Error::Data`] if there is NaN or infinity in the weights or a number does not fit the type; [`Error::Io`] if the file
/// cannot be written. Then nothing is written.
pub fn convert(
    input: &Path,
    output: &Path,
    options: OpenOptions,
    labels: Option<Vec<String>>,
    dtype: Dtype,
) -> Result<Conversion> {
    let to = Format::of_name(output)?;
    let opened = match Opened::open(input, options) {
        Ok(opened) => opened,
        Err(error) => {
            let wanted = options.arch.is_some() || labels.is_some() || to == Format::Onnx;
            return match stranger(input)? {
                Some((source, strings)) if !wanted => {
                    write(output, to, source.as_ref(), &strings, dtype)?;
                    let tensors = names(source.as_ref()).len();
                    Ok(Conversion { format: to, metadata: None, assumed: false, tensors })
                }
                _ => Err(error),
            };
        }
    };
    let settings = opened.settings(1);
    let network = opened.model.network(&settings)?;
    let difference = Difference::between(&names(opened.tensors.as_ref()), &network.parameters);
    if !difference.is_empty() {
        let what = format!("these are not the weights of {}: {difference}", opened.model.name());
        return Err(Error::data(what).at(input.display().to_string()));
    }
    let Opened { model, mut metadata, assumed, tensors, .. } = opened;
    if let Some(labels) = labels {
        if labels.len() != metadata.classes.len() {
            let (given, wanted) = (labels.len(), metadata.classes.len());
            return Err(
                Error::usage(format!("{given} names for {wanted} classes")).cure("give one name a line")
            );
        }
        metadata.classes = labels;
    }
    let strings = metadata.strings()?;
    match to {
        Format::Onnx => {
            let Model::Arch(arch) = model;
            super::onnx_out::write(output, arch, &settings, tensors.as_ref(), &strings, dtype)?;
        }
        _ => write(output, to, tensors.as_ref(), &strings, dtype)?,
    }
    let tensors = names(tensors.as_ref()).len();
    Ok(Conversion { format: to, metadata: Some(metadata), assumed, tensors })
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

/// The tensors of a file that can be read but is of no network here.
fn stranger(input: &Path) -> Result<Option<(Box<dyn Source>, BTreeMap<String, String>)>> {
    let (source, strings) = tensors(input, Format::of(input)?)?;
    let known = Metadata::read(&strings)?.is_some() || recognise(&names(source.as_ref())).is_ok();
    Ok((!known).then_some((source, strings)))
}
