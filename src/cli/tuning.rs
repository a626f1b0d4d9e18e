//! `--tune`, for the commands that run a network.

use super::{Global, tell};
use crate::autotune::{Measured, Notice, Tune, Tuner, cache_folder};
use crate::gpu::{AdapterKind, Gpu};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Args)]
pub(super) struct TuneArgs {
    /// Measure which kernels are the fastest on this adapter, and keep what was found; a run that is resumed keeps the
    /// kernels that it was started with [default: quick; off on software adapters, for which the heuristic was
    /// measured]
    #[arg(long, value_enum, value_name = "HOW")]
    tune: Option<Level>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    /// Measure nothing: the built-in heuristic chooses
    Off,
    /// The heuristic's choice and the two most likely others
    Quick,
    /// Up to eight algorithms for each product
    Full,
}

impl TuneArgs {
    /// The requested level, or the default for the adapter.
    pub(super) fn level(&self, gpu: &Gpu) -> Tune {
        match self.tune {
            Some(Level::Off) => Tune::Off,
            Some(Level::Quick) => Tune::Quick,
            Some(Level::Full) => Tune::Full,
            None if gpu.info().kind == AdapterKind::Cpu => Tune::Off,
            None => Tune::Quick,
        }
    }

    pub(super) fn tuner<'a>(&self, gpu: &Arc<Gpu>, notices: &'a mut dyn FnMut(Notice)) -> Tuner<'a> {
        Tuner::new(gpu, self.level(gpu), cache_folder(), notices)
    }

    /// Like [`TuneArgs::notices`], and collects the measurements.
    pub(super) fn collecting<'a>(
        &self,
        global: &Global,
        into: &'a mut Vec<Tuned>,
    ) -> impl FnMut(Notice) + use<'a> {
        let mut report = self.notices(global);
        move |notice| {
            if let Notice::Measured(measured) = &notice {
                into.push(Tuned::from(measured));
            }
            report(notice);
        }
    }

    /// Reports what is measured, and prints a summary after the last product.
    pub(super) fn notices(&self, global: &Global) -> impl FnMut(Notice) + use<> {
        let (quiet, each) = (global.quiet, matches!(self.tune, Some(Level::Full)));
        let say = move |line: String| {
            if !quiet {
                tell(line);
            }
        };
        let mut sums = Sums::default();
        move |notice| match notice {
            Notice::Begins { products } => {
                sums = Sums { products, ..Sums::default() };
                say(format!("choosing kernels for {products} products, which is done once for each adapter"));
            }
            Notice::Measured(measured) => {
                sums.add(&measured);
                if each {
                    say(line(&measured));
                }
                if sums.measured == sums.products {
                    say(sums.line());
                }
            }
            Notice::Rejected { problem, algorithm, adapter, reason } => {
                say(format!("warning: {algorithm} is not used for {problem} on {adapter}: {reason}"));
            }
            Notice::NotKept(error) => {
                say(format!("warning: the chosen kernels are not kept: {}", super::advice::message(&error)));
            }
        }
    }
}

/// The measurement of a product. The field names are those of `ocelli bench --json`.
#[derive(Serialize)]
pub(super) struct Tuned {
    product: String,
    images: usize,
    heuristic: String,
    chosen: String,
    /// Milliseconds of each candidate with the right result.
    ms: BTreeMap<String, f64>,
}

impl From<&Measured> for Tuned {
    fn from(Measured { problem, images, times, heuristic, chosen }: &Measured) -> Self {
        Self {
            product: problem.to_string(),
            images: *images,
            heuristic: heuristic.to_string(),
            chosen: chosen.to_string(),
            ms: times.iter().map(|(algorithm, ms)| (algorithm.to_string(), *ms)).collect(),
        }
    }
}

fn line(Measured { problem, images, times, chosen, .. }: &Measured) -> String {
    let times: Vec<String> = times.iter().map(|(algorithm, ms)| format!("{algorithm} {ms:.2} ms")).collect();
    format!("{problem}, {images} pictures: {chosen}, of {}", times.join(", "))
}

#[derive(Default)]
struct Sums {
    products: usize,
    measured: usize,
    kept: usize,
    heuristic_ms: f64,
    chosen_ms: f64,
}

impl Sums {
    fn add(&mut self, Measured { times, heuristic, chosen, .. }: &Measured) {
        let ms = |way| times.iter().find(|(algorithm, _)| algorithm == way).map(|(_, ms)| *ms);
        self.measured += 1;
        self.kept += usize::from(heuristic == chosen);
        if let (Some(heuristic_ms), Some(ms)) = (ms(heuristic), ms(chosen)) {
            self.heuristic_ms += heuristic_ms;
            self.chosen_ms += ms;
        }
    }

    fn line(&self) -> String {
        let Self { measured, kept, heuristic_ms, chosen_ms, .. } = self;
        format!(
            "the heuristic was right for {kept} of {measured} products; each once, {chosen_ms:.1} ms instead of {heuristic_ms:.1}"
        )
    }
}
