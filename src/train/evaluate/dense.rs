//! Dense evaluation: whole pictures of any size.

use super::averaged::Answers;
use super::evaluator::SizedStep;
use super::{Averaging, Dense, Evaluator, Progress, stopped};
use crate::data::{
    Augment, Dataset, Last, Loader, LoaderOptions, Picture, Preprocessing, Skipped, Views, aside,
};
use crate::error::{Error, Result};
use crate::infer::{check_logits, mean_of_views};
use crate::models::DenseNetwork;
use crate::train::Control;
use rayon::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Pictures that are read at a time.
const READ: usize = 16;

/// Networks for pictures of one size that are kept.
const KEPT: usize = 4;

/// What one network says of whole pictures.
pub(super) struct DenseStream<'a> {
    network: &'a Evaluator,
    dense: DenseNetwork,
    mirrored: bool,
    views: Views,
    preprocessing: Preprocessing,
    /// Knows which pictures are evaluated, and reads them. It makes no batches: pictures have sizes of their own.
    loader: Loader,
    positions: Vec<usize>,
    unreadable: BTreeSet<String>,
    /// The position of each class of the first network.
    order: Vec<usize>,
    /// The place of the next picture.
    next: usize,
    /// The networks that were used last, the last one at the front.
    steps: VecDeque<([usize; 2], SizedStep)>,
    ready: VecDeque<(usize, Vec<f64>)>,
}

impl<'a> DenseStream<'a> {
    pub(super) fn new(
        network: &'a Evaluator,
        set: &Arc<dyn Dataset>,
        options: &Averaging,
        Dense { mirrored }: Dense,
        order: Vec<usize>,
    ) -> Result<Self> {
        let dense = network.dense(if mirrored { 2 } else { 1 })?;
        options.views.check(dense.own())?;
        let preprocessing = network.card().metadata().preprocessing;
        let loading = LoaderOptions {
            batch_size: 1,
            size: dense.own(),
            preprocessing,
            augment: Augment::NONE,
            shuffle: false,
            balance: false,
            seed: 0,
            limit: options.limit,
            last: Last::Keep,
        };
        let loader = Loader::new(set.clone(), loading)?.allow_unreadable(options.allow_unreadable);
        Ok(Self {
            network,
            dense,
            mirrored,
            views: options.views.clone(),
            preprocessing,
            positions: loader.positions(),
            loader,
            unreadable: BTreeSet::new(),
            order,
            next: 0,
            steps: VecDeque::new(),
            ready: VecDeque::new(),
        })
    }

    /// The mean of the probabilities of a picture at all scales. A picture and its mirror image are one batch.
    fn probabilities(&mut self, views: &[Picture]) -> Result<Vec<f64>> {
        let outputs = self.network.card().metadata().classes.len().max(1);
        let mut all = Vec::new();
        for batch in views.chunks(if self.mirrored { 2 } else { 1 }) {
            let Some(first) = batch.first() else { continue };
            let pixels: Vec<u8> = batch.iter().flat_map(Picture::rgba).copied().collect();
            let logits = self.step([first.height(), first.width()])?.logits(&pixels)?;
            logits.chunks(outputs).try_for_each(|logits| check_logits(logits, outputs))?;
            all.extend(logits);
        }
        Ok(mean_of_views(&all, outputs))
    }

    /// The network for pictures of this height and width.
    fn step(&mut self, size: [usize; 2]) -> Result<&SizedStep> {
        let made = match self.steps.iter().position(|(of, _)| *of == size) {
            Some(at) => self.steps.remove(at),
            None => {
                // Its memory is given back before more is taken.
                self.steps.truncate(KEPT - 1);
                Some((size, self.network.sized(&self.dense, size)?))
            }
        };
        made.into_iter().for_each(|made| self.steps.push_front(made));
        let last = self.steps.front().ok_or_else(|| Error::internal("no network for pictures of a size"))?;
        Ok(&last.1)
    }
}

impl Answers for DenseStream<'_> {
    fn positions(&self) -> Vec<usize> {
        self.positions.clone()
    }

    fn ready(&mut self) -> &mut VecDeque<(usize, Vec<f64>)> {
        &mut self.ready
    }

    fn is_over(&self) -> bool {
        self.next >= self.positions.len()
    }

    /// Reads some pictures and asks the network about them.
    fn advance(&mut self, done: u64, progress: &mut dyn FnMut(Progress) -> Control) -> Result<()> {
        let first = self.next;
        let some: Vec<usize> = self.positions.iter().skip(first).take(READ).copied().collect();
        self.next += some.len();
        let mut go_on = |hung: Option<&crate::data::Hung>| {
            progress(hung.map_or(Progress::Waiting, Progress::Hung)) == Control::Continue
        };
        let (loader, views, dense, how) =
            (self.loader.clone(), self.views.clone(), self.dense.clone(), self.preprocessing);
        let mirrored = self.mirrored;
        let read = move |position: usize| {
            let (_, picture) = loader.picture(position)?;
            views.whole(&picture, dense.own(), &how, mirrored, |size| dense.covered(size))
        };
        let pictures = aside(&self.loader.name(first), &mut go_on, move || {
            Ok(some.into_par_iter().map(read).collect::<Vec<Result<Vec<Picture>>>>())
        });
        let pictures = pictures.map_err(|e| if matches!(e, Error::Stopped(_)) { stopped() } else { e })?;
        let mut skipped = Vec::new();
        for (place, views) in (first..).zip(pictures) {
            match views {
                Ok(views) => {
                    let own = self.probabilities(&views).map_err(|e| e.at(self.loader.name(place)))?;
                    let found = self.order.iter().map(|i| own.get(*i).copied().unwrap_or(0.0)).collect();
                    self.ready.push_back((place, found));
                }
                Err(error) => skipped
                    .push(Skipped { name: self.loader.name(place), reason: error.report().what.clone() }),
            }
            if progress(Progress::Waiting) == Control::Stop {
                return Err(stopped());
            }
        }
        self.loader.check(&skipped, &mut self.unreadable)?;
        let told = Progress::Done { images: done, skipped: &skipped };
        if !skipped.is_empty() && progress(told) == Control::Stop {
            return Err(stopped());
        }
        Ok(())
    }
}
