//! Pictures to classes with trained weights.

use super::lock::{Mutex, MutexGuard};
use super::prepare::{Prepared, check_batch_size, fault_of_file, prepare};
use super::transfer::Loading;
use super::{
    ActivationRecorder, Activations, ClassifierOptions, Clock, Filters, InferenceStep, LayerInfo, ModelCard,
    Prediction, check_logits, layers,
};
#[cfg(feature = "resize")]
use crate::data::{Picture, fit};
use crate::error::{Error, Result};
use crate::exchange::ModelFile;
use crate::gpu::Gpu;
use crate::models::Settings;
use crate::plan::{Session, check_adapter};
use crate::weights::{Metadata, Source};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

/// A network with trained weights on a GPU.
///
/// Threads may share it: their batches are computed one after the other. Each asynchronous method waits without blocking in a browser;
/// natively it blocks, and the methods without `_async` in their names do the same for callers that are not asynchronous.
///
/// A picture is prepared before the network sees it: scaled and cut to the size of the input, with its channels in the order of the
/// network. Methods that take a `Picture` do that and need the feature `resize`. Methods that take prepared pixels need no feature: each
/// picture is `height * width` pixels of the input, row by row, of four bytes: three channels in the order
/// `metadata().preprocessing.order`, and one that is not used.
pub struct Classifier {
    gpu: Arc<Gpu>,
    /// The step has one set of inputs and outputs.
    running: Mutex<Running>,
    card: ModelCard,
    layers: Vec<LayerInfo>,
    cost: NetworkCost,
    settings: Settings,
}

pub(super) struct Running {
    pub(super) step: InferenceStep,
    /// Made by the first question for activations.
    recorder: Option<ActivationRecorder>,
}

/// What a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkCost {
    /// Trained numbers.
    pub parameters: u64,
    /// Multiply-adds of a batch.
    pub macs: u64,
    /// Memory of the GPU in bytes.
    pub gpu_bytes: u64,
    /// Dispatches of a batch.
    pub kernels: usize,
}

impl Classifier {
    /// Loads a file of weights; its content says which format it has. A file without Ocelli's metadata is recognised by the names and
    /// shapes of its tensors. Its classes then are numbered, and the preprocessing is the usual one of its network.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Data`] if the file cannot be used, [`Error::Usage`] for options that make no sense,
    /// [`Error::Gpu`] if the network does not fit, [`Error::NoAdapter`] if the adapter lacks the precision.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(gpu: &Arc<Gpu>, path: impl AsRef<Path>, options: ClassifierOptions) -> Result<Self> {
        fn open(gpu: &Arc<Gpu>, path: &Path, options: ClassifierOptions) -> Result<Classifier> {
            check_batch_size(options.batch_size)?;
            let file = ModelFile::open(path, options.file)?;
            Classifier::loaded(gpu, &file, options, Some(path))
        }
        open(gpu, path.as_ref(), options)
    }

    /// Loads a file of weights that is in memory, as [`Classifier::open`]. It has no folder, so an ONNX model that keeps tensors in other
    /// files is refused, whatever `options.file.external_data` says.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    #[cfg(not(target_family = "wasm"))]
    pub fn from_bytes(gpu: &Arc<Gpu>, bytes: Vec<u8>, options: ClassifierOptions) -> Result<Self> {
        pollster::block_on(Self::from_bytes_async(gpu, bytes, options))
    }

    /// Loads a file of weights that is in memory. The kernels have been compiled when it returns.
    ///
    /// # Errors
    /// As `Classifier::open`.
    pub async fn from_bytes_async(
        gpu: &Arc<Gpu>,
        bytes: Vec<u8>,
        options: ClassifierOptions<'_, '_>,
    ) -> Result<Self> {
        check_batch_size(options.batch_size)?;
        let file = ModelFile::parse(bytes, options.file)?;
        let classifier = Self::loaded(gpu, &file, options, None)?;
        classifier.compiled_async().await?;
        Ok(classifier)
    }

    fn loaded(
        gpu: &Arc<Gpu>,
        file: &ModelFile,
        options: ClassifierOptions,
        path: Option<&Path>,
    ) -> Result<Self> {
        let classifier = Self::unloaded(gpu, file, options).map_err(|e| fault_of_file(e, path))?;
        let loaded = classifier.load(file.tensors.as_ref());
        loaded.map_err(|e| match path {
            Some(path) => e.at(path.display().to_string()),
            None => e,
        })?;
        Ok(classifier)
    }

    /// Makes the network of a file with parameters that are all zero until they are loaded. `options.file` is not used: the file has
    /// been opened. In a browser [`Classifier::compiled_async`] compiles the kernels.
    ///
    /// # Errors
    /// [`Error::Usage`] if the network cannot be built with this metadata, [`Error::Gpu`] if it does not fit, [`Error::NoAdapter`]
    /// if the adapter lacks the precision.
    pub fn unloaded(gpu: &Arc<Gpu>, file: &ModelFile, options: ClassifierOptions) -> Result<Self> {
        let Prepared { card, network, settings, plan } = prepare(gpu, file, options)?;
        let step = InferenceStep::new(gpu, network, &plan)?;
        let trained = step.parameters().iter().filter(|p| p.trained);
        let plan = step.session().plan();
        let cost = NetworkCost {
            parameters: trained.filter_map(|p| p.shape.elements()).map(|n| n as u64).sum(),
            macs: plan.macs(),
            gpu_bytes: plan.memory().total(),
            kernels: plan.dispatches().len(),
        };
        let layers = step.layers().to_vec();
        let running = Mutex::new(Running { step, recorder: None });
        Ok(Self { gpu: gpu.clone(), running, card, layers, cost, settings })
    }

    /// Loads all parameters, in place of those that it has.
    ///
    /// After an error some parameters are those of the file and some are not. Load again before anything is computed.
    ///
    /// # Errors
    /// As [`super::transfer::load`]; in a browser [`Error::Usage`] while it computes.
    pub fn load(&self, tensors: &dyn Source) -> Result<()> {
        self.lock()?.step.load(tensors)
    }

    /// Begins to load a file that is still arriving.
    ///
    /// # Errors
    /// As [`Loading::new`]; in a browser [`Error::Usage`] while it computes.
    pub fn loading(&self, tensors: &dyn Source) -> Result<Loading> {
        Loading::new(self.lock()?.step.parameters().iter(), tensors)
    }

    /// Takes rows of a file that is still arriving, as [`Loading::take`].
    ///
    /// Until all rows of all tensors are there, and after an error, the parameters are undefined.
    ///
    /// # Errors
    /// As [`Loading::take`]; in a browser [`Error::Usage`] while it computes.
    pub fn load_rows(
        &self,
        loading: &mut Loading,
        tensors: &dyn Source,
        name: &str,
        rows: Range<usize>,
    ) -> Result<()> {
        loading.take(self.lock()?.step.session(), tensors, name, rows)
    }

    /// Waits until the kernels are compiled. Weights may be loaded meanwhile. Natively they have been compiled already.
    ///
    /// # Errors
    /// As [`crate::plan::Session::compiled`].
    pub async fn compiled_async(&self) -> Result<()> {
        if cfg!(target_family = "wasm") {
            check_adapter(&self.gpu).await?;
            // A copy, so that loading need not wait for the compiler.
            let plan = self.running.lock().await.step.session().plan().clone();
            plan.compiled(&self.gpu).await?;
        }
        self.running.lock().await.step.session().compiled().await
    }

    /// The step, from a caller that is not asynchronous.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, Running>> {
        #[cfg(not(target_family = "wasm"))]
        return Ok(self.running.lock_blocking());
        #[cfg(target_family = "wasm")]
        self.running
            .try_lock()
            .ok_or_else(|| Error::usage("the classifier is computing").hint("await its answer first"))
    }

    /// What is known of the network besides its weights.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What is known of the network, to name its classes.
    pub fn card_mut(&mut self) -> &mut ModelCard {
        &mut self.card
    }

    /// The architecture, the class names, the input size `[h, w, 3]` and the preprocessing.
    pub fn metadata(&self) -> &Metadata {
        self.card.metadata()
    }

    /// What the network takes.
    pub fn cost(&self) -> NetworkCost {
        self.cost
    }

    /// Pictures in one run of the network.
    pub fn batch_size(&self) -> usize {
        self.settings.batch_size
    }

    /// The sizes of the network, its normalisation and its precision.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The device of the network.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Uses the step, for code that plans the network once more and shares its weights.
    pub(crate) async fn with_step<T>(&self, using: impl FnOnce(&InferenceStep) -> Result<T>) -> Result<T> {
        using(&self.running.lock().await.step)
    }

    /// Makes something that shares the weights, with memory of its own.
    pub(crate) async fn share<T>(&self, make: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let running = self.running.lock().await;
        self.gpu.if_memory_suffices(|| make(running.step.session())).await
    }

    /// The layers in the order of their computation: the prepared picture first, the logits last.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The names that [`Classifier::activations_of_prepared_async`] takes, in the order of the computation.
    pub fn layer_names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|layer| layer.output.as_str())
    }

    /// The `top` most probable classes from the logits of a picture, most probable first.
    ///
    /// # Errors
    /// As [`check_logits`].
    pub fn top(&self, logits: &[f32], top: usize) -> Result<Vec<Prediction>> {
        self.card.top(logits, top)
    }

    /// Bytes of a prepared picture.
    fn prepared_bytes(&self) -> usize {
        let [h, w, _] = self.metadata().input;
        h * w * 4
    }

    /// The logits of prepared pictures, of each in the order of the classes.
    ///
    /// # Errors
    /// [`Error::Usage`] for a part of a picture; [`Error::Data`] naming the picture, counted from 0 where there are several, whose logits
    /// overflow; [`Error::Gpu`] if the device failed.
    pub async fn logits_of_prepared_async(&self, pixels: &[u8]) -> Result<Vec<Vec<f32>>> {
        let one = self.prepared_bytes();
        if !pixels.len().is_multiple_of(one) {
            return Err(Error::usage(format!("{} bytes are no whole pictures", pixels.len()))
                .hint(format!("give {one} bytes for each picture")));
        }
        let mut take = |numbers: Range<usize>| Ok(pixels[numbers.start * one..numbers.end * one].to_vec());
        self.batches(pixels.len() / one.max(1), &mut take, &mut |_| ControlFlow::Continue(())).await
    }

    /// Runs so many pictures a batch at a time. `take` gives the prepared pixels of some; `progress` hears after each batch how many are
    /// done.
    async fn batches(
        &self,
        count: usize,
        take: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let classes = self.metadata().classes.len();
        let logits = self.unchecked(count, take, progress).await?;
        check_logits(&logits, classes)?;
        Ok(logits.chunks_exact(classes.max(1)).map(<[f32]>::to_vec).collect())
    }

    /// As `batches`: the logits one after the other. NaN and infinity are not looked for.
    pub(super) async fn unchecked(
        &self,
        count: usize,
        take: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<f32>> {
        let classes = self.metadata().classes.len();
        let mut logits = Vec::with_capacity(count * classes);
        let mut done = 0;
        while done < count {
            let end = done.saturating_add(self.batch_size()).min(count);
            let rows = self.run(take(done..end)?).await?;
            logits.extend(rows.into_iter().take((end - done) * classes));
            done = end;
            if progress(done).is_break() && done < count {
                return Err(Error::stopped(format!("stopped after {done} of {count} pictures")));
            }
        }
        Ok(logits)
    }

    /// The logits of a batch. Places without a picture compute the first one again.
    async fn run(&self, pixels: Vec<u8>) -> Result<Vec<f32>> {
        let pixels = self.fill(pixels);
        let running = self.running.lock().await;
        let run = running.step.start(&pixels)?;
        running.step.unchecked_logits(&run).await
    }

    /// Repeats the first picture in the places of a batch that are left.
    fn fill(&self, mut pixels: Vec<u8>) -> Vec<u8> {
        let one = self.prepared_bytes();
        pixels.reserve_exact((self.batch_size() * one).saturating_sub(pixels.len()));
        while pixels.len() < self.batch_size() * one {
            pixels.extend_from_within(..one);
        }
        pixels
    }

    /// What a layer computes for a prepared picture. The first question takes memory for all layers.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no layer of this name, see [`Classifier::layer_names`], or not one picture;
    /// [`Error::Data`] if a number of the layer overflows; [`Error::Gpu`] if the memory does not suffice or the device failed.
    pub async fn activations_of_prepared_async(&self, pixels: &[u8], layer: &str) -> Result<Activations> {
        let number = layers::find(&self.layers, layer)?;
        let one = self.prepared_bytes();
        if pixels.len() != one {
            return Err(Error::usage(format!("{} bytes are not one picture", pixels.len()))
                .hint(format!("give {one} bytes")));
        }
        let pixels = self.fill(pixels.to_vec());
        let mut running = self.running.lock().await;
        let Running { step, recorder } = &mut *running;
        let recorder = match recorder {
            Some(recorder) => recorder,
            None => recorder.insert(ActivationRecorder::new(step).await?),
        };
        recorder.run(&pixels)?;
        let mut data = recorder.activations(number).await?;
        let shape = self.layers.get(number).map_or([0; 3], |layer| layer.shape);
        data.truncate(shape.iter().product());
        Ok(Activations { shape, data })
    }

    /// A recorder of the activations of all layers, with memory of its own, for batches of prepared pictures.
    ///
    /// # Errors
    /// As [`ActivationRecorder::new`].
    pub async fn recorder_async(&self) -> Result<ActivationRecorder> {
        ActivationRecorder::new(&self.running.lock().await.step).await
    }

    /// The filters of the first convolution, as [`InferenceStep::filters`].
    ///
    /// # Errors
    /// As [`InferenceStep::filters`].
    pub async fn filters_async(&self) -> Result<Option<Filters>> {
        self.running.lock().await.step.filters().await
    }

    /// Runs the last batch again and measures each layer, as [`InferenceStep::time_layers`].
    ///
    /// # Errors
    /// As [`InferenceStep::time_layers`].
    pub async fn time_layers_async(&self, now: &dyn Fn() -> f64) -> Result<(Clock, Vec<f64>)> {
        self.running.lock().await.step.time_layers(now).await
    }
}

/// Pictures of any size.
#[cfg(feature = "resize")]
impl Classifier {
    /// Prepares a picture: its pixels as the network takes them.
    ///
    /// # Errors
    /// [`Error::Data`] if the picture is too narrow to be scaled.
    pub fn prepare(&self, picture: Picture) -> Result<Vec<u8>> {
        let [h, w, _] = self.metadata().input;
        Ok(fit(picture, &self.metadata().preprocessing, h, w)?.into_rgba())
    }

    /// The logits of pictures, of each in the order of the classes.
    ///
    /// # Errors
    /// [`Error::Data`] naming the picture, counted from 0 where there are several, that is too narrow to be scaled or whose logits
    /// overflow; [`Error::Gpu`] if the device failed.
    pub async fn logits_async(&self, pictures: &[Picture]) -> Result<Vec<Vec<f32>>> {
        self.logits_with_progress_async(pictures, &mut |_| ControlFlow::Continue(())).await
    }

    /// The logits of pictures. `progress` hears after each batch how many pictures are done, and may stop the rest.
    ///
    /// # Errors
    /// As [`Classifier::logits_async`]; [`Error::Stopped`] if `progress` asked for it.
    pub async fn logits_with_progress_async(
        &self,
        pictures: &[Picture],
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let mut take = |numbers: Range<usize>| {
            let mut pixels = Vec::with_capacity(self.batch_size() * self.prepared_bytes());
            for number in numbers {
                let prepared = pictures.get(number).cloned().map(|picture| self.prepare(picture));
                let place = |e: Error| if pictures.len() > 1 { e.at(format!("picture {number}")) } else { e };
                pixels.extend(prepared.transpose().map_err(place)?.unwrap_or_default());
            }
            Ok(pixels)
        };
        self.batches(pictures.len(), &mut take, progress).await
    }

    /// The `top` most probable classes of a picture, most probable first.
    ///
    /// # Errors
    /// As [`Classifier::logits_async`].
    pub async fn classify_async(&self, picture: &Picture, top: usize) -> Result<Vec<Prediction>> {
        let logits = self.logits_async(std::slice::from_ref(picture)).await?;
        self.top(logits.first().map_or(&[], Vec::as_slice), top)
    }

    /// The `top` most probable classes of each picture. `progress` hears after each batch how many pictures are done, and may stop
    /// the rest.
    ///
    /// # Errors
    /// As [`Classifier::logits_with_progress_async`].
    pub async fn classify_all_async(
        &self,
        pictures: &[Picture],
        top: usize,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Prediction>>> {
        let logits = self.logits_with_progress_async(pictures, progress).await?;
        logits.iter().map(|logits| self.top(logits, top)).collect()
    }

    /// What a layer computes for a picture: `classifier.activations_async(&picture, "layer1.0.relu1")`.
    ///
    /// # Errors
    /// As [`Classifier::activations_of_prepared_async`] and [`Classifier::prepare`].
    pub async fn activations_async(&self, picture: &Picture, layer: &str) -> Result<Activations> {
        layers::find(&self.layers, layer)?;
        self.activations_of_prepared_async(&self.prepare(picture.clone())?, layer).await
    }
}
