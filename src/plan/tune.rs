//! Choosing by measurement how each product is computed: candidates are checked for the right answer on the adapter, then
//! timed, and what was found is kept.

use super::choices_file::ChoicesFile;
use super::{Plan, PlanOptions, Session};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Precision, Shape, Value};
use crate::ops::{Block, Choice, Choices, Probe, ProductKey};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// How much is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tune {
    /// Nothing: the built-in table chooses.
    #[default]
    Off,
    /// The table's choice and the two that are most likely to beat it.
    Quick,
    /// All candidates, at most eight.
    Full,
}

impl Tune {
    /// Candidates of a product that are measured.
    fn candidates(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Quick => 3,
            Self::Full => usize::MAX,
        }
    }

    /// Milliseconds that a product must take: with a smaller batch than that of the network, if that is enough.
    fn long_enough_ms(self) -> f64 {
        match self {
            Self::Off | Self::Quick => 5.0,
            Self::Full => 25.0,
        }
    }
}

/// Rounds in which each candidate is timed, in turns. The shortest time counts: what disturbs a run only makes it longer.
const ROUNDS: usize = 5;
/// A candidate whose first run takes longer is not timed again.
const LONG_MS: f64 = 100.0;
/// So many times the time of the best one, and a candidate is not timed again.
const HOPELESS: f64 = 1.5;
/// A product is not measured with more pictures once its operands take so many bytes: each candidate has a result of its own.
const MOST_BYTES: u64 = 128 << 20;
/// What a candidate must stay below, of the time of the table's choice: differences as small as the noise are none.
const CLEARLY: f64 = 0.95;
/// Where there are no timestamps, runs are repeated until they take so long together.
const LOOP_MS: f64 = 5.0;

/// What is heard while products are measured.
#[derive(Debug)]
pub enum Notice {
    /// So many products are about to be measured.
    Begins {
        /// Their number.
        products: usize,
    },
    /// One was measured.
    Measured(Measured),
    /// A candidate computes something else than the reference on this adapter, and is not used.
    Rejected {
        /// The product.
        key: ProductKey,
        /// The candidate.
        choice: Choice,
        /// Adapter and driver.
        adapter: String,
        /// What is wrong.
        reason: String,
    },
    /// What was measured could not be kept for the next time.
    NotKept(Error),
}

/// The times of the candidates of a product.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The product.
    pub key: ProductKey,
    /// Pictures of the batch with which it was measured.
    pub images: usize,
    /// The candidates that compute the right result, with their milliseconds.
    pub times: Vec<(Choice, f64)>,
    /// The one that the built-in table says.
    pub table: Choice,
    /// The one that is used from now on.
    pub chosen: Choice,
}

/// Measures products and knows the choices for them.
pub struct Tuner<'a> {
    gpu: Arc<Gpu>,
    level: Tune,
    file: Option<ChoicesFile>,
    choices: Choices,
    /// What the reference says of products that were cut down, and which candidates agree.
    references: HashMap<ProductKey, Vec<u32>>,
    agree: HashMap<(ProductKey, Choice), bool>,
    observe: &'a mut dyn FnMut(Notice),
    stopped: Option<&'a Cell<bool>>,
}

impl<'a> Tuner<'a> {
    /// A tuner that knows what earlier ones have kept in `folder`.
    pub fn new(
        gpu: &Arc<Gpu>,
        level: Tune,
        folder: Option<PathBuf>,
        observe: &'a mut dyn FnMut(Notice),
    ) -> Self {
        let file = folder.filter(|_| level > Tune::Off).map(|folder| ChoicesFile::of(gpu.info(), &folder));
        Self {
            gpu: gpu.clone(),
            level,
            file,
            choices: Choices::default(),
            references: HashMap::new(),
            agree: HashMap::new(),
            observe,
            stopped: None,
        }
    }

    /// Lets it stop, with [`Error::Stopped`], after the product in which this becomes true. What was measured until then is kept.
    #[must_use]
    pub fn until(self, stopped: &'a Cell<bool>) -> Self {
        Self { stopped: Some(stopped), ..self }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.is_some_and(Cell::get)
    }

    /// What plans should be made with: the choices for all products that were seen.
    pub fn options(&self) -> PlanOptions {
        PlanOptions::for_gpu(&self.gpu).with_choices(self.choices.clone())
    }

    /// The choices for all products that were seen.
    pub fn into_choices(self) -> Choices {
        self.choices
    }

    /// Chooses for the products of a graph, by measuring those that are new.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::Gpu`] if the device failed; [`Error::Stopped`] if it was stopped.
    pub fn tune(&mut self, graph: &Graph, outputs: &[Value]) -> Result<()> {
        if self.level == Tune::Off {
            return Ok(());
        }
        let options = self.options();
        let kept = self.file.as_ref().map(|file| file.read(self.level)).unwrap_or_default();
        let mut new = Vec::new();
        for key in Plan::new(graph, outputs, &options)?.products().keys() {
            if self.choices.get(key).is_some() {
                continue;
            }
            match kept.get(key).filter(|choice| choice.fits(&options.record, key)) {
                Some(choice) => self.choices.insert(*key, choice),
                None => new.push(*key),
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        (self.observe)(Notice::Begins { products: new.len() });
        let mut measured = Choices::default();
        for key in new {
            if self.is_stopped() {
                break;
            }
            let choice = self.choose(key, &options)?;
            measured.insert(key, choice);
            self.choices.insert(key, choice);
        }
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.add(&measured, self.level)) {
            (self.observe)(Notice::NotKept(error));
        }
        if self.is_stopped() {
            return Err(Error::stopped("stopped while kernels were chosen"));
        }
        Ok(())
    }

    fn choose(&mut self, key: ProductKey, options: &PlanOptions) -> Result<Choice> {
        let table = Choice::by_table(&options.record, &key);
        let mut candidates = Choice::candidates(&options.record, &key);
        candidates.truncate(self.level.candidates());
        let mut right = Vec::new();
        for choice in candidates {
            match self.check(key, choice) {
                Ok(true) => right.push(choice),
                Ok(false) => self.reject(key, choice, "another result than the reference"),
                // A kernel that the driver does not take. What else fails now fails again when the network runs.
                Err(Error::Internal(report)) => self.reject(key, choice, &report.what),
                Err(error) => return Err(error),
            }
        }
        let (images, times) = self.time(key, &right)?;
        let chosen = fastest(&times, table);
        (self.observe)(Notice::Measured(Measured { key, images, times, table, chosen }));
        Ok(chosen)
    }

    fn reject(&mut self, key: ProductKey, choice: Choice, reason: &str) {
        let info = self.gpu.info();
        let adapter = format!("{} ({})", info.name, info.driver);
        (self.observe)(Notice::Rejected { key, choice, adapter, reason: reason.to_owned() });
    }

    /// Whether a candidate computes what the reference does, bit for bit: on small integers every sum is exact; but for what is
    /// computed with roots.
    fn check(&mut self, key: ProductKey, choice: Choice) -> Result<bool> {
        let small = key.cut_down();
        if let Some(agrees) = self.agree.get(&(small, choice)) {
            return Ok(*agrees);
        }
        let bits = self.result(small, choice)?;
        if !self.references.contains_key(&small) {
            let reference = self.result(small, Choice::reference(small.form))?;
            self.references.insert(small, reference);
        }
        let agrees = self.references.get(&small).is_some_and(|want| agree(&small, choice, &bits, want));
        self.agree.insert((small, choice), agrees);
        Ok(agrees)
    }

    fn result(&self, key: ProductKey, choice: Choice) -> Result<Vec<u32>> {
        let probe = key.probe()?;
        let session = self.session(&probe, key, choice, None)?;
        session.poison()?;
        session.run()?;
        Ok(session.read_stored(probe.result)?.into_iter().map(f32::to_bits).collect())
    }

    /// A session that computes a product in one way, on small integers or on the operands of another session.
    fn session(
        &self,
        probe: &Probe,
        key: ProductKey,
        choice: Choice,
        operands: Option<&Session>,
    ) -> Result<Session> {
        let mut choices = Choices::default();
        choices.insert(key, choice);
        let options = PlanOptions::for_gpu(&self.gpu).with_choices(choices);
        let plan = Plan::new(&probe.graph, &[probe.result], &options)?;
        let session = Session::new(self.gpu.clone(), plan, operands)?;
        if operands.is_none() {
            for operand in probe.operands.into_iter().filter(|v| session.has(*v)) {
                let count = probe.graph.shape(operand)?.elements().unwrap_or(0) as u32;
                // From -LARGEST to LARGEST in an order without a pattern.
                let integer = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 16) % 5) as f32 - 2.0;
                session.write(operand, &(0..count).map(integer).collect::<Vec<_>>())?;
            }
        }
        Ok(session)
    }

    /// The milliseconds of each candidate, and the pictures with which they were measured.
    fn time(&self, key: ProductKey, candidates: &[Choice]) -> Result<(usize, Vec<(Choice, f64)>)> {
        let [all, ..] = key.x;
        let Some((&first, others)) = candidates.split_first() else { return Ok((all, Vec::new())) };
        let mut images = key.fewest_images();
        let (probe, part, session, ms) = loop {
            let part = key.with_images(images);
            let probe = part.probe()?;
            let session = self.session(&probe, part, first, None)?;
            // The first run of a kernel may still prepare something.
            self.run_ms(&session)?;
            let ms = self.run_ms(&session)?;
            let shapes = probe.operands.iter().map(|v| probe.graph.shape(*v)).collect::<Result<Vec<_>>>()?;
            let bytes: u64 = shapes.iter().map(Shape::bytes).sum();
            if images == all || ms >= self.level.long_enough_ms() || bytes > MOST_BYTES / 2 {
                break (probe, part, session, ms);
            }
            images = (2 * images).min(all);
        };
        let mut runs = vec![(first, session, ms)];
        for &choice in others {
            let session = self.session(&probe, part, choice, runs.first().map(|(_, session, _)| session))?;
            self.run_ms(&session)?;
            let ms = self.run_ms(&session)?;
            runs.push((choice, session, ms));
        }
        for _ in 1..ROUNDS {
            let best = runs.iter().map(|(_, _, ms)| *ms).fold(f64::INFINITY, f64::min);
            for (_, session, ms) in runs.iter_mut().filter(|(_, _, ms)| *ms < (HOPELESS * best).min(LONG_MS))
            {
                *ms = ms.min(self.run_ms(session)?);
            }
        }
        Ok((images, runs.into_iter().map(|(choice, _, ms)| (choice, ms)).collect()))
    }

    /// The time of a run: on the adapter's clock where it has one and it moves, else of as many runs as take long enough together.
    fn run_ms(&self, session: &Session) -> Result<f64> {
        let times = session.run_timed()?;
        if let Some(ms) = times.map(|times| times.iter().sum()).filter(|ms| *ms > 0.0) {
            return Ok(ms);
        }
        looped_ms(session)
    }
}

/// The time of a run by the clock of the host: of as many as take long enough together, in one submission, so that the way to the GPU
/// and the stamp count once.
fn looped_ms(session: &Session) -> Result<f64> {
    let mut runs = 1u32;
    session.finish()?;
    loop {
        let start = Instant::now();
        session.repeat(runs)?;
        session.gpu().wait()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        // What was lost takes no time.
        session.finish()?;
        if ms >= LOOP_MS || runs == u32::MAX {
            return Ok(ms / f64::from(runs));
        }
        runs = runs.saturating_mul(2);
    }
}

/// The candidate with the shortest time, if it is clearly shorter than that of the table's choice. A time of 0 is none.
fn fastest(times: &[(Choice, f64)], table: Choice) -> Choice {
    let of = |choice: Choice| times.iter().find(|(other, _)| *other == choice).map(|(_, ms)| *ms);
    let best = times.iter().filter(|(_, ms)| *ms > 0.0).min_by(|a, b| a.1.total_cmp(&b.1)).copied();
    match (best, of(table)) {
        (Some((_, ms)), Some(of_table)) if ms > CLEARLY * of_table => table,
        (Some((choice, _)), _) => choice,
        (None, _) => table,
    }
}

/// The largest of the integers that a product is checked with.
const LARGEST: f64 = 2.0;

/// Whether a candidate's result is the reference's. The matrices of F(4x4, 3x3) have roots of two, so its sums are not exact:
/// there the error rule of that algorithm holds, which is far below what a lost or doubled term would change.
fn agree(key: &ProductKey, choice: Choice, got: &[u32], want: &[u32]) -> bool {
    if !matches!(choice, Choice::Winograd { block: Block::Four }) {
        return got == want;
    }
    let terms = key.terms() as f64;
    let unit = f64::from(f32::EPSILON) / 2.0;
    let error = 3.0 * (8.0 + 2.0 * terms.sqrt()) * unit * LARGEST * LARGEST * terms;
    // What is stored in half precision is rounded to it.
    let rounding = if key.precision == Precision::F16 { 1.0 / 2048.0 } else { 0.0 };
    let number = |bits: &u32| f64::from(f32::from_bits(*bits));
    got.len() == want.len()
        && got.iter().zip(want).all(|(got, want)| {
            let (got, want) = (number(got), number(want));
            (got - want).abs() <= error + rounding * want.abs()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Fault, GpuOptions};
    use crate::ops::{ConvOptions, ProductForm};

    #[test]
    fn a_candidate_that_computes_something_else_is_rejected_and_named() {
        let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::image(2, 9, 8, 12));
        let w = graph.input("w", Shape::filter(3, 3, 12, 16));
        let y = graph.conv2d(x, w, None, ConvOptions::square(1, 1)).unwrap();
        let options = PlanOptions::for_gpu(&gpu);
        let key = *Plan::new(&graph, &[y], &options).unwrap().products().keys().next().unwrap();
        for wrong in [false, true] {
            let mut rejected = Vec::new();
            let mut observe = |notice| {
                if let Notice::Rejected { choice, adapter, .. } = notice {
                    rejected.push((choice, adapter));
                }
            };
            let mut tuner = Tuner::new(&gpu, Tune::Full, None, &mut observe);
            let small = key.cut_down();
            let mut reference = tuner.result(small, Choice::reference(small.form)).unwrap();
            if wrong {
                // One bit of one number, as a kernel would that loses a term.
                *reference.last_mut().unwrap() ^= 1 << 20;
            }
            tuner.references.insert(small, reference);
            tuner.tune(&graph, &[y]).unwrap();
            let table = Choice::by_table(&options.record, &key);
            let chosen = tuner.into_choices().get(&key).unwrap();
            if !wrong {
                assert!(rejected.is_empty(), "{rejected:?}");
                continue;
            }
            assert_eq!(chosen, table, "what is left when nothing agrees");
            let candidates = Choice::candidates(&options.record, &key);
            assert_eq!(rejected.iter().map(|(choice, _)| *choice).collect::<Vec<_>>(), candidates);
            let info = gpu.info();
            assert!(rejected.iter().all(|(_, a)| a.contains(&info.name) && a.contains(&info.driver)));
        }
    }

    #[test]
    fn runs_that_are_lost_are_not_timed_by_either_clock() {
        for fault in [Fault::Dispatches, Fault::Submissions] {
            let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
            let (x, w, stride, pad, precision) =
                ([1, 9, 8, 12], [3, 3, 12, 16], [1; 2], [1; 2], Precision::F32);
            let key = ProductKey { form: ProductForm::Y, x, w, stride, pad, groups: 1, precision };
            let mut observe = |_| ();
            let tuner = Tuner::new(&gpu, Tune::Full, None, &mut observe);
            let (probe, choice) = (key.probe().unwrap(), Choice::reference(key.form));
            let session = tuner.session(&probe, key, choice, None).unwrap();
            assert!(looped_ms(&session).unwrap() > 0.0 && tuner.run_ms(&session).unwrap() > 0.0);
            gpu.inject(fault);
            assert!(matches!(looped_ms(&session), Err(Error::Gpu(_))), "{fault:?}");
            assert!(matches!(tuner.run_ms(&session), Err(Error::Gpu(_))), "{fault:?}");
        }
    }

    #[test]
    fn what_takes_no_time_is_not_the_fastest() {
        let [table, other, third] = [Block::Two, Block::Four]
            .map(|block| Choice::Winograd { block })
            .into_iter()
            .chain([Choice::reference(ProductForm::Y)])
            .collect::<Vec<_>>()[..]
        else {
            panic!("three choices")
        };
        for (times, want) in [
            (vec![(table, 2.0), (other, 1.0), (third, 1.5)], other),
            (vec![(table, 2.0), (other, 0.0), (third, 1.5)], third),
            (vec![(table, 2.0), (other, 1.95), (third, 0.0)], table),
            (vec![(table, 0.0), (other, 1.0)], table),
            (vec![(other, 1.0), (third, 0.0)], other),
            (vec![(table, 0.0), (other, 0.0)], table),
            (vec![], table),
        ] {
            assert_eq!(fastest(&times, table), want, "{times:?}");
        }
    }

    #[test]
    fn a_product_is_cut_down_to_something_small_of_the_same_kind() {
        for form in [ProductForm::Y, ProductForm::Dx, ProductForm::Dw] {
            for (x, w, stride, pad, groups) in [
                ([64, 224, 224, 3], [7, 7, 3, 64], 2, 3, 1),
                ([1, 56, 56, 512], [3, 3, 512, 512], 1, 1, 1),
                ([128, 1, 1, 9216], [1, 1, 9216, 4096], 1, 0, 1),
                ([8, 27, 27, 96], [5, 5, 48, 256], 1, 2, 2),
                ([2, 6, 6, 64], [3, 3, 4, 64], 1, 1, 16),
                ([1, 3, 3, 4], [3, 3, 4, 4], 1, 0, 1),
            ] {
                let (stride, pad, precision) = ([stride; 2], [pad; 2], Precision::F32);
                let key = ProductKey { form, x, w, stride, pad, groups, precision };
                let cut = key.cut_down();
                assert_eq!(
                    (cut.form, cut.w[..2].to_vec(), cut.stride, cut.pad),
                    (form, w[..2].to_vec(), key.stride, key.pad)
                );
                let probe = cut.probe().unwrap();
                let shapes = probe.operands.map(|v| probe.graph.shape(v).unwrap());
                let y = shapes[2].dims();
                let macs = y.iter().product::<usize>() * cut.w[..3].iter().product::<usize>();
                assert!(macs < 100_000_000, "{key}: {cut} has {macs} multiply-adds");
                assert!((0..4).all(|i| cut.x[i] <= x[i] && cut.w[i] <= w[i]), "{key}: {cut}");
                assert!(shapes.iter().map(Shape::bytes).sum::<u64>() < 16 << 20, "{key}: {cut}");
            }
        }
    }
}
