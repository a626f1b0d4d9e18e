//! Pictures to classes with trained weights.

use crate::data::{Normalization, Picture, fit};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Precision;
use crate::models::{Arch, Found, Settings, recognise_as};
use crate::plan::{PlanOptions, Tuner};
use crate::train::{EvaluationStep, transfer, tune_inference};
use crate::weights::{self, Metadata};
use std::path::Path;
use std::sync::Arc;

/// A class with its probability.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Prediction {
    /// The number of the class, counted from 0.
    pub index: usize,
    /// Its name.
    pub label: String,
    /// Its softmax probability.
    pub probability: f64,
}

/// A network with trained weights on a GPU.
pub struct Classifier {
    step: EvaluationStep,
    metadata: Metadata,
    named: bool,
    batch_size: usize,
}

impl Classifier {
    /// Loads weights. A file without Ocelli's metadata is recognised by names and shapes of its tensors; its classes
    /// then are numbered and its pictures normalised as usual for ImageNet.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used, [`Error::Gpu`] if the network does not fit.
    pub fn open(gpu: &Arc<Gpu>, path: &Path, batch_size: usize) -> Result<Self> {
        Self::open_as(gpu, path, batch_size, None, Precision::F32, None)
    }

    /// Loads weights as those of `arch`, if it says one: for files that several variants fit. Activations lie in memory in
    /// this precision; a tuner, if there is one, chooses the kernels.
    ///
    /// # Errors
    /// As [`Classifier::open`] and [`Tuner::tune`]; [`Error::Usage`] for a variant that there is not, [`Error::NoAdapter`]
    /// if the adapter lacks the precision.
    pub fn open_as(
        gpu: &Arc<Gpu>,
        path: &Path,
        batch_size: usize,
        arch: Option<&str>,
        precision: Precision,
        tuner: Option<&mut Tuner>,
    ) -> Result<Self> {
        let wanted = arch.map(Arch::find).transpose()?;
        let place = || path.display().to_string();
        if batch_size == 0 {
            return Err(Error::usage("a batch of 0 pictures").cure("give a number of at least 1"));
        }
        let weights = weights::read(path)?;
        let named = weights.metadata.is_some();
        let metadata = match weights.metadata {
            Some(metadata) => metadata,
            None => {
                let names = weights.tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect();
                let found = recognise_as(&names, wanted).map_err(|e| e.at(place()))?;
                let Found { arch, classes, size } = found;
                Metadata {
                    arch: arch.name.to_owned(),
                    classes: (0..classes).map(|i| format!("class {i}")).collect(),
                    input: [size, size, 3],
                    normalization: Normalization::IMAGENET,
                }
            }
        };
        // What makes no sense here is the fault of the file, not of who asked.
        let fault = |e: Error| match e {
            Error::Usage(report) => Error::Data(report).at(format!("{}: its metadata", place())),
            other => other.at(place()),
        };
        let arch = match wanted {
            Some(arch) => arch,
            None => Arch::find(&metadata.arch).map_err(fault)?,
        };
        let metadata = Metadata { arch: arch.name.to_owned(), ..metadata };
        let settings = Settings {
            batch_size,
            size: [metadata.input[0], metadata.input[1]],
            classes: metadata.classes.len(),
            mean: metadata.normalization.mean,
            std: metadata.normalization.std,
            precision,
        };
        let options = match tuner {
            Some(tuner) => {
                tune_inference(tuner, arch, &settings).map_err(fault)?;
                tuner.options()
            }
            None => PlanOptions::for_gpu(gpu),
        };
        let step = EvaluationStep::planned(gpu, arch, &settings, None, &options).map_err(fault)?;
        transfer::load(step.session(), step.parameters().iter(), &weights.tensors)
            .map_err(|e| e.at(place()))?;
        Ok(Self { step, metadata, named, batch_size })
    }

    /// The architecture, the class names, the input size `[h, w, 3]` and the normalisation.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Whether the classes have names, from the file or by [`Classifier::set_labels`], and not just numbers.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Names the classes.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not as many names as classes.
    pub fn set_labels(&mut self, labels: Vec<String>) -> Result<()> {
        if labels.len() != self.metadata.classes.len() {
            let (given, wanted) = (labels.len(), self.metadata.classes.len());
            return Err(
                Error::data(format!("{given} names for {wanted} classes")).cure("give one name a line")
            );
        }
        self.metadata.classes = labels;
        self.named = true;
        Ok(())
    }

    /// The step that it runs, for [`crate::train::evaluate`].
    pub fn step(&self) -> &EvaluationStep {
        &self.step
    }

    /// The logits of each picture in the order of the classes. Pictures of any size are scaled so that they cover
    /// the input, and cut to it around their centre.
    ///
    /// # Errors
    /// [`Error::Gpu`] if the device failed.
    pub fn logits(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        let [h, w, _] = self.metadata.input;
        let mut logits = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(self.batch_size) {
            let mut pixels = Vec::with_capacity(self.batch_size * h * w * 4);
            for picture in chunk {
                pixels.extend_from_slice(&fit(picture.clone(), h, w)?.rgba);
            }
            pixels.resize(self.batch_size * h * w * 4, 0);
            self.step.run(&pixels, &vec![0; self.batch_size])?;
            let rows = self.step.logits()?;
            logits.extend(
                rows.chunks_exact(self.metadata.classes.len()).take(chunk.len()).map(<[f32]>::to_vec),
            );
        }
        Ok(logits)
    }

    /// The `top` most probable classes from the logits of a picture, most probable first.
    pub fn top(&self, logits: &[f32], top: usize) -> Vec<Prediction> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f64> = logits.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let named = order.into_iter().zip(0..top).filter_map(|(index, _)| {
            let label = self.metadata.classes.get(index)?.clone();
            Some(Prediction { index, label, probability: weights[index] / sum })
        });
        named.collect()
    }

    /// The `top` most probable classes of a picture, most probable first.
    ///
    /// # Errors
    /// As [`Classifier::logits`].
    pub fn classify(&self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        let logits = self.logits(std::slice::from_ref(picture))?;
        Ok(logits.first().map(|logits| self.top(logits, top)).unwrap_or_default())
    }
}
