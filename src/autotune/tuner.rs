//! The tuner: it selects the algorithm of each product by measurement. Candidates are verified on the adapter and then
//! timed, and the results are cached.

use super::Tune;
use super::cache::CacheFile;
use super::error_bound::ErrorBound;
use super::microbench::Microbench;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::kernels::{Algorithm, AlgorithmCache, ConvProblem};
use crate::plan::{Plan, PlanOptions, Session};
use crate::tensor::{Shape, Value};
use std::cell::Cell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The rounds of timing. Each round times all candidates in turn. The shortest time counts, because disturbances only
/// make a run longer.
const ROUNDS: usize = 5;
/// A candidate whose first run takes longer is not timed again.
const LONG_MS: f64 = 100.0;
/// A candidate that takes this many times as long as the best one is not timed again.
const HOPELESS: f64 = 1.5;
/// The batch of a measurement does not grow beyond this size of the operands in bytes, because each candidate has its
/// own result.
const MOST_BYTES: u64 = 128 << 20;
/// A candidate's time must be below this fraction of the time of the heuristic's algorithm. Smaller differences are
/// noise.
const CLEARLY: f64 = 0.95;
/// Without timestamp queries, runs are repeated until they take this long in total.
const LOOP_MS: f64 = 5.0;

/// The events that the tuner reports to its observer.
#[derive(Debug)]
pub enum Notice {
    /// The tuner starts to measure.
    Begins {
        /// The number of products.
        products: usize,
    },
    /// A product was measured.
    Measured(Measured),
    /// A candidate's result differs from the reference on this adapter, or the driver rejects its kernel. It is not
    /// used.
    Rejected {
        /// The product.
        problem: ConvProblem,
        /// The candidate.
        algorithm: Algorithm,
        /// The adapter and its driver.
        adapter: String,
        /// Why it was rejected.
        reason: String,
    },
    /// The measurements could not be written to the cache file.
    NotKept(Error),
}

/// The measured times of the candidates of a product.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The product.
    pub problem: ConvProblem,
    /// The number of images of the batch that was measured.
    pub images: usize,
    /// The candidates with the right result, each with its time in milliseconds.
    pub times: Vec<(Algorithm, f64)>,
    /// The heuristic's algorithm.
    pub heuristic: Algorithm,
    /// The algorithm that is used from now on.
    pub chosen: Algorithm,
}

/// Measures products, and collects the fastest algorithm for each of them.
pub struct Tuner<'a> {
    gpu: Arc<Gpu>,
    level: Tune,
    file: Option<CacheFile>,
    algorithms: AlgorithmCache,
    /// The reference results of reduced problems, and the candidates that agree with them.
    references: HashMap<ConvProblem, Vec<u32>>,
    agree: HashMap<(ConvProblem, Algorithm), bool>,
    observe: &'a mut dyn FnMut(Notice),
    stopped: Option<&'a Cell<bool>>,
}

impl<'a> Tuner<'a> {
    /// Creates a tuner that uses the cache file in `folder`.
    pub fn new(
        gpu: &Arc<Gpu>,
        level: Tune,
        folder: Option<PathBuf>,
        observe: &'a mut dyn FnMut(Notice),
    ) -> Self {
        let file = folder.filter(|_| level > Tune::Off).map(|folder| CacheFile::of(gpu.info(), &folder));
        Self {
            gpu: gpu.clone(),
            level,
            file,
            algorithms: AlgorithmCache::default(),
            references: HashMap::new(),
            agree: HashMap::new(),
            observe,
            stopped: None,
        }
    }

    /// Stops with [`Error::Stopped`] after the product during which the flag becomes true. The measurements until then
    /// are cached.
    #[must_use]
    pub fn until(self, stopped: &'a Cell<bool>) -> Self {
        Self { stopped: Some(stopped), ..self }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.is_some_and(Cell::get)
    }

    /// The options for plans, with the algorithms of all products so far.
    pub fn options(&self) -> PlanOptions {
        PlanOptions::for_gpu(&self.gpu).with_algorithms(self.algorithms.clone())
    }

    /// The algorithms of all products so far.
    pub fn into_algorithms(self) -> AlgorithmCache {
        self.algorithms
    }

    /// Selects the algorithms for the products of a graph. It measures those that are not known.
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
        for problem in Plan::new(graph, outputs, &options)?.products().keys() {
            if self.algorithms.get(problem).is_some() {
                continue;
            }
            match kept.get(problem).filter(|algorithm| options.record.supports(*algorithm, problem)) {
                Some(algorithm) => self.algorithms.insert(*problem, algorithm),
                None => new.push(*problem),
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        (self.observe)(Notice::Begins { products: new.len() });
        let mut measured = AlgorithmCache::default();
        for problem in new {
            if self.is_stopped() {
                break;
            }
            let algorithm = self.choose(problem, &options)?;
            measured.insert(problem, algorithm);
            self.algorithms.insert(problem, algorithm);
        }
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.add(&measured, self.level)) {
            (self.observe)(Notice::NotKept(error));
        }
        if self.is_stopped() {
            return Err(Error::stopped("stopped while kernels were chosen"));
        }
        Ok(())
    }

    fn choose(&mut self, problem: ConvProblem, options: &PlanOptions) -> Result<Algorithm> {
        let heuristic = options.record.heuristic(&problem);
        let mut candidates = options.record.candidates(&problem);
        candidates.truncate(self.level.candidates());
        let mut right = Vec::new();
        for algorithm in candidates {
            match self.check(problem, algorithm) {
                Ok(true) => right.push(algorithm),
                Ok(false) => self.reject(problem, algorithm, "another result than the reference"),
                // The driver rejects the kernel. Other errors would occur again when the network runs.
                Err(Error::Internal(report)) => self.reject(problem, algorithm, &report.what),
                Err(error) => return Err(error),
            }
        }
        let (images, times) = self.time(problem, &right)?;
        let chosen = fastest(&times, heuristic);
        (self.observe)(Notice::Measured(Measured { problem, images, times, heuristic, chosen }));
        Ok(chosen)
    }

    fn reject(&mut self, problem: ConvProblem, algorithm: Algorithm, reason: &str) {
        let info = self.gpu.info();
        let adapter = format!("{} ({})", info.name, info.driver);
        (self.observe)(Notice::Rejected { problem, algorithm, adapter, reason: reason.to_owned() });
    }

    /// Whether a candidate's result equals that of the reference bit for bit. On small integers every sum is exact,
    /// except in algorithms with irrational constants.
    fn check(&mut self, problem: ConvProblem, algorithm: Algorithm) -> Result<bool> {
        let small = problem.cut_down();
        if let Some(agrees) = self.agree.get(&(small, algorithm)) {
            return Ok(*agrees);
        }
        let bits = self.result(small, algorithm)?;
        if !self.references.contains_key(&small) {
            let reference = self.result(small, Algorithm::reference(small.pass))?;
            self.references.insert(small, reference);
        }
        let agrees = self.references.get(&small).is_some_and(|want| agree(&small, algorithm, &bits, want));
        self.agree.insert((small, algorithm), agrees);
        Ok(agrees)
    }

    fn result(&self, problem: ConvProblem, algorithm: Algorithm) -> Result<Vec<u32>> {
        let bench = problem.microbench()?;
        let session = self.session(&bench, problem, algorithm, None)?;
        session.poison()?;
        session.run()?;
        Ok(session.read_stored(bench.result)?.into_iter().map(f32::to_bits).collect())
    }

    /// Creates a session that computes a product by one algorithm, on small integers or on the operands of another
    /// session.
    fn session(
        &self,
        bench: &Microbench,
        problem: ConvProblem,
        algorithm: Algorithm,
        operands: Option<&Session>,
    ) -> Result<Session> {
        let mut algorithms = AlgorithmCache::default();
        algorithms.insert(problem, algorithm);
        let options = PlanOptions::for_gpu(&self.gpu).with_algorithms(algorithms);
        let plan = Plan::new(&bench.graph, &[bench.result], &options)?;
        let session = Session::new(self.gpu.clone(), plan, operands)?;
        if operands.is_none() {
            for operand in bench.operands.into_iter().filter(|v| session.has(*v)) {
                let count = bench.graph.shape(operand)?.elements().unwrap_or(0) as u32;
                // From -2 to 2, the integers of `ErrorBound`, in an order without a pattern.
                let integer = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 16) % 5) as f32 - 2.0;
                session.write(operand, &(0..count).map(integer).collect::<Vec<_>>())?;
            }
        }
        Ok(session)
    }

    /// Times the candidates. Returns the number of images and the milliseconds of each candidate.
    fn time(&self, problem: ConvProblem, candidates: &[Algorithm]) -> Result<(usize, Vec<(Algorithm, f64)>)> {
        let [all, ..] = problem.x;
        let Some((&first, others)) = candidates.split_first() else { return Ok((all, Vec::new())) };
        let mut images = problem.fewest_images();
        let (bench, part, session, ms) = loop {
            let part = problem.with_images(images);
            let bench = part.microbench()?;
            let session = self.session(&bench, part, first, None)?;
            // The first run of a kernel may include one-time work of the driver.
            self.run_ms(&session)?;
            let ms = self.run_ms(&session)?;
            let shapes = bench.operands.iter().map(|v| bench.graph.shape(*v)).collect::<Result<Vec<_>>>()?;
            let bytes: u64 = shapes.iter().map(Shape::bytes).sum();
            if images == all || ms >= self.level.long_enough_ms() || bytes > MOST_BYTES / 2 {
                break (bench, part, session, ms);
            }
            images = (2 * images).min(all);
        };
        let mut runs = vec![(first, session, ms)];
        for &algorithm in others {
            let session =
                self.session(&bench, part, algorithm, runs.first().map(|(_, session, _)| session))?;
            self.run_ms(&session)?;
            let ms = self.run_ms(&session)?;
            runs.push((algorithm, session, ms));
        }
        for _ in 1..ROUNDS {
            let best = runs.iter().map(|(_, _, ms)| *ms).fold(f64::INFINITY, f64::min);
            for (_, session, ms) in runs.iter_mut().filter(|(_, _, ms)| *ms < (HOPELESS * best).min(LONG_MS))
            {
                *ms = ms.min(self.run_ms(session)?);
            }
        }
        Ok((images, runs.into_iter().map(|(algorithm, _, ms)| (algorithm, ms)).collect()))
    }

    /// The time of a run in milliseconds: from timestamp queries if the adapter has them and they advance, otherwise by
    /// the host's clock.
    fn run_ms(&self, session: &Session) -> Result<f64> {
        let times = session.run_timed()?;
        if let Some(ms) = times.map(|times| times.iter().sum()).filter(|ms| *ms > 0.0) {
            return Ok(ms);
        }
        looped_ms(session)
    }
}

/// The time of a run by the host's clock, in milliseconds. It repeats the run in one submission until the total is long
/// enough, so that the latency of the submission and the stamp count only once.
fn looped_ms(session: &Session) -> Result<f64> {
    let mut runs = 1u32;
    session.finish()?;
    loop {
        let start = Instant::now();
        session.repeat(runs)?;
        session.gpu().wait()?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        // Lost work takes no time, so verify that the runs were done.
        session.finish()?;
        if ms >= LOOP_MS || runs == u32::MAX {
            return Ok(ms / f64::from(runs));
        }
        runs = runs.saturating_mul(2);
    }
}

/// The candidate with the shortest time, if it is clearly faster than the heuristic's algorithm. A time of 0 is
/// invalid.
fn fastest(times: &[(Algorithm, f64)], heuristic: Algorithm) -> Algorithm {
    let of = |algorithm: Algorithm| times.iter().find(|(other, _)| *other == algorithm).map(|(_, ms)| *ms);
    let best = times.iter().filter(|(_, ms)| *ms > 0.0).min_by(|a, b| a.1.total_cmp(&b.1)).copied();
    match (best, of(heuristic)) {
        (Some((_, ms)), Some(of_table)) if ms > CLEARLY * of_table => heuristic,
        (Some((algorithm, _)), _) => algorithm,
        (None, _) => heuristic,
    }
}

/// Whether a candidate's result agrees with the reference.
fn agree(problem: &ConvProblem, algorithm: Algorithm, got: &[u32], want: &[u32]) -> bool {
    let bound = ErrorBound::of(problem, algorithm);
    got.len() == want.len()
        && got.iter().zip(want).all(|(got, want)| {
            got == want
                || !bound.is_exact() && {
                    let [got, want] = [got, want].map(|bits| f64::from(f32::from_bits(*bits)));
                    bound.allows(got, want)
                }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Fault, GpuOptions};
    use crate::kernels::{ConvOptions, Pass, WinogradTile};
    use crate::tensor::Precision;

    #[test]
    fn a_candidate_that_computes_something_else_is_rejected_and_named() {
        let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::image(2, 9, 8, 12));
        let w = graph.input("w", Shape::filter(3, 3, 12, 16));
        let y = graph.conv2d(x, w, None, ConvOptions::square(1, 1)).unwrap();
        let options = PlanOptions::for_gpu(&gpu);
        let problem = *Plan::new(&graph, &[y], &options).unwrap().products().keys().next().unwrap();
        for wrong in [false, true] {
            let mut rejected = Vec::new();
            let mut observe = |notice| {
                if let Notice::Rejected { algorithm, adapter, .. } = notice {
                    rejected.push((algorithm, adapter));
                }
            };
            let mut tuner = Tuner::new(&gpu, Tune::Full, None, &mut observe);
            let small = problem.cut_down();
            let mut reference = tuner.result(small, Algorithm::reference(small.pass)).unwrap();
            if wrong {
                // Change one bit of one number, like a kernel that loses a term.
                *reference.last_mut().unwrap() ^= 1 << 20;
            }
            tuner.references.insert(small, reference);
            tuner.tune(&graph, &[y]).unwrap();
            let heuristic = options.record.heuristic(&problem);
            let chosen = tuner.into_algorithms().get(&problem).unwrap();
            if !wrong {
                assert!(rejected.is_empty(), "{rejected:?}");
                continue;
            }
            assert_eq!(chosen, heuristic, "what is left when nothing agrees");
            let candidates = options.record.candidates(&problem);
            assert_eq!(rejected.iter().map(|(algorithm, _)| *algorithm).collect::<Vec<_>>(), candidates);
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
            let problem = ConvProblem { pass: Pass::Forward, x, w, stride, pad, groups: 1, precision };
            let mut observe = |_| ();
            let tuner = Tuner::new(&gpu, Tune::Full, None, &mut observe);
            let (bench, algorithm) = (problem.microbench().unwrap(), Algorithm::reference(problem.pass));
            let session = tuner.session(&bench, problem, algorithm, None).unwrap();
            assert!(looped_ms(&session).unwrap() > 0.0 && tuner.run_ms(&session).unwrap() > 0.0);
            gpu.inject(fault);
            assert!(matches!(looped_ms(&session), Err(Error::Gpu(_))), "{fault:?}");
            assert!(matches!(tuner.run_ms(&session), Err(Error::Gpu(_))), "{fault:?}");
        }
    }

    #[test]
    fn what_takes_no_time_is_not_the_fastest() {
        let [heuristic, other, third] = [WinogradTile::F2x2, WinogradTile::F4x4]
            .map(|tile| Algorithm::Winograd { tile })
            .into_iter()
            .chain([Algorithm::reference(Pass::Forward)])
            .collect::<Vec<_>>()[..]
        else {
            panic!("three algorithms")
        };
        for (times, want) in [
            (vec![(heuristic, 2.0), (other, 1.0), (third, 1.5)], other),
            (vec![(heuristic, 2.0), (other, 0.0), (third, 1.5)], third),
            (vec![(heuristic, 2.0), (other, 1.95), (third, 0.0)], heuristic),
            (vec![(heuristic, 0.0), (other, 1.0)], heuristic),
            (vec![(other, 1.0), (third, 0.0)], other),
            (vec![(heuristic, 0.0), (other, 0.0)], heuristic),
            (vec![], heuristic),
        ] {
            assert_eq!(fastest(&times, heuristic), want, "{times:?}");
        }
    }

    #[test]
    fn a_product_is_cut_down_to_something_small_of_the_same_kind() {
        for form in [Pass::Forward, Pass::InputGrad, Pass::WeightGrad] {
            for (x, w, stride, pad, groups) in [
                ([64, 224, 224, 3], [7, 7, 3, 64], 2, 3, 1),
                ([1, 56, 56, 512], [3, 3, 512, 512], 1, 1, 1),
                ([128, 1, 1, 9216], [1, 1, 9216, 4096], 1, 0, 1),
                ([8, 27, 27, 96], [5, 5, 48, 256], 1, 2, 2),
                ([2, 6, 6, 64], [3, 3, 4, 64], 1, 1, 16),
                ([1, 3, 3, 4], [3, 3, 4, 4], 1, 0, 1),
            ] {
                let (stride, pad, precision) = ([stride; 2], [pad; 2], Precision::F32);
                let problem = ConvProblem { pass: form, x, w, stride, pad, groups, precision };
                let cut = problem.cut_down();
                assert_eq!(
                    (cut.pass, cut.w[..2].to_vec(), cut.stride, cut.pad),
                    (form, w[..2].to_vec(), problem.stride, problem.pad)
                );
                let bench = cut.microbench().unwrap();
                let shapes = bench.operands.map(|v| bench.graph.shape(v).unwrap());
                let y = shapes[2].dims();
                let macs = y.iter().product::<usize>() * cut.w[..3].iter().product::<usize>();
                assert!(macs < 100_000_000, "{problem}: {cut} has {macs} multiply-adds");
                assert!((0..4).all(|i| cut.x[i] <= x[i] && cut.w[i] <= w[i]), "{problem}: {cut}");
                assert!(shapes.iter().map(Shape::bytes).sum::<u64>() < 16 << 20, "{problem}: {cut}");
            }
        }
    }
}
