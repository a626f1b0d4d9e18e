//! Probabilities averaged over views of a picture and over networks.

use super::dense::DenseStream;
use super::{Evaluator, Progress, Score, Scores, has_one_output, stopped};
use crate::data::{
    Augment, Dataset, Epoch, Last, Loader, LoaderOptions, Preprocessing, Resize, Skipped, Views, Waited,
    stacked_views,
};
use crate::error::{Error, Result};
use crate::infer::{check_logits, mean, mean_of_views, same_classes};
use crate::plan::Started;
use crate::train::Control;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is evaluated with averaged probabilities, and how.
#[derive(Debug, Clone, Default)]
pub struct Averaging {
    /// The views of each picture.
    pub views: Views,
    /// Use only this many pictures, spread evenly over the data set.
    pub limit: Option<usize>,
    /// Go on if more than 1% of the pictures cannot be read.
    pub allow_unreadable: bool,
    /// Evaluate densely: the crops of the views are not used.
    pub dense: Option<Dense>,
}

/// Dense evaluation (Simonyan and Zisserman 2014, section 3.2): the fully connected layers of a network are convolutions over the whole
/// picture, and its logits are averaged over space before the softmax. Probabilities of scales are averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dense {
    /// Whether the probabilities of the mirrored picture are averaged with those of the picture, as in the paper.
    pub mirrored: bool,
}

/// The probabilities that one network gives of the pictures, in their order.
pub(super) trait Answers {
    /// The pictures of the epoch, as positions in the data set.
    fn positions(&self) -> Vec<usize>;

    /// The pictures that are answered, by their places: probabilities in the order of the classes of the first network.
    fn ready(&mut self) -> &mut VecDeque<(usize, Vec<f64>)>;

    /// Whether no more pictures will be answered.
    fn is_over(&self) -> bool;

    /// Does a part of the work. `done` pictures have been counted.
    ///
    /// # Errors
    /// Those of reading pictures and of the network; [`Error::Stopped`] if `progress` asked for it.
    fn advance(&mut self, done: u64, progress: &mut dyn FnMut(Progress) -> Control) -> Result<()>;

    /// The first picture whose place is not before this one.
    ///
    /// # Errors
    /// Those of [`Answers::advance`].
    fn at_least(
        &mut self,
        place: usize,
        done: u64,
        progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Option<(usize, Vec<f64>)>> {
        loop {
            match self.ready().front().cloned() {
                Some((at, _)) if at < place => self.drop_first(),
                Some(found) => return Ok(Some(found)),
                None if self.is_over() => return Ok(None),
                None => self.advance(done, progress)?,
            }
        }
    }

    /// Drops the picture that [`Answers::at_least`] has given.
    fn drop_first(&mut self) {
        self.ready().pop_front();
    }
}

/// Evaluates the mean of the probabilities of all views and all networks. The networks may have different architectures and inputs, and
/// must name the same classes; the labels of `set` are those of the first one. Memory does not grow with the number of views. The loss is
/// the cross-entropy of the mean.
///
/// # Errors
/// [`Error::Usage`] if the networks have different classes, a scale is smaller than an input, or a network cannot be evaluated densely;
/// otherwise as [`super::evaluate`].
pub fn score_averaged(
    networks: &[Evaluator],
    set: &Arc<dyn Dataset>,
    options: &Averaging,
    progress: &mut dyn FnMut(Progress) -> Control,
) -> Result<Scores> {
    let names = (1..).map(|i| format!("network {i}"));
    let cards: Vec<_> = names.zip(networks.iter().map(Evaluator::card)).collect();
    let orders = same_classes(&cards)?;
    let classes = orders.first().map_or(0, Vec::len);
    let mut streams: Vec<Box<dyn Answers>> = Vec::with_capacity(networks.len());
    for (network, order) in networks.iter().zip(orders) {
        streams.push(match options.dense {
            Some(dense) => Box::new(DenseStream::new(network, set, options, dense, order)?),
            None => Box::new(Stream::new(network, set, options, order)?),
        });
    }
    let positions = streams.first().map(|stream| stream.positions()).unwrap_or_default();
    let mut scores = Vec::with_capacity(positions.len());
    'pictures: loop {
        let mut found = Vec::with_capacity(streams.len());
        // A picture may be too narrow for the views of one network alone. It then counts for none.
        let mut place = 0;
        while found.len() < streams.len() {
            found.clear();
            for stream in &mut streams {
                let Some((at, probabilities)) = stream.at_least(place, scores.len() as u64, progress)? else {
                    break 'pictures;
                };
                if at > place && !found.is_empty() {
                    place = at;
                    break;
                }
                place = at;
                found.push(probabilities);
            }
        }
        streams.iter_mut().for_each(|stream| stream.drop_first());
        let position = positions.get(place).copied().unwrap_or(0);
        let score = Score::of_probabilities(&mean(&found), set.label(position));
        scores.push(Score { position: position as u32, ..score });
        if progress(Progress::Done { images: scores.len() as u64, skipped: &[] }) == Control::Stop {
            return Err(stopped());
        }
    }
    Scores::new(classes, scores)
}

/// What one network says of views that are as large as its input.
struct Stream<'a> {
    network: &'a Evaluator,
    loader: Loader,
    epoch: Epoch,
    /// The position of each class of the first network.
    order: Vec<usize>,
    /// Bytes of a view.
    view: usize,
    views: usize,
    batch_size: usize,
    /// The place in the epoch of the next batch of the loader.
    next_place: usize,
    ended: bool,
    /// Views that no run has been started with.
    pixels: Vec<u8>,
    /// The places of the pictures whose views are in `pixels`, under way or in `logits`.
    places: VecDeque<usize>,
    /// A run, and how many places of its batch hold a view.
    flight: Option<(Started, usize)>,
    /// Logits of a picture of which not all views have been computed.
    logits: Vec<f32>,
    ready: VecDeque<(usize, Vec<f64>)>,
}

impl<'a> Stream<'a> {
    fn new(
        network: &'a Evaluator,
        set: &Arc<dyn Dataset>,
        options: &Averaging,
        order: Vec<usize>,
    ) -> Result<Self> {
        let metadata = network.card().metadata();
        let [h, w, _] = metadata.input;
        options.views.check([h, w])?;
        let (views, batch_size) = (options.views.count(), network.batch_size());
        let set = stacked_views(set.clone(), options.views.clone(), [h, w], metadata.preprocessing);
        let loading = LoaderOptions {
            // Views of about one run of the network.
            batch_size: batch_size.div_ceil(views),
            size: [views * h, w],
            // The views have their size already.
            preprocessing: Preprocessing { resize: Resize::Cover, ..metadata.preprocessing },
            augment: Augment::NONE,
            shuffle: false,
            balance: false,
            seed: 0,
            limit: options.limit,
            last: Last::Keep,
        };
        let loader = Loader::new(set, loading)?.allow_unreadable(options.allow_unreadable);
        Ok(Self {
            network,
            epoch: loader.epoch(0, 0),
            loader,
            order,
            view: h * w * 4,
            views,
            batch_size,
            next_place: 0,
            ended: false,
            pixels: Vec::new(),
            places: VecDeque::new(),
            flight: None,
            logits: Vec::new(),
            ready: VecDeque::new(),
        })
    }

    /// Takes the views of a batch of pictures.
    fn load(&mut self, done: u64, progress: &mut dyn FnMut(Progress) -> Control) -> Result<()> {
        let mut go_on = |hung: Option<&crate::data::Hung>| {
            progress(hung.map_or(Progress::Waiting, Progress::Hung)) == Control::Continue
        };
        let batch = match self.epoch.wait(&mut go_on)? {
            Waited::Batch(batch) => batch,
            Waited::Stopped => return Err(stopped()),
            Waited::End => {
                self.ended = true;
                return Ok(());
            }
        };
        let pictures = batch.pixels.chunks(self.views * self.view).zip(&batch.valid);
        for (place, (pixels, _)) in pictures.enumerate().filter(|(_, (_, valid))| **valid) {
            self.pixels.extend_from_slice(pixels);
            self.places.push_back(self.next_place + place);
        }
        self.next_place += batch.valid.len();
        let skipped: &[Skipped] = &batch.skipped;
        if !skipped.is_empty() && progress(Progress::Done { images: done, skipped }) == Control::Stop {
            return Err(stopped());
        }
        Ok(())
    }
}

impl Answers for Stream<'_> {
    fn positions(&self) -> Vec<usize> {
        self.loader.positions()
    }

    fn ready(&mut self) -> &mut VecDeque<(usize, Vec<f64>)> {
        &mut self.ready
    }

    fn is_over(&self) -> bool {
        self.ended && self.pixels.is_empty() && self.flight.is_none()
    }

    /// Starts the next run, and takes the outcome of the one before it.
    fn advance(&mut self, done: u64, progress: &mut dyn FnMut(Progress) -> Control) -> Result<()> {
        while !self.ended && self.pixels.len() < self.batch_size * self.view {
            self.load(done, progress)?;
        }
        let step = self.network.step();
        let count = (self.pixels.len() / self.view.max(1)).min(self.batch_size);
        let next = (count > 0).then(|| {
            let rest = self.pixels.split_off(count * self.view);
            let mut pixels = std::mem::replace(&mut self.pixels, rest);
            pixels.resize(self.batch_size * self.view, 0);
            Ok::<_, Error>((step.start(&pixels, &vec![0; self.batch_size])?, count))
        });
        let Some((run, count)) = std::mem::replace(&mut self.flight, next.transpose()?) else {
            return Ok(());
        };
        let outputs = if has_one_output(step) { 1 } else { step.classes() };
        for logits in step.unchecked_logits_of(&run)?.chunks(outputs.max(1)).take(count) {
            let place = self.places.front().copied().unwrap_or(0);
            check_logits(logits, outputs).map_err(|e| e.at(self.loader.name(place)))?;
            self.logits.extend_from_slice(logits);
            if self.logits.len() == self.views * outputs {
                let own = mean_of_views(&self.logits, outputs);
                let probabilities = self.order.iter().map(|i| own.get(*i).copied().unwrap_or(0.0));
                self.ready.push_back((place, probabilities.collect()));
                self.logits.clear();
                self.places.pop_front();
            }
        }
        Ok(())
    }
}
