//! `ocelli selftest`

use super::table::{Cell, Table};
use super::{Global, LimitsArg, advice, page, print, print_json, tell};
use crate::autotune::cache_folder;
use crate::error::{Choice, Error, Result, Untrusted};
use crate::gpu::{AdapterInfo, Excluded, Gpu};
use crate::selftest::{self, Extent, Outcome, SelfTest, Untested, Verdict};
use crate::tensor::Precision;
use crate::weights::write_atomically;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Where a page with wrong results is sent.
const ISSUE: &str = "https://github.com/ocelli/ocelli/issues/new?template=selftest.yml";
/// The most names of a list in a message.
const NAMES: usize = 5;
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::F16];

#[derive(Args)]
pub(super) struct SelftestArgs {
    /// Test more shapes, which takes longer
    #[arg(long)]
    full: bool,
    /// Write a page in Markdown for others to read: the adapter, what passed, and the first wrong number of what did not
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// One JSON object for each core and operation in each precision, and one for the whole test
    #[arg(long)]
    json: bool,
}

/// The verdict of the last self-test on an adapter with this driver, if this version has tested it.
pub(super) fn known(info: &AdapterInfo) -> Option<Verdict> {
    cache_folder().and_then(|folder| Verdict::read(info, &folder))
}

/// The first names of what is excluded; `None` if nothing is.
pub(super) fn list(excluded: &Excluded) -> Option<String> {
    let count = excluded.names().count();
    let names: Vec<&str> = excluded.names().take(NAMES).collect();
    let more = if count > NAMES { format!(" and {} more", count - NAMES) } else { String::new() };
    (count > 0).then(|| names.join(", ") + &more)
}

/// A verdict in a few words.
pub(super) fn summary(verdict: &Verdict) -> String {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(verdict.unix_seconds.min(1 << 37)));
    let (failed, tests) = (verdict.failures.len(), verdict.tests);
    match list(&verdict.excluded()) {
        None if failed == 0 => format!("passed on {date}, {tests} tests"),
        names => {
            format!("{failed} of {tests} tests failed on {date}; not used: {}", names.unwrap_or_default())
        }
    }
}

pub(super) fn run(args: &SelftestArgs, global: &Global) -> Result<()> {
    if let Some(file) = &args.report {
        page::check(file)?;
    }
    let gpu = global.open_untested()?;
    let start = Instant::now();
    let extent = if args.full { Extent::Full } else { Extent::Quick };
    let mut current = String::new();
    let test = selftest::run(&gpu, extent, &mut |outcome| {
        // Software adapters may compile the kernels of a core for seconds.
        if outcome.name != current {
            current.clone_from(&outcome.name);
            global.say(format!("{:.1} s: {current}", start.elapsed().as_secs_f64()));
        }
    })?;
    let page = Page { gpu: &gpu, test, seconds: start.elapsed().as_secs_f64(), args };
    if args.json {
        page.print_json()?;
    } else {
        page.lines().iter().try_for_each(|line| print(line))?;
    }
    if let Some(file) = &args.report {
        page.write(file, global)?;
    }
    page.keep(global);
    page.verdict()
}

struct Page<'a> {
    gpu: &'a Gpu,
    test: SelfTest,
    seconds: f64,
    args: &'a SelftestArgs,
}

/// A core or an operation in one precision, as JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    precision: Precision,
    cases: usize,
    failed: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<Fault<'a>>,
    /// Why there is no case.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_run: Option<&'a str>,
}

#[derive(Serialize)]
struct Fault<'a> {
    case: &'a str,
    fault: &'a str,
}

/// The whole test, as JSON.
#[derive(Serialize)]
struct Total<'a> {
    tests: usize,
    passed: usize,
    failed: usize,
    kernels: usize,
    seconds: f64,
    full: bool,
    adapter: &'a str,
    backend: &'a str,
    driver: &'a str,
    version: &'a str,
    excluded: Excluded,
}

impl Page<'_> {
    fn failed(&self) -> usize {
        self.test.faults().count()
    }

    fn row<'a>(&'a self, name: &'a str, precision: Precision) -> Row<'a> {
        let of = |outcome: &&Outcome| outcome.name == name && outcome.precision == precision;
        let outcomes: Vec<&Outcome> = self.test.outcomes.iter().filter(of).collect();
        let fault = |outcome: &&'a Outcome| {
            outcome.fault.as_deref().map(|fault| Fault { case: &outcome.case, fault })
        };
        let faults: Vec<Fault> = outcomes.iter().filter_map(fault).collect();
        let of = |untested: &&Untested| untested.name == name && untested.precision == precision;
        let not_run = self.test.untested.iter().find(of).map(|untested| untested.reason);
        Row { name, precision, cases: outcomes.len(), failed: faults.len(), faults, not_run }
    }

    fn print_json(&self) -> Result<()> {
        for name in self.test.names() {
            PRECISIONS.iter().try_for_each(|precision| print_json(&self.row(name, *precision)))?;
        }
        let (info, tests, failed) = (self.gpu.info(), self.test.outcomes.len(), self.failed());
        print_json(&Total {
            tests,
            passed: tests - failed,
            failed,
            kernels: self.test.kernels,
            seconds: self.seconds,
            full: self.args.full,
            adapter: &info.name,
            backend: &info.backend,
            driver: &info.driver,
            version: env!("CARGO_PKG_VERSION"),
            excluded: self.test.verdict().excluded(),
        })
    }

    fn table(&self) -> Table {
        let mut table = Table::of_text(["kernel", "f32", "f16"]);
        for name in self.test.names() {
            let cell = |precision| {
                Cell::plain(match self.row(name, precision) {
                    Row { not_run: Some(_), .. } => "-".to_owned(),
                    Row { failed: 0, cases, .. } => format!("{cases} passed"),
                    Row { failed, cases, .. } => format!("{failed} of {cases} FAILED"),
                })
            };
            table.push([Cell::plain(name), cell(Precision::F32), cell(Precision::F16)]);
        }
        table
    }

    /// Why cells of the table are empty, one line for each reason.
    fn reasons(&self) -> Vec<String> {
        let untested = &self.test.untested;
        let mut keys: Vec<(Precision, &str)> = untested.iter().map(|u| (u.precision, u.reason)).collect();
        keys.sort_unstable();
        keys.dedup();
        let line = |(precision, reason): (Precision, &str)| {
            let of = |u: &&Untested| (u.precision, u.reason) == (precision, reason);
            let names: Vec<&str> = untested.iter().filter(of).map(|u| u.name.as_str()).collect();
            let who = if names.len() > NAMES { format!("{} rows", names.len()) } else { names.join(", ") };
            format!("not run in {}: {who}: {reason}", of_precision(precision))
        };
        keys.into_iter().map(line).collect()
    }

    /// The faults, one line each.
    fn faults(&self) -> Vec<String> {
        let line = |outcome: &Outcome| {
            let Outcome { name, case, precision, fault, .. } = outcome;
            let fault = fault.as_deref().unwrap_or_default();
            format!("{name} {}: {case}: {fault}", of_precision(*precision))
        };
        self.test.faults().map(line).collect()
    }

    fn summary(&self) -> String {
        let (tests, failed) = (self.test.outcomes.len(), self.failed());
        let outcome = if failed == 0 { "all passed".to_owned() } else { format!("{failed} FAILED") };
        format!("{tests} tests of {} kernels in {:.1} s: {outcome}", self.test.kernels, self.seconds)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.table().lines();
        lines.extend(self.reasons());
        lines.extend(self.faults());
        lines.push(self.summary());
        lines
    }

    fn markdown(&self) -> String {
        let command = format!("ocelli selftest --report FILE{}", if self.args.full { " --full" } else { "" });
        let about = page::about(self.gpu.info(), command).markdown();
        let mut text = format!("# Self-test of Ocelli on one adapter\n\n{about}\n{}.\n", self.summary());
        let mut faults = Table::of_text(["kernel", "what", "first wrong number, or why it does not run"]);
        for outcome in self.test.faults() {
            faults.push([
                Cell::plain(format!("{} {}", outcome.name, of_precision(outcome.precision))),
                Cell::plain(&outcome.case),
                Cell::quoted(outcome.fault.as_deref().unwrap_or_default()),
            ]);
        }
        if !faults.is_empty() {
            text += &format!("\n## What failed\n\n{}", faults.markdown());
            text += &format!("\nPlease send this page: {ISSUE}\n");
        }
        text += &format!("\n## What was tested\n\n{}\n", self.table().markdown());
        self.reasons().iter().for_each(|line| text += &format!("- {line}\n"));
        text += "\nA test computes small integers on odd shapes, on memory full of NaN, and compares the result with plain loops on \
                 the processor in double precision. Where all sums are exact, every bit must be equal; averages, normalisations, \
                 softmax and Winograd's larger tile have a bound for their rounding.\n";
        text
    }

    fn write(&self, file: &Path, global: &Global) -> Result<()> {
        let text = self.markdown();
        write_atomically(file, |out| out.write_all(text.as_bytes()))?;
        global.say(format!("{}: {}", Untrusted::new(file), self.summary()));
        Ok(())
    }

    /// Keeps the verdict for the commands that run networks. That is no reason to fail.
    fn keep(&self, global: &Global) {
        if matches!(global.limits, LimitsArg::Webgpu) {
            global.say("the verdict is not kept, for --limits webgpu leaves out a part of the kernels");
            return;
        }
        let Some(folder) = cache_folder() else {
            tell("warning: the verdict is not kept: there is no cache folder; OCELLI_CACHE_DIR names one");
            return;
        };
        if let Err(error) = self.test.keep(self.gpu.info(), &folder) {
            tell(format!("warning: the verdict is not kept: {}", advice::message(&error)));
        }
    }

    /// An error if a test has failed.
    fn verdict(&self) -> Result<()> {
        let (failed, tests) = (self.failed(), self.test.outcomes.len());
        if failed == 0 {
            return Ok(());
        }
        let info = self.gpu.info();
        let names = list(&self.test.verdict().excluded()).unwrap_or_default();
        Err(Error::gpu(format!(
            "{failed} of {tests} tests failed; no network uses these kernels here: {names}"
        ))
        .at(format!("{} ({})", info.name, info.driver))
        .hint(
            Choice::Adapter
                .after("update its driver and test it again, or ")
                .then(&format!("; please send the page that `--report FILE` writes: {ISSUE}")),
        ))
    }
}

fn of_precision(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
    }
}
