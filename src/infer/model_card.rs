//! What is known of a trained network besides its weights.

use super::{Prediction, imagenet, most_probable};
use crate::error::{Error, Note, Result};
use crate::exchange::{Model, ModelFile};
use crate::models::Arch;
use crate::weights::{Format, Metadata};

/// What is known of a trained network besides its weights: architecture, classes, preprocessing.
pub struct ModelCard {
    /// Not the model: that of an ONNX file has all its weights.
    arch: Option<&'static Arch>,
    format: Format,
    metadata: Metadata,
    named: bool,
    assumed: bool,
    notes: Vec<Note>,
    pair: Option<[String; 2]>,
}

impl ModelCard {
    pub(super) fn of(file: &ModelFile) -> Self {
        let (mut metadata, mut notes) = (file.metadata.clone(), file.notes.clone());
        if let Some((names, note)) = imagenet::names_of(&metadata.classes, file.named) {
            metadata.classes = names;
            notes.push(note);
        }
        Self {
            arch: match &file.model {
                Model::Arch(arch) => Some(arch),
                Model::Imported(_) => None,
            },
            format: file.format,
            metadata,
            named: file.named,
            assumed: file.assumed,
            notes,
            pair: None,
        }
    }

    /// The architecture; `None` for an ONNX graph that is none of the networks here.
    pub fn arch(&self) -> Option<&'static Arch> {
        self.arch
    }

    /// The format of the file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The architecture, the class names, the input size `[h, w, 3]` and the preprocessing.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether the classes have names, from the file or by [`ModelCard::set_labels`]. If not, they have numbers for names, or, if there
    /// are 1000 of them, the names of ImageNet's classes.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Whether the preprocessing is only the usual one of the network. Neither the file nor the caller said which it is.
    pub fn is_preprocessing_assumed(&self) -> bool {
        self.assumed
    }

    /// What was chosen of the file and what was left out, a sentence each.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The names of classes 0 and 1 that [`ModelCard::set_labels`] gave to a network with one output.
    pub fn pair(&self) -> Option<&[String; 2]> {
        self.pair.as_ref()
    }

    /// Names the classes. A network with one output has the probability of class 1 as its sigmoid; it takes one name, that of class 1,
    /// or two.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many names as classes.
    pub fn set_labels(&mut self, labels: Vec<String>) -> Result<()> {
        if let ([_], [zero, one]) = (self.metadata.classes.as_slice(), labels.as_slice()) {
            self.pair = Some([zero.clone(), one.clone()]);
            self.metadata.classes = vec![one.clone()];
            self.named = true;
            return Ok(());
        }
        if labels.len() != self.metadata.classes.len() {
            let (given, wanted) = (labels.len(), self.metadata.classes.len());
            return Err(
                Error::data(format!("{given} names for {wanted} classes")).hint("give one name a line")
            );
        }
        self.metadata.classes = labels;
        self.named = true;
        Ok(())
    }

    /// The `top` most probable classes from the logits of a picture, most probable first.
    ///
    /// # Errors
    /// As [`super::check_logits`].
    pub fn top(&self, logits: &[f32], top: usize) -> Result<Vec<Prediction>> {
        let classes = self.pair.as_ref().map_or(self.metadata.classes.as_slice(), |pair| pair);
        most_probable(logits, classes, top)
    }
}
