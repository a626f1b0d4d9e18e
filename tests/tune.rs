//! The choice of algorithms: the heuristic, the measurement and its cache. No bit of a run depends on when it was
//! measured.

use crate::ops::harness::{PRODUCTS, gpu};
use crate::support::fixtures::{folder, ocelli, write_pictures};
use ocelli::autotune::{Measured, Notice, Tune, Tuner};
use ocelli::gpu::{Kernel, Limits};
use ocelli::graph::Graph;
use ocelli::kernels::{
    Algorithm, AlgorithmCache, ConvOptions, ConvProblem, GemmKernel, KernelFamily, Pass, WinogradTile,
};
use ocelli::models::{ARCHS, Arch, Mode, Settings};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::tensor::{Precision, Shape, Value};
use ocelli::train::{TrainingGraph, TrainingOptions};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Limits that every network fits.
const WIDE: Limits = Limits { binding_bytes: 1 << 40, buffer_bytes: 1 << 40 };

fn keys(arch: &Arch, batch_size: usize, options: &PlanOptions) -> Vec<ConvProblem> {
    let settings = Settings { size: [arch.size; 2], ..arch.settings(batch_size) };
    let step = TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap();
    let network = arch.network(&settings, Mode::Inference).unwrap();
    let plans = [step.plan(options).unwrap(), Plan::new(&network.graph, &[network.logits], options).unwrap()];
    plans.iter().flat_map(|plan| plan.products().keys().copied()).collect()
}

#[test]
fn candidates_of_every_network_fit_and_begin_with_the_choice_of_the_table() {
    for product in PRODUCTS {
        let options = PlanOptions::new(product, WIDE).record;
        for arch in ARCHS {
            for key in keys(arch, 2, &PlanOptions::new(product, WIDE)) {
                let candidates = options.candidates(&key);
                assert_eq!(candidates[0], options.heuristic(&key), "{key}");
                assert!((2..=8).contains(&candidates.len()), "{key}: {candidates:?}");
                assert!(candidates.iter().all(|c| options.supports(*c, &key)), "{key}: {candidates:?}");
                let taken_apart =
                    candidates.iter().filter(|c| matches!(c, Algorithm::Winograd { .. })).count();
                let possible = key.w[..2] == [3, 3] && key.stride == [1, 1] && key.groups == 1;
                assert_eq!(taken_apart, 2 * usize::from(possible), "{key}: {candidates:?}");
                // A quick measurement takes three: another GEMM kernel, and Winograd's larger tile if it is possible.
                let quick = &candidates[..3.min(candidates.len())];
                let four = Algorithm::Winograd { tile: WinogradTile::F4x4 };
                assert_eq!(quick.contains(&four), possible, "{key}: {quick:?}");
                let cores = quick.iter().filter(|c| c.kernel().is_some()).count();
                let wanted = if possible && candidates[0].kernel().is_some() { 2 } else { 1 };
                assert!(cores >= wanted, "{key}: {quick:?}");
                let distinct: BTreeSet<_> = candidates.iter().collect();
                assert_eq!(distinct.len(), candidates.len(), "{key}: {candidates:?}");
            }
        }
    }
}

/// The GEMM kernel that the heuristic for GPUs chooses for a convolution whose padding keeps the size of the map.
fn for_gpus(pass: Pass, x: [usize; 4], [r, s, k]: [usize; 3]) -> GemmKernel {
    let w = [r, s, x[3], k];
    let (stride, pad, precision) = ([1, 1], [r / 2, s / 2], Precision::F32);
    let key = ConvProblem { pass, x, w, stride, pad, groups: 1, precision };
    PlanOptions::new(KernelFamily::Tiled, WIDE).record.heuristic(&key).kernel().unwrap()
}

#[test]
fn a_gpu_gets_the_largest_block_that_keeps_it_busy() {
    let (y, dx, dw) = (Pass::Forward, Pass::InputGrad, Pass::WeightGrad);
    let tiled = |rows, cols: u32| GemmKernel::Tiled { rows, cols4: cols / 4 };
    // VGG-16 at batch 32: thousands of tiles.
    assert_eq!(for_gpus(y, [32, 56, 56, 256], [3, 3, 256]), tiled(128, 128));
    assert_eq!(for_gpus(dx, [32, 56, 56, 256], [3, 3, 256]), tiled(128, 128));
    // Few columns: half of a wider tile would be empty.
    assert_eq!(for_gpus(y, [32, 224, 224, 3], [3, 3, 64]), tiled(128, 64));
    assert_eq!(for_gpus(y, [32, 28, 28, 192], [1, 1, 32]), tiled(128, 32));
    // One image: there would be few large tiles.
    assert_eq!(for_gpus(y, [1, 14, 14, 256], [3, 3, 256]), tiled(32, 32));
    assert_eq!(for_gpus(y, [1, 56, 56, 64], [3, 3, 256]), tiled(64, 64));
    // The weight gradient has splits as well.
    assert_eq!(for_gpus(dw, [32, 56, 56, 256], [3, 3, 256]), tiled(128, 128));
    assert_eq!(for_gpus(dw, [32, 56, 56, 64], [3, 3, 64]), tiled(128, 64));
    // Fully connected layers.
    assert_eq!(for_gpus(y, [1, 1, 1, 9216], [1, 1, 4096]), GemmKernel::Rows { cols4: 16 });
    assert_eq!(for_gpus(dx, [4, 1, 1, 9216], [1, 1, 4096]), GemmKernel::Rows { cols4: 16 });
    assert!(matches!(for_gpus(y, [5, 1, 1, 9216], [1, 1, 4096]), GemmKernel::Tiled { .. }));
    assert!(matches!(for_gpus(dw, [1, 1, 1, 9216], [1, 1, 4096]), GemmKernel::Tiled { .. }));
}

#[test]
fn a_choice_that_does_not_fit_is_as_good_as_none() {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(2, 9, 9, 8));
    let w = graph.input("w", Shape::filter(3, 3, 8, 12));
    let y = graph.conv2d(x, w, None, ConvOptions::square(1, 1)).unwrap();
    let options = PlanOptions::new(KernelFamily::Tiled, Limits::WEBGPU);
    let plan = Plan::new(&graph, &[y], &options).unwrap();
    let (key, table) = plan.products().iter().next().unwrap();
    for core in [
        GemmKernel::Tiled { rows: 7, cols4: 1000 },
        GemmKernel::Direct { rows: 16, cols4: 3 },
        GemmKernel::Subgroup { cols4: 8 },
        GemmKernel::Rows { cols4: 16 },
    ] {
        for choice in [Algorithm::Gemm(core), Algorithm::SplitK { kernel: core, splits: 2, k_chunk: 64 }] {
            let mut choices = AlgorithmCache::default();
            choices.insert(*key, choice);
            let plan = Plan::new(&graph, &[y], &options.clone().with_algorithms(choices)).unwrap();
            assert_eq!(plan.products()[key], *table, "{choice:?}");
        }
    }
}

#[test]
fn the_table_gives_no_tiles_above_the_largest() {
    for name in ["resnet18", "alexnet-tv", "googlenet-tv"] {
        let arch = Arch::find(name).unwrap();
        let network = arch.network(&arch.settings(1), Mode::Inference).unwrap();
        let usual = PlanOptions::new(KernelFamily::Direct, Limits::WEBGPU);
        let cores = |options: &PlanOptions| -> Vec<String> {
            let plan = Plan::new(&network.graph, &[network.logits], options).unwrap();
            // Includes the GEMMs of Winograd's algorithm, which are not chosen by themselves.
            let of = |kernel: &Kernel| {
                let tile = |name| kernel.constants.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
                let rows = [(16, "ROWS = 16u"), (4, "ROWS = 4u"), (1, "ROWS = 1u")]
                    .into_iter()
                    .find(|(_, text)| kernel.sources.iter().any(|source| source.contains(text)));
                format!("{}x{}", rows.unwrap().0, tile("COLS").unwrap())
            };
            plan.dispatches().iter().filter(|d| d.kernel.entry == "direct").map(|d| of(&d.kernel)).collect()
        };
        let (usual, small) = (cores(&usual), cores(&usual.clone().with_largest_tile(4)));
        assert!(usual.iter().any(|tile| tile.starts_with("16x")), "{name}: {usual:?}");
        assert!(small.iter().all(|tile| ["4x1", "1x4"].contains(&tile.as_str())), "{name}: {small:?}");
        assert!(small.iter().any(|tile| tile == "1x4"), "{name}: the classifier has one row");
    }
    // A tile of a weight gradient has at least four rows, whatever the limit is.
    let (x, w, form) = ([1, 3, 3, 4], [1, 1, 4, 4], Pass::WeightGrad);
    let key =
        ConvProblem { pass: form, x, w, stride: [1; 2], pad: [0; 2], groups: 1, precision: Precision::F32 };
    let options = PlanOptions::new(KernelFamily::Direct, WIDE).with_largest_tile(1);
    assert_eq!(options.record.heuristic(&key).kernel(), Some(GemmKernel::Direct { rows: 4, cols4: 1 }));
    let one_row =
        Algorithm::SplitK { kernel: GemmKernel::Direct { rows: 1, cols4: 1 }, splits: 1, k_chunk: u32::MAX };
    assert!(!options.record.supports(one_row, &key));
}

/// A convolution, its gradients and a fully connected layer.
fn network() -> (Graph, Vec<Value>) {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(3, 11, 10, 8));
    let [w, last] =
        [graph.input("w", Shape::filter(3, 3, 8, 20)), graph.input("last", Shape::filter(6, 5, 20, 7))];
    let y = graph.conv2d(x, w, None, ConvOptions::square(2, 1)).unwrap();
    let logits = graph.linear(y, last, None).unwrap();
    let d = graph.input("d", graph.shape(logits).unwrap());
    let gradients = graph.gradients(logits, d, &[x, w, last]).unwrap();
    let outputs = [logits].into_iter().chain(gradients.into_iter().flatten()).collect();
    (graph, outputs)
}

/// Tunes the network with a cache in `folder`. Returns the choices, the measurements and the other notices.
fn tuned(folder: &Path, level: Tune) -> (AlgorithmCache, Vec<Measured>, Vec<String>) {
    let (mut measured, mut others) = (Vec::new(), Vec::new());
    let mut observe = |notice| match notice {
        Notice::Measured(one) => measured.push(one),
        Notice::Begins { .. } => {}
        other => others.push(format!("{other:?}")),
    };
    let mut tuner = Tuner::new(&gpu(), level, Some(folder.to_owned()), &mut observe);
    let (graph, outputs) = network();
    tuner.tune(&graph, &outputs).unwrap();
    // The second call measures nothing.
    tuner.tune(&graph, &outputs).unwrap();
    let products = Plan::new(&graph, &outputs, &tuner.options()).unwrap().products().clone();
    let choices = tuner.into_algorithms();
    if level > Tune::Off {
        assert_eq!(
            choices.iter().map(|(k, c)| (*k, *c)).collect::<Vec<_>>(),
            products.into_iter().collect::<Vec<_>>()
        );
    }
    (choices, measured, others)
}

/// The files of measurements in a folder, which may be missing. The program keeps compiled pipelines beside them.
fn measurements(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn only_file(folder: &Path) -> PathBuf {
    let files = measurements(folder);
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    file.clone()
}

#[test]
fn what_was_measured_is_kept_for_the_next_time() {
    let folder = folder();
    let cache = folder.path().join("not/there/yet");
    let (choices, measured, others) = tuned(&cache, Tune::Off);
    assert_eq!((choices, measured.len(), others.len()), (AlgorithmCache::default(), 0, 0));
    assert!(!cache.exists());

    let (choices, measured, others) = tuned(&cache, Tune::Quick);
    assert_eq!(others, [""; 0], "every kernel computes the right thing here");
    assert_eq!(measured.len(), 6, "three products of each layer");
    for one in &measured {
        assert!((2..=3).contains(&one.times.len()), "{one:?}");
        assert_eq!(one.times[0].0, one.heuristic);
        assert!(one.times.iter().all(|(_, ms)| ms.is_finite() && *ms > 0.0), "{one:?}");
        assert_eq!(choices.get(&one.problem), Some(one.chosen));
    }
    let file = only_file(&cache);
    let before = fs::read(&file).unwrap();
    for _ in 0..2 {
        let (again, measured, _) = tuned(&cache, Tune::Quick);
        assert_eq!((again, measured.len()), (choices.clone(), 0));
    }
    assert_eq!(fs::read(&file).unwrap(), before);

    let (full, measured, _) = tuned(&cache, Tune::Full);
    assert_eq!(measured.len(), 6, "more is measured than before");
    assert!(measured.iter().any(|one| one.times.len() > 3));
    assert_eq!(tuned(&cache, Tune::Quick), (full, Vec::new(), Vec::new()), "and is enough for less");
}

#[test]
fn a_broken_or_foreign_file_is_replaced() {
    let folder = folder();
    let (choices, ..) = tuned(folder.path(), Tune::Quick);
    let file = only_file(folder.path());
    let good: Json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(good["place"]["driver"], gpu().info().driver);
    let mut foreign = good.clone();
    foreign["place"]["adapter"] = "another one".into();
    let mut newer = good.clone();
    newer["place"]["version"] = "99.0.0".into();
    let mut unknown = good.clone();
    unknown["entries"][0]["choice"] = json!({"core": {"quantum": {"rows": 4}}});
    let half = good.to_string();
    let contents =
        [foreign.to_string(), newer.to_string(), unknown.to_string(), half[..half.len() / 2].to_owned()];
    for content in contents.into_iter().chain(["".into()]) {
        fs::write(&file, &content).unwrap();
        let (_, measured, others) = tuned(folder.path(), Tune::Quick);
        assert_eq!((measured.len(), others.len()), (6, 0), "{content}");
        let now: Json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(now["entries"].as_array().unwrap().len(), choices.iter().count());
        assert_eq!(tuned(folder.path(), Tune::Quick).1.len(), 0);
    }
    // An entry whose algorithm does not fit its problem is measured again. The others are not.
    let mut one = good;
    one["entries"][0]["choice"] = json!({"core": {"direct": {"rows": 5, "cols4": 77}}});
    fs::write(&file, one.to_string()).unwrap();
    assert_eq!(tuned(folder.path(), Tune::Quick).1.len(), 1);
    // If the cache cannot be written, a notice says so and the network runs.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let (chosen, measured, others) = tuned(folder.path(), Tune::Quick);
    assert_eq!((chosen.iter().count(), measured.len(), others.len()), (6, 6, 1), "{others:?}");
    assert!(others[0].starts_with("NotKept"), "{others:?}");
}

#[test]
fn two_may_write_at_once() {
    let folder = folder();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| tuned(folder.path(), Tune::Quick));
        }
    });
    let (_, measured, others) = tuned(folder.path(), Tune::Quick);
    assert_eq!((measured.len(), others.len()), (0, 0));
    only_file(folder.path());
}

/// Trains for some steps with a cache in `cache`. Returns the messages.
fn train(here: &Path, cache: &str, out: &str, steps: &str, more: &[&str]) -> String {
    let arguments =
        "train --arch resnet20 --data data --batch-size 2 --lr 0.01 --schedule constant --seed 3 --out";
    let output = ocelli(here)
        .env("OCELLI_CACHE_DIR", here.join(cache))
        .args(arguments.split(' '))
        .args([out, "--steps", steps])
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn a_run_does_not_depend_on_when_its_kernels_were_chosen() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 4, 1, 8);
    let bits = |out: &str| fs::read(here.join(out).join("last.safetensors")).unwrap();
    let quick = ["--tune", "quick"];
    let said = train(here, "cache", "cold", "3", &quick);
    assert!(said.contains("choosing kernels for "), "{said}");
    let said = train(here, "cache", "warm", "3", &quick);
    assert!(!said.contains("choosing kernels"), "{said}");
    assert_eq!(bits("cold"), bits("warm"));

    // Another cache: the weight gradients have another number of splits, which gives other bits.
    let file = only_file(&here.join("cache"));
    let mut content: Json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for entry in content["entries"].as_array_mut().unwrap() {
        if let Some(split) = entry["choice"].get_mut("split") {
            split["splits"] = 7.into();
        }
    }
    let other = here.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join(file.file_name().unwrap()), content.to_string()).unwrap();
    train(here, "other", "differs", "3", &quick);
    assert_ne!(bits("cold"), bits("differs"));

    // A resumed run keeps its algorithms, whatever the cache holds and whatever `--tune` says.
    for (out, cache, tune) in
        [("changed", "other", "quick"), ("gone", "nowhere", "quick"), ("off", "cache", "off")]
    {
        train(here, "cache", out, "2", &quick);
        train(here, cache, out, "3", &["--resume", "--tune", tune]);
        assert_eq!(bits("cold"), bits(out), "{out}");
    }
    assert_eq!(
        measurements(&here.join("nowhere")),
        [""; 0].map(PathBuf::from),
        "nothing is measured for a run that goes on"
    );
}
