//! How a file of weights is read.

use crate::data::{ChannelOrder, Preprocessing, Resize};
use crate::error::{Choice, Error, Result};
use crate::models::{ARCHS, Arch};

/// How a file is opened. Its fields may grow: set those you need and take the rest from [`OpenOptions::default`].
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    /// The name of the variant, if the file does not say it and several fit.
    pub arch: Option<&'a str>,
    /// Changes of the preprocessing that the file gives.
    pub preprocessing: PreprocessingChange,
    /// Whether an ONNX file may keep tensors in other files of its folder. A file in memory has no folder: it never may.
    pub external_data: bool,
    /// The output of an ONNX graph that gives the classes, if it has several outputs; `None` takes the most likely one.
    pub output: Option<&'a str>,
    /// Whether averaged weights or plain ones are taken from a file that has both; `None` takes the averaged ones.
    pub averaged: Option<bool>,
}

impl OpenOptions<'_> {
    pub(super) fn identify(&self) -> Result<IdentifyOptions> {
        let arch = self.arch.map(Arch::find).transpose()?;
        Ok(IdentifyOptions { arch, averaged: self.averaged, is_averaged: false })
    }
}

/// What is known of a file before its network is searched. Its fields may grow: set those you need and take the rest from
/// [`IdentifyOptions::default`].
#[derive(Debug, Clone, Copy, Default)]
pub struct IdentifyOptions {
    /// The variant, if the caller has named it.
    pub arch: Option<&'static Arch>,
    /// Whether averaged weights or plain ones are taken from a file that has both; `None` takes the averaged ones.
    pub averaged: Option<bool>,
    /// Whether it is known, from something other than the names of the tensors, that the weights are averaged.
    pub is_averaged: bool,
}

impl IdentifyOptions {
    /// The variants to try.
    pub(super) fn archs(&self) -> impl Iterator<Item = &'static Arch> + use<> {
        let wanted = self.arch;
        ARCHS.iter().filter(move |arch| wanted.is_none_or(|wanted| wanted.name == arch.name))
    }
}

/// Changes of the preprocessing that a file gives. Its fields may grow: set those you need and take the rest from
/// [`PreprocessingChange::default`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PreprocessingChange {
    /// The whole preprocessing for an input of a size. The other fields change it further.
    pub whole: Option<fn(usize) -> Preprocessing>,
    /// How a picture is scaled to the size of the input.
    pub resize: Option<Resize>,
    /// The order of the colour channels.
    pub order: Option<ChannelOrder>,
    /// The means of red, green and blue.
    pub mean: Option<[f32; 3]>,
    /// The standard deviations of red, green and blue.
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

    /// Applies the changes to a preprocessing, for an input of this size.
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

/// Refuses a file that lacks the requested kind of weights. `averaged` is the kind that it has.
pub(super) fn check_average(options: IdentifyOptions, averaged: bool) -> Result<()> {
    match options.averaged {
        Some(true) if !averaged => {
            Err(Error::data("nothing says that it holds averaged weights").hint(Choice::NotAveraged))
        }
        Some(false) if averaged => Err(Error::data("it holds averaged weights only").hint(Choice::NotPlain)),
        _ => Ok(()),
    }
}
