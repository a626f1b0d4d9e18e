//! Pictures to classes with trained weights.

use crate::autotune::Tuner;
use crate::data::{Picture, fit};
use crate::error::{Error, Note, Result};
use crate::exchange::{ModelFile, OpenOptions};
use crate::gpu::Gpu;
pub use crate::infer::Prediction;
use crate::infer::{check_logits, most_probable, transfer};
use crate::models::Settings;
use crate::plan::PlanOptions;
use crate::tensor::Precision;
use crate::train::{EvaluationStep, tune_inference};
use crate::weights::Metadata;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How a classifier is opened.
#[derive(Default)]
pub struct ClassifierOptions<'a, 't> {
    /// What is said of the file.
    pub open: OpenOptions<'a>,
    /// How activations lie in memory.
    pub precision: Precision,
    /// What chooses the kernels; a built-in table if there is none.
    pub tuner: Option<&'a mut Tuner<'t>>,
}

/// A network with trained weights on a GPU. Threads may share it: their batches are computed one after the other.
pub struct Classifier {
    /// It has one set of inputs and outputs.
    step: Mutex<EvaluationStep>,
    metadata: Metadata,
    named: bool,
    assumed: bool,
    notes: Vec<Note>,
    /// The names of both classes of a network with one output.
    pair: Option<[String; 2]>,
    batch_size: usize,
}

impl Classifier {
    /// Loads weights of any format. A file without Ocelli's metadata is recognised by names and shapes of its tensors; its
    /// classes then are numbered and its pictures prepared as is usual for its network.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used, [`Error::Gpu`] if the network does not fit.
    pub fn open(gpu: &Arc<Gpu>, path: &Path, batch_size: usize) -> Result<Self> {
        Self::open_as(gpu, path, batch_size, ClassifierOptions::default())
    }

    /// The same with other than the usual options.
    ///
    /// # Errors
    /// As [`ModelFile::open`] and [`Tuner::tune`]; [`Error::NoAdapter`] if the adapter lacks the precision.
    pub fn open_as(
        gpu: &Arc<Gpu>,
        path: &Path,
        batch_size: usize,
        options: ClassifierOptions,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::usage("a batch of 0 pictures").hint("give a number of at least 1"));
        }
        let opened = ModelFile::open(path, options.open)?;
        // What makes no sense here is the fault of the file, not of who asked.
        let fault = |e: Error| match e {
            Error::Usage(report) => Error::Data(report).at(format!("{}: its metadata", path.display())),
            other => other.at(path.display().to_string()),
        };
        let settings = Settings { precision: options.precision, ..opened.settings(batch_size) };
        let ModelFile { model, metadata, named, assumed, notes, tensors, .. } = opened;
        let network = model.network(&settings).map_err(fault)?;
        let plan = match options.tuner {
            Some(tuner) => {
                tune_inference(tuner, &network).map_err(fault)?;
                tuner.options()
            }
            None => PlanOptions::for_gpu(gpu),
        };
        let step = EvaluationStep::of(gpu, network, batch_size, None, &plan).map_err(fault)?;
        transfer::load(step.session(), step.parameters().iter(), tensors.as_ref())
            .map_err(|e| e.at(path.display().to_string()))?;
        Ok(Self { step: Mutex::new(step), metadata, named, assumed, notes, pair: None, batch_size })
    }

    /// The architecture, the class names, the input size `[h, w, 3]` and the normalisation.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether the classes have names, from the file or by [`Classifier::set_labels`], and not just numbers.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Whether nobody has said how pictures are prepared, so that it is what is usual for the network.
    pub fn is_preprocessing_assumed(&self) -> bool {
        self.assumed
    }

    /// What was chosen of the file and what was left out, a sentence each.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The names of the classes that [`Classifier::set_labels`] has given a network with one output: of 0 and of 1.
    pub fn pair(&self) -> Option<&[String; 2]> {
        self.pair.as_ref()
    }

    /// Names the classes. A network with one output, whose sigmoid is the probability of class 1, takes the names of both classes too.
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

    /// The step that it runs, for [`crate::train::evaluate`]. Nobody else can use the classifier meanwhile.
    pub fn step(&mut self) -> &EvaluationStep {
        self.step.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The logits of each picture in the order of the classes. Pictures of any size are
    /// brought to that of the input as the weights want it.
    ///
    /// # Errors
    /// [`Error::Data`] naming the picture, counted from 0 where there are several, if the network's numbers overflow for it or it is too
    /// narrow to be scaled; [`Error::Gpu`] if the device failed.
    pub fn logits(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        let [h, w, _] = self.metadata.input;
        let classes = self.metadata.classes.len();
        let bytes = self.batch_size * h * w * 4;
        let mut logits = Vec::with_capacity(pictures.len() * classes);
        for chunk in pictures.chunks(self.batch_size) {
            let mut pixels = Vec::with_capacity(bytes);
            for picture in chunk {
                pixels.extend_from_slice(fit(picture.clone(), &self.metadata.preprocessing, h, w)?.rgba());
            }
            // Places that are left have the first picture again.
            while pixels.len() < bytes {
                pixels.extend_from_within(..h * w * 4);
            }
            let rows = self.run(&pixels)?;
            logits.extend(rows.into_iter().take(chunk.len() * classes));
        }
        check_logits(&logits, classes)?;
        Ok(logits.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).collect())
    }

    /// What the network says of a batch.
    fn run(&self, pixels: &[u8]) -> Result<Vec<f32>> {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.unchecked_logits_of(&step.start(pixels, &vec![0; self.batch_size])?)
    }

    /// The `top` most probable classes from the logits of a picture, most probable first.
    ///
    /// # Errors
    /// As [`check_logits`].
    pub fn top(&self, logits: &[f32], top: usize) -> Result<Vec<Prediction>> {
        let classes = self.pair.as_ref().map_or(self.metadata.classes.as_slice(), |pair| pair);
        most_probable(logits, classes, top)
    }

    /// The `top` most probable classes of a picture, most probable first.
    ///
    /// # Errors
    /// As [`Classifier::logits`].
    pub fn classify(&self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        let logits = self.logits(std::slice::from_ref(picture))?;
        self.top(logits.first().map_or(&[], Vec::as_slice), top)
    }
}
