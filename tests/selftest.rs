//! The self-test: it finds kernels that compute wrongly, keeps the verdict, and no plan uses such a kernel from then on.

use crate::cli::fails;
use crate::ops::harness;
use crate::support::fixtures::{folder, ocelli, run, write_pictures};
use crate::training::config;
use ocelli::autotune::{Notice, Tune, Tuner};
use ocelli::gpu::{AdapterInfo, Excluded, Gpu, GpuOptions, Kernel};
use ocelli::graph::{Graph, LrnOptions};
use ocelli::kernels::{Algorithm, AlgorithmCache, ConvOptions, ConvProblem, Pass};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::selftest::{Extent, Failure, SelfTest, Verdict, run as test};
use ocelli::tensor::{Precision, Shape, Value};
use ocelli::train::{Control, Length, train};
use ocelli::{Error, Result};
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn gpu() -> Gpu {
    Gpu::open(&GpuOptions::default()).unwrap()
}

/// A convolution with its input gradient: the graph, its inputs and its outputs.
fn network() -> (Graph, [Value; 3], [Value; 2]) {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(2, 9, 8, 12));
    let w = graph.input("w", Shape::filter(5, 5, 12, 16));
    let y = graph.conv2d(x, w, None, ConvOptions::square(1, 2)).unwrap();
    let dy = graph.input("dy", graph.shape(y).unwrap());
    let dx = graph.gradients(y, dy, &[x]).unwrap()[0].unwrap();
    (graph, [x, w, dy], [y, dx])
}

fn plan(options: &PlanOptions) -> Result<Plan> {
    let (graph, _, outputs) = network();
    Plan::new(&graph, &outputs, options)
}

fn choice(plan: &Plan, pass: Pass) -> (ConvProblem, Algorithm) {
    let (problem, algorithm) = plan.products().iter().find(|(problem, _)| problem.pass == pass).unwrap();
    (*problem, *algorithm)
}

/// The results of the network on small integers.
fn results(gpu: &Arc<Gpu>) -> Vec<Vec<f32>> {
    let (graph, inputs, outputs) = network();
    let plan = Plan::new(&graph, &outputs, &PlanOptions::for_gpu(gpu)).unwrap();
    let session = Session::new(gpu.clone(), plan, None).unwrap();
    for input in inputs {
        let count = graph.shape(input).unwrap().elements().unwrap();
        session.write(input, &(0..count).map(|i| (i * 7 % 5) as f32 - 2.0).collect::<Vec<_>>()).unwrap();
    }
    session.run().unwrap();
    outputs.iter().map(|output| session.output(*output).unwrap()).collect()
}

/// Whether two kernels are the same core: the same texts, apart from those of the reduction, and the same tile.
fn is_core(core: &Kernel, kernel: &Kernel) -> bool {
    let tile = |kernel: &Kernel| {
        let sizes =
            kernel.constants.iter().filter(|(name, _)| ["ROWS4", "COLS4", "COLS", "THREADS"].contains(name));
        sizes.copied().collect::<Vec<_>>()
    };
    (core.name, core.entry) == (kernel.name, kernel.entry)
        && core.sources.first() == kernel.sources.first()
        && core.sources.get(1) == kernel.sources.get(1)
        && tile(core) == tile(kernel)
}

/// The core of the input gradient of [`network`] in f32, by the heuristic.
fn usual_core(gpu: &Gpu) -> (Kernel, Algorithm) {
    let plan = plan(&PlanOptions::for_gpu(gpu)).unwrap();
    let kernel = plan.dispatches().iter().find(|d| d.kernel.name == "conv2d.dx").unwrap().kernel.clone();
    (kernel, choice(&plan, Pass::InputGrad).1)
}

/// A device whose compiler loses something in one core and in LRN, and which refuses dropout.
fn broken() -> (Arc<Gpu>, Algorithm) {
    let gpu = gpu();
    let (core, algorithm) = usual_core(&gpu);
    gpu.miscompile(move |kernel, text| match kernel.name {
        "lrn" => text.replace("vec4(params.bias) +", "vec4(params.bias) -"),
        "dropout" => text.replace("fn dropout(", "fn dropout(nothing: nothing,"),
        _ if is_core(&core, kernel) => {
            text.replace("followed(value,", "followed(value + vec4(0.0, 0.0, 1.0, 0.0),")
        }
        _ => text,
    });
    (Arc::new(gpu), algorithm)
}

fn faults<'a>(test: &'a SelfTest, name: &'a str) -> Vec<(&'a str, Precision, &'a str)> {
    let of = test.faults().filter(move |outcome| outcome.name == name);
    of.map(|outcome| (&*outcome.case, outcome.precision, outcome.fault.as_deref().unwrap())).collect()
}

/// Plans a layer of LRN.
fn lrn(gpu: &Gpu) -> Result<Plan> {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 2, 2, 4));
    let options = LrnOptions { size: 5, alpha: 1e-4, beta: 0.75, bias: 2.0 };
    let y = graph.layer("norm1").lrn(x, options)?;
    Plan::new(&graph, &[y], &PlanOptions::for_gpu(gpu))
}

#[test]
fn wrong_kernels_are_found_kept_and_never_used_again() {
    let (gpu, algorithm) = broken();
    let mut observed = 0;
    let tested = test(&gpu, Extent::Quick, &mut |_| observed += 1).unwrap();
    assert_eq!(observed, tested.outcomes.len());

    // What is wrong has a fault, and nothing else.
    let core = algorithm.to_string();
    let wrong: Vec<&str> = tested.faults().map(|outcome| &*outcome.name).collect();
    assert!(wrong.iter().all(|name| [&*core, "conv2d", "lrn", "dropout"].contains(name)), "{wrong:?}");
    let of_core = faults(&tested, &core);
    assert!(of_core.iter().all(|(case, ..)| case.starts_with("conv2d.dx ")), "{of_core:?}");
    let of_core = of_core.iter().find(|(_, precision, _)| *precision == Precision::F32).unwrap().2;
    assert!(of_core.contains(" instead of ") && of_core.contains(" at [0, 0, 0, 2]; "), "{of_core}");
    assert!(faults(&tested, "lrn").iter().any(|(.., fault)| fault.contains("numbers are wrong")));
    let refused = faults(&tested, "dropout");
    assert!(refused.iter().all(|(.., fault)| fault.contains("does not compile")), "{refused:?}");

    // The verdict lists the kernels, and survives a round trip.
    let cache = folder();
    let kept = tested.keep(gpu.info(), &cache.path().join("new")).unwrap();
    let verdict = Verdict::read(gpu.info(), &cache.path().join("new")).unwrap();
    assert_eq!(verdict, kept);
    let excluded = verdict.excluded();
    let names: Vec<&str> = excluded.names().collect();
    let core_in_f32 = format!("conv2d.dx {core} f32");
    for name in [&*core_in_f32, "lrn f32", "dropout f32"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(
        names.iter().all(|n| ["conv2d.dx", "lrn", "dropout"].contains(&n.split(' ').next().unwrap())),
        "{names:?}"
    );

    // The broken device computes the right thing with other kernels.
    let right = results(&harness::gpu());
    verdict.apply(&gpu);
    assert_eq!(results(&gpu), right);
    let error = lrn(&gpu).unwrap_err();
    assert!(matches!(error, Error::Gpu(_)), "{error:?}");
    for part in ["norm1 lrn", "`lrn f32`", "driver", "another adapter"] {
        assert!(error.to_string().contains(part), "{error}");
    }

    // Neither the tuner nor a cache of earlier choices brings the core back.
    let (problem, other) = choice(&plan(&PlanOptions::for_gpu(&gpu)).unwrap(), Pass::InputGrad);
    assert_ne!(other, algorithm);
    let mut earlier = AlgorithmCache::default();
    earlier.insert(problem, algorithm);
    let resumed = plan(&PlanOptions::for_gpu(&gpu).with_algorithms(earlier)).unwrap();
    assert_eq!(choice(&resumed, Pass::InputGrad).1, other);
    let mut candidates = Vec::new();
    let mut observe = |notice| {
        if let Notice::Measured(measured) = notice {
            candidates.extend(measured.times.into_iter().map(|(algorithm, _)| (measured.problem, algorithm)));
        }
    };
    let (graph, _, outputs) = network();
    let mut tuner = Tuner::new(&gpu, Tune::Full, None, &mut observe);
    tuner.tune(&graph, &outputs).unwrap();
    drop(tuner);
    let of_dx: Vec<_> = candidates.iter().filter(|(problem, _)| problem.pass == Pass::InputGrad).collect();
    assert!(of_dx.len() > 1 && of_dx.iter().all(|(_, other)| *other != algorithm), "{of_dx:?}");

    // A second test finds the same, although the kernels are excluded.
    assert_eq!(test(&gpu, Extent::Quick, &mut |_| ()).unwrap().outcomes, tested.outcomes);
}

#[test]
fn a_sound_adapter_passes_and_says_what_it_does_not_run() {
    let gpu = harness::gpu();
    let tested = test(&gpu, Extent::Quick, &mut |_| ()).unwrap();
    let faults: Vec<_> = tested.faults().collect();
    assert!(faults.is_empty(), "{faults:?}");
    let verdict = tested.verdict();
    assert!(!verdict.full && verdict.failures.is_empty() && verdict.excluded().is_empty());
    assert_eq!(verdict.tests, tested.outcomes.len());
    for outcome in &tested.outcomes {
        let same =
            |u: &&ocelli::selftest::Untested| u.name == outcome.name && u.precision == outcome.precision;
        assert!(!tested.untested.iter().any(|u| same(&u)), "{outcome:?}");
    }
    assert_eq!(gpu.excluded(), Arc::default(), "the test changes nothing");
}

#[test]
fn a_failure_of_a_case_that_is_not_tested_again_stays() {
    let (info, cache) = (harness::gpu().info().clone(), folder());
    let earlier = |name: &str| verdict(&[name], &format!("{name} f32"));
    let quick = SelfTest { extent: Extent::Quick, outcomes: Vec::new(), untested: Vec::new(), kernels: 0 };
    earlier("relu").write(&info, cache.path()).unwrap();
    let kept = quick.keep(&info, cache.path()).unwrap();
    assert!(kept.excluded().contains("relu f32"));
}

fn verdict(names: &[&str], excluded: &str) -> Verdict {
    let failure = |name: &&str| Failure {
        name: (*name).to_owned(),
        case: "a case".to_owned(),
        precision: Precision::F32,
        fault: "1 instead of 2 at [0, 0, 0, 0]; 1 of 4 numbers are wrong".to_owned(),
        excluded: [excluded.to_owned()].into_iter().collect(),
    };
    let failures = names.iter().map(failure).collect();
    Verdict { unix_seconds: 1_700_000_000, tests: 300, full: false, failures }
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    file.clone()
}

#[test]
fn a_damaged_or_foreign_verdict_is_none() {
    let (info, cache) = (harness::gpu().info().clone(), folder());
    assert_eq!(Verdict::read(&info, cache.path()), None);
    let whole = verdict(&["relu"], "relu f32");
    whole.write(&info, cache.path()).unwrap();
    assert_eq!(Verdict::read(&info, cache.path()), Some(whole.clone()));
    let newer = AdapterInfo { driver: "another driver".to_owned(), ..info.clone() };
    assert_eq!(Verdict::read(&newer, cache.path()), None, "another driver is not tested");
    let file = only_file(cache.path());
    let text = fs::read_to_string(&file).unwrap();
    let mut foreign: Json = serde_json::from_str(&text).unwrap();
    foreign["place"]["driver"] = "another driver".into();
    let mut typed: Json = serde_json::from_str(&text).unwrap();
    typed["failures"] = "none".into();
    let half = text[..text.len() / 2].to_owned();
    for damaged in [foreign.to_string(), typed.to_string(), half, String::new(), "\u{0}".repeat(64)] {
        fs::write(&file, &damaged).unwrap();
        assert_eq!(Verdict::read(&info, cache.path()), None, "{damaged}");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(Verdict::read(&info, cache.path()), None);
    assert!(whole.write(&info, cache.path()).is_err());
}

#[test]
fn a_run_is_not_resumed_with_a_kernel_that_computes_wrongly() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    let steps = |n| ocelli::train::Config { length: Length::Steps(n), ..config(&data) };
    train(&harness::gpu(), &steps(1), &out, false, &mut |_| Control::Continue).unwrap();
    let gpu = Arc::new(gpu());
    gpu.exclude(["softmax_cross_entropy loss f32".to_owned()].into_iter().collect::<Excluded>());
    let error = train(&gpu, &steps(2), &out, true, &mut |_| Control::Continue).unwrap_err();
    assert!(
        matches!(error, Error::Gpu(_)) && error.to_string().contains("softmax_cross_entropy loss f32"),
        "{error}"
    );
    gpu.exclude(Excluded::default());
    train(&gpu, &steps(2), &out, true, &mut |_| Control::Continue).unwrap();
}

#[test]
fn the_program_tests_reports_and_keeps_the_verdict() {
    let folder = folder();
    let here = folder.path();
    let (code, stdout, _) = run(here, &["devices"]);
    assert!(code == 0 && stdout.contains("self-test: not run (ocelli selftest --adapter 0)"), "{stdout}");
    fails(here, &["selftest", "--fast"], 2, &["--fast"]);
    fails(here, &["selftest", "--report", "none/page.md"], 66, &["none", "no such folder"]);
    let (code, stdout, stderr) = run(here, &["selftest", "--json", "--report", "page.md"]);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<Json> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (total, rows) = lines.split_last().unwrap();
    let cases: u64 = rows.iter().map(|row| row["cases"].as_u64().unwrap()).sum();
    assert_eq!((&total["tests"], &total["passed"]), (&cases.into(), &cases.into()));
    assert_eq!((&total["failed"], &total["excluded"]), (&0.into(), &Json::Array(Vec::new())));
    for (name, ran) in [("direct 4x4", true), ("relu", true), ("cooperative 64x32 by 32", false)] {
        let row = rows.iter().find(|row| row["name"] == name && row["precision"] == "f32").unwrap();
        assert_eq!((row["not_run"].is_null(), row["cases"] != 0), (ran, ran), "{row}");
    }
    let page = fs::read_to_string(here.join("page.md")).unwrap();
    for part in [
        "# Self-test of Ocelli",
        "all passed",
        "| direct 4x4 | ",
        "| driver | `",
        "not run in f32: cooperative",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("What failed"), "{page}");
    let (_, stdout, _) = run(here, &["devices"]);
    assert!(
        stdout.contains("self-test: passed on ") && stdout.contains(&format!("{cases} tests")),
        "{stdout}"
    );
}

/// Writes a verdict for the adapter that the program takes.
fn kept(here: &Path, excluded: &str) {
    verdict(&["a kernel"], excluded).write(harness::gpu().info(), &here.join("cache")).unwrap();
}

#[test]
fn commands_respect_the_verdict_and_say_so() {
    let folder = folder();
    let here = folder.path();
    let bench = "bench --arch resnet20 --size 8 --batch-size 2 --seconds 0 --mode infer --tune off";
    let bench: Vec<&str> = bench.split(' ').collect();
    let (graph, _, outputs) = network();
    let usual = Plan::new(&graph, &outputs, &PlanOptions::for_gpu(&harness::gpu())).unwrap();
    let core = choice(&usual, Pass::Forward).1;
    kept(here, &format!("conv2d.y {core} f32"));
    let (code, _, stderr) = run(here, &bench);
    assert_eq!(code, 0, "{stderr}");
    let warning = format!("found wrong results: conv2d.y {core} f32");
    assert_eq!(stderr.matches(&warning).count(), 1, "{stderr}");
    let (_, _, stderr) = run(here, &[&bench[..], &["--quiet"]].concat());
    assert_eq!(stderr, "", "quiet means quiet");
    let (_, stdout, _) = run(here, &["devices"]);
    let says = format!(
        "self-test: 1 of 300 tests failed on Tue, 14 Nov 2023 22:13:20 GMT; not used: conv2d.y {core} f32"
    );
    assert!(stdout.contains(&says), "{stdout}");
    let (_, stdout, _) = run(here, &["devices", "--json"]);
    let listed: Vec<Json> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = harness::gpu().info().name.clone();
    let listed = listed.iter().find(|info| info["name"] == *name).unwrap();
    assert_eq!(listed["selftest"]["failures"][0]["name"], "a kernel");

    // Without the kernel there is no network.
    kept(here, "label_rank rank f32");
    fails(here, &bench, 71, &["`label_rank rank f32`", "update", "`ocelli devices`"]);
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_is_no_reason_to_fail() {
    let folder = folder();
    let here = folder.path();
    // Even the administrator cannot make a folder in a file.
    fs::write(here.join("file"), "").unwrap();
    let mut program = ocelli(here);
    program.env("OCELLI_CACHE_DIR", here.join("file/cache")).arg("selftest");
    let output = program.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("warning: the verdict is not kept: "), "{stderr}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("all passed") && stdout.contains("direct 4x4"), "{stdout}");
}
