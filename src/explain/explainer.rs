//! A network that is looked into.

use super::filters;
use super::layers::{ExplainLayer, find, first_map, last_map, layers, middle_map};
use super::map::Map;
use super::network::Origin;
use super::probe::{Probe, Wanted};
use crate::data::{ChannelOrder, Normalization, Picture, Preprocessing};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::infer::{Classifier, probabilities, top_of};
use crate::plan::PlanOptions;
use crate::tensor::Value;
use crate::weights::Metadata;
use std::sync::Arc;

/// The most probes that are kept for the next question.
const KEPT: usize = 3;

/// The most pictures of a batch.
const LARGEST_BATCH: usize = 64;

/// The most GPU memory of a batch of pictures, in bytes, besides the weights.
const BATCH_MEMORY: u64 = 256 << 20;

/// Explains a trained network: each function of [`crate::explain`] takes one. It shares the weights of the classifier that it was made of,
/// takes GPU memory when it is asked something, and keeps the last few plans, so that the next question of the same kind is quick.
///
/// It computes in f32, whatever the precision of the classifier is. If the weights of the classifier are loaded again, those are
/// explained.
pub struct Explainer {
    gpu: Arc<Gpu>,
    options: PlanOptions,
    metadata: Metadata,
    class_names: Vec<String>,
    origin: Origin,
    /// The graph for one picture, to look up layers.
    graph: Graph,
    input: Value,
    logits: Value,
    layers: Vec<ExplainLayer>,
    /// The whole network for one picture. It holds all weights.
    whole: Probe,
    kept: Vec<(Wanted, Probe)>,
    largest_batch: usize,
    /// The sizes of batches that have been found: for so many pictures and what is wanted of them.
    batches: Vec<(usize, Wanted, usize)>,
    needs: Box<dyn FnMut(u64) + Send>,
}

/// A picture as a network takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    height: usize,
    width: usize,
    /// RGBA, with the channels in the order of the network.
    pub(super) pixels: Vec<u8>,
    order: ChannelOrder,
}

impl Input {
    /// The picture as the network sees it: scaled and cropped, in red, green and blue.
    ///
    /// # Errors
    /// [`Error::Data`] for a picture without pixels.
    pub fn picture(&self) -> Result<Picture> {
        let mut pixels = self.pixels.clone();
        if self.order == ChannelOrder::Bgr {
            pixels.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        Picture::from_rgba(self.height, self.width, pixels)
    }
}

impl Explainer {
    /// Makes an explainer of a classifier with loaded weights. `needs` hears of GPU memory, in bytes, before it is taken.
    ///
    /// # Errors
    /// [`Error::Usage`] for an ONNX graph in half precision, or whose pixels are not normalised first; [`Error::Gpu`] if the memory
    /// does not suffice.
    pub async fn new_async(
        classifier: &Classifier,
        mut needs: impl FnMut(u64) + Send + 'static,
    ) -> Result<Self> {
        let gpu = classifier.gpu().clone();
        let options = classifier.with_step(|step| Ok(step.planned().2.clone())).await?;
        let origin = Origin::of(classifier).await?;
        let network = origin.network(origin.batch(1), false)?;
        let (graph, input, logits) = (network.graph.clone(), network.input, network.logits);
        let layers = layers(&graph)?;
        let wanted = Wanted { batch: origin.batch(1), values: vec![logits.index()], ..Wanted::default() };
        let prepared = Probe::planned(network, &wanted, &options)?;
        prepared.compiled(&gpu).await?;
        needs(prepared.bytes());
        let whole = classifier.share(|weights| prepared.made(&gpu, weights)).await?;
        Ok(Self {
            gpu,
            options,
            metadata: classifier.metadata().clone(),
            class_names: classifier.card().class_names(),
            origin,
            graph,
            input,
            logits,
            layers,
            whole,
            kept: Vec::new(),
            largest_batch: LARGEST_BATCH,
            batches: Vec::new(),
            needs: Box::new(needs),
        })
    }

    /// Sets the most pictures of a batch: 1 to 64, rounded down to a power of two; it is 64 at first. Smaller batches tell their progress
    /// more often, and can be stopped sooner. An ONNX graph has batches of one size, whatever is set here.
    pub fn set_largest_batch(&mut self, pictures: usize) {
        self.largest_batch = 1 << pictures.clamp(1, LARGEST_BATCH).ilog2();
        self.batches.clear();
    }

    /// The layers that can be explained, in the order of their computation.
    pub fn layers(&self) -> &[ExplainLayer] {
        &self.layers
    }

    /// The layer of this name, or the only one whose name has this part.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layers.
    pub fn layer(&self, name: &str) -> Result<&ExplainLayer> {
        find(&self.layers, name, self.origin.is_listed())
    }

    /// The layer of this name; without a name the last map before the classifier: the last ReLU, sum or concatenation that has height
    /// and width.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layers, or if there is no such map.
    pub fn layer_or_last_map(&self, name: Option<&str>) -> Result<&ExplainLayer> {
        match name {
            Some(name) => self.layer(name),
            None => last_map(&self.graph, &self.layers, self.logits),
        }
    }

    /// The layer of this name; without a name the ReLU with height and width in the middle of the network.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layers.
    pub fn layer_or_middle_map(&self, name: Option<&str>) -> Result<&ExplainLayer> {
        match name {
            Some(name) => self.layer(name),
            None => middle_map(&self.layers),
        }
    }

    /// The layer of this name; without a name the first ReLU with height and width.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layers.
    pub fn layer_or_first_map(&self, name: Option<&str>) -> Result<&ExplainLayer> {
        match name {
            Some(name) => self.layer(name),
            None => first_map(&self.layers),
        }
    }

    /// The names of the classes.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// How a picture is prepared.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.metadata.preprocessing
    }

    /// Height and width of the input.
    pub fn size(&self) -> [usize; 2] {
        let [h, w, _] = self.metadata.input;
        [h, w]
    }

    /// Prepares a picture: scales and crops it as the network takes it.
    ///
    /// # Errors
    /// [`Error::Data`] if the picture is too narrow to be scaled.
    #[cfg(feature = "resize")]
    pub fn input(&self, picture: &Picture) -> Result<Input> {
        let [h, w] = self.size();
        self.prepared(crate::data::fit(picture.clone(), &self.metadata.preprocessing, h, w)?.into_rgba())
    }

    /// Takes a picture that has been prepared: the RGBA pixels that [`Classifier::logits_of_prepared_async`] takes.
    ///
    /// # Errors
    /// [`Error::Usage`] for another number of bytes.
    pub fn prepared(&self, pixels: Vec<u8>) -> Result<Input> {
        let [height, width] = self.size();
        let bytes = height * width * 4;
        if pixels.len() != bytes {
            return Err(Error::usage(format!("{} bytes are not one picture", pixels.len()))
                .hint(format!("give {bytes} bytes")));
        }
        Ok(Input { height, width, pixels, order: self.metadata.preprocessing.order })
    }

    /// The probability of each class for a picture.
    ///
    /// # Errors
    /// [`Error::Data`] if a number overflows, [`Error::Gpu`] if the device failed.
    pub async fn probabilities_async(&self, input: &Input) -> Result<Vec<f64>> {
        let numbers = self.normalised(&input.pixels);
        self.whole.run(&numbers.repeat(self.origin.batch(1)), &[])?;
        let logits = self.whole.value(0).await?;
        Ok(probabilities(logits.get(..self.outputs()).unwrap_or_default()))
    }

    /// A class: the one that was asked for, or the most probable one.
    pub(super) async fn class(&self, input: &Input, asked: Option<usize>) -> Result<Class> {
        let probabilities = self.probabilities_async(input).await?;
        let most = || top_of(&probabilities, &self.class_names, 1).first().map_or(0, |most| most.index);
        let index = asked.unwrap_or_else(most);
        let probability = *probabilities.get(index).ok_or_else(|| self.no_class(index))?;
        Ok(Class { index, probability })
    }

    fn no_class(&self, index: usize) -> Error {
        let classes = self.class_names.len();
        Error::usage(format!("there is no class {index}"))
            .hint(format!("the {classes} classes are counted from 0 to {}", classes.saturating_sub(1)))
    }

    /// The seed of the logits whose gradient is that of one class. A network with one output has the second class as its logit, and the
    /// first as the negative of it.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such class.
    pub(super) fn seed_of_class(&self, class: usize) -> Result<Vec<f32>> {
        if class >= self.class_names.len() {
            return Err(self.no_class(class));
        }
        let mut seed = vec![0.0; self.outputs()];
        match seed.as_mut_slice() {
            [one] => *one = if class == 0 { -1.0 } else { 1.0 },
            all => all.iter_mut().skip(class).take(1).for_each(|x| *x = 1.0),
        }
        Ok(seed)
    }

    /// The number of logits.
    pub(super) fn outputs(&self) -> usize {
        self.graph.shape(self.logits).map_or(0, |shape| shape.dims()[3])
    }

    /// The node of the logits.
    pub(super) fn logits(&self) -> usize {
        self.logits.index()
    }

    /// A prepared picture as normalised numbers, computed as [`Graph::preprocess`] does.
    pub(super) fn normalised(&self, pixels: &[u8]) -> Vec<f32> {
        let Normalization { mean, std } = self.metadata.preprocessing.channels();
        let scale = std.map(|std| (1.0 / (255.0 * f64::from(std))) as f32);
        let shift = [0, 1, 2].map(|c: usize| (-f64::from(mean[c]) / f64::from(std[c])) as f32);
        let of = |pixel: &[u8; 4]| [0, 1, 2].map(|c: usize| f32::from(pixel[c]) * scale[c] + shift[c]);
        pixels.as_chunks::<4>().0.iter().flat_map(of).collect()
    }

    /// Mean and standard deviation of the input, in the order of its channels.
    pub(super) fn normalization(&self) -> Normalization {
        self.metadata.preprocessing.channels()
    }

    /// Numbers for each channel of the input as a map of red, green and blue.
    pub(super) fn map_of_input(&self, mut data: Vec<f32>) -> Map {
        self.reorder(&mut data);
        let [h, w] = self.size();
        Map { shape: [h, w, 3], data }
    }

    /// Puts numbers for each channel of the input in the order red, green and blue.
    pub(super) fn reorder(&self, data: &mut [f32]) {
        if self.metadata.preprocessing.order == ChannelOrder::Bgr {
            data.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
    }

    /// Red, green and blue in the order of the channels of the input.
    pub(super) fn colour(&self, [r, g, b]: [u8; 3]) -> [u8; 3] {
        match self.metadata.preprocessing.order {
            ChannelOrder::Bgr => [b, g, r],
            ChannelOrder::Rgb => [r, g, b],
        }
    }

    /// The size of a batch for so many pictures: at most [`Explainer::set_largest_batch`], and so that its plan takes at most 256 MiB
    /// besides the weights. All batches are equally full, as nearly as they can be.
    ///
    /// # Errors
    /// As [`crate::models::Arch::network`].
    pub(super) fn batch(&mut self, pictures: usize, wanted: &Wanted) -> Result<usize> {
        let known = self.batches.iter().find(|(of, known, _)| *of == pictures && known == wanted);
        if let Some((_, _, batch)) = known {
            return Ok(*batch);
        }
        let batch = self.largest_that_fits(pictures, wanted)?;
        self.batches.push((pictures, wanted.clone(), batch));
        Ok(batch)
    }

    fn largest_that_fits(&self, pictures: usize, wanted: &Wanted) -> Result<usize> {
        let mut batch = pictures.clamp(1, self.largest_batch).next_power_of_two();
        loop {
            let actual = self.origin.batch(batch);
            let wanted = Wanted { batch: actual, ..wanted.clone() };
            // A graph of too many numbers, and a plan that the adapter refuses, are too large too.
            let network = self.origin.network(actual, wanted.pixels);
            let planned = network.and_then(|network| Probe::planned(network, &wanted, &self.options));
            let is_last = batch == 1 || actual != batch;
            if is_last || planned.is_ok_and(|planned| planned.bytes() <= BATCH_MEMORY) {
                let rounds = pictures.div_ceil(actual).max(1);
                return Ok(self.origin.batch(pictures.div_ceil(rounds)));
            }
            batch /= 2;
        }
    }

    /// A probe, from those that are kept or a new one. `wanted.batch` comes from [`Explainer::batch`] or is 1.
    ///
    /// # Errors
    /// As [`Probe::planned`] and [`super::probe::PlannedProbe::made`].
    pub(super) async fn probe(&mut self, mut wanted: Wanted) -> Result<&Probe> {
        wanted.batch = self.origin.batch(wanted.batch);
        match self.kept.iter().position(|(kept, _)| *kept == wanted) {
            // The last one is the most recent.
            Some(at) => self.kept[at..].rotate_left(1),
            None => {
                let network = self.origin.network(wanted.batch, wanted.pixels)?;
                if self.kept.len() >= KEPT {
                    self.kept.remove(0);
                }
                let planned = Probe::planned(network, &wanted, &self.options)?;
                planned.compiled(&self.gpu).await?;
                (self.needs)(planned.bytes());
                let made = || planned.made(&self.gpu, self.whole.session());
                let probe = self.gpu.if_memory_suffices(made).await?;
                self.kept.push((wanted, probe));
            }
        }
        let last = self.kept.last().map(|(_, probe)| probe);
        last.ok_or_else(|| Error::internal("a probe that was not kept"))
    }

    /// The number of pictures of a batch that `wanted` gets.
    pub(super) fn batch_of(&self, pictures: usize) -> usize {
        self.origin.batch(pictures)
    }

    /// The part of the input that a place of a layer depends on: first row, first column, height, width.
    ///
    /// # Errors
    /// As [`Graph::node`].
    pub(super) fn receptive_field(&self, layer: &ExplainLayer, place: [usize; 2]) -> Result<[usize; 4]> {
        let value = self.graph.values().nth(layer.node);
        let value = value.ok_or_else(|| Error::internal("a layer of another network"))?;
        super::receptive_field::receptive_field(&self.graph, value, place, self.input)
    }

    /// The weights of a convolution.
    ///
    /// # Errors
    /// As [`crate::plan::Session::kept`].
    pub(super) async fn weights(&self, layer: &ExplainLayer) -> Result<Option<filters::Weights>> {
        filters::weights(&self.graph, layer.node, self.whole.session()).await
    }
}

/// A class and its probability for a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// The index of the class.
    pub index: usize,
    /// Its probability, from 0 to 1.
    pub probability: f64,
}
