//! Public functions with wrong arguments: each says so, none panics, and the device goes on.

use crate::activations::at_once;
use ocelli::data::{ChannelOrder, Normalization, Picture, Preprocessing, Resize, decode, fit};
use ocelli::gpu::{CommandList, Gpu, GpuOptions, Limits};
use ocelli::graph::Graph;
use ocelli::infer::{ActivationRecorder, InferenceStep, check_logits, most_probable};
use ocelli::kernels::{ConvOptions, KernelFamily};
use ocelli::models::{ARCHS, Arch, Mode, Settings};
use ocelli::ops::{LrnOptions, PoolOptions, Running};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Precision, Shape, Value};
use ocelli::train::{EvaluationStep, Hyper, TrainingGraph, TrainingOptions, TrainingStep};
use ocelli::weights::{InMemory, Safetensors, Source, Tensor, export, import, import_rows, write_tensors};
use ocelli::{Error, Result};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A Gpu of its own: what breaks it is a fault of these tests alone.
fn gpu() -> Arc<Gpu> {
    Arc::new(Gpu::open(&GpuOptions::default()).unwrap())
}

/// What came of each call that should be refused and was not.
#[derive(Default)]
struct Calls {
    faults: Vec<String>,
    count: usize,
}

impl Calls {
    fn refused<T>(&mut self, name: &str, call: impl FnOnce() -> Result<T>) {
        self.count += 1;
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(Err(Error::Usage(_) | Error::Data(_) | Error::Gpu(_) | Error::Internal(_))) => {}
            Ok(Err(error)) => self.faults.push(format!("{name}: {error:?}")),
            Ok(Ok(_)) => self.faults.push(format!("{name}: accepted")),
            Err(_) => self.faults.push(format!("{name}: panics")),
        }
    }

    /// Fine either way, but for a panic.
    fn survives<T>(&mut self, name: &str, call: impl FnOnce() -> T) {
        self.count += 1;
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            self.faults.push(format!("{name}: panics"));
        }
    }

    fn done(self, at_least: usize) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        assert!(self.count >= at_least, "only {} calls", self.count);
    }
}

fn small() -> (Graph, Value, Value, Value) {
    let mut graph = Graph::new();
    let x = graph.input("x", Shape::image(1, 8, 8, 4));
    let y = graph.relu(x).unwrap();
    let seed = graph.input("seed", Shape::image(1, 8, 8, 4));
    (graph, x, y, seed)
}

/// Two values of another graph: the first has a position that the graphs of these tests have too, the second one that they lack.
fn foreign() -> [Value; 2] {
    let mut graph = Graph::new();
    let first = graph.input("x", Shape::image(1, 8, 8, 4));
    let mut last = first;
    for _ in 0..50 {
        last = graph.relu(last).unwrap();
    }
    [first, last]
}

fn options(limits: Limits) -> PlanOptions {
    PlanOptions::new(KernelFamily::Tiled, limits)
}

#[test]
fn graphs() {
    let mut calls = Calls::default();
    type Build = fn(&mut Graph, Value, Value) -> Result<Value>;
    let with_foreign: [(&str, Build); 12] = [
        ("relu", |g, _, f| g.relu(f)),
        ("add", |g, x, f| g.add(x, f)),
        ("add_shortcut", |g, x, f| g.add_shortcut(x, f, 1)),
        ("conv2d", |g, x, f| g.conv2d(x, f, None, ConvOptions::square(1, 1))),
        ("conv2d bias", |g, x, f| {
            let w = g.state("w", Shape::filter(3, 3, 4, 8));
            g.conv2d(x, w, Some(f), ConvOptions::square(1, 1))
        }),
        ("logits", |g, x, f| g.logits(x, f, None)),
        ("max_pool", |g, _, f| g.max_pool(f, PoolOptions::square(2, 2))),
        ("global_average_pool", |g, _, f| g.global_average_pool(f)),
        ("concat", |g, x, f| g.concat(&[x, f])),
        ("channels", |g, _, f| g.channels(f, 0, 4)),
        ("softmax_cross_entropy", |g, x, f| g.softmax_cross_entropy(x, f)),
        ("clear", |g, _, f| g.clear(f)),
    ];
    for (name, build) in with_foreign {
        for foreign in foreign() {
            let (mut g, x, ..) = small();
            calls.refused(&format!("{name} of a foreign value"), || build(&mut g, x, foreign));
        }
    }
    let gradients = |g: &mut Graph, of, seed, wrt: &[Value]| g.gradients(of, seed, wrt);
    let (mut g, x, y, seed) = small();
    let other = g.input("other", Shape::image(1, 2, 2, 4));
    calls.refused("gradients with a seed of another shape", || gradients(&mut g, y, other, &[x]));
    for foreign in foreign() {
        calls.refused("gradients by a foreign value", || gradients(&mut g, y, seed, &[foreign]));
        calls.refused("gradients by two, one foreign", || gradients(&mut g, y, seed, &[x, foreign]));
        calls.refused("gradients of a foreign value", || gradients(&mut g, foreign, seed, &[x]));
        calls.refused("gradients with a foreign seed", || gradients(&mut g, y, foreign, &[x]));
        calls.refused("schedule_before_update of a foreign value", || g.schedule_before_update(foreign));
        calls.refused("smaller_inputs of a foreign value", || g.smaller_inputs(foreign));
        calls.refused("shape of a foreign value", || g.shape(foreign));
    }
    let nodes = g.nodes().len();
    gradients(&mut g, y, seed, &[x]).unwrap();
    assert!(g.nodes().len() > nodes, "what was refused breaks nothing");

    // A gradient that does not exist leaves the graph as it was: layers and kinds of later nodes are not those of gradients.
    let (mut g, x, y, _) = small();
    let slice = g.channels(y, 0, 4).unwrap();
    g.layer("mine");
    assert!(g.gradients(slice, slice, &[x]).is_err());
    let after = g.relu(x).unwrap();
    assert_eq!(g.node(after).unwrap().name, "mine");
    assert_eq!(g.node(after).unwrap().kind, ocelli::graph::Kind::Forward);

    let half = g.state("half", Shape::image(1, 1, 1, 64).stored_as(Precision::F16));
    let [step, empty] = [4, 0].map(|n| g.state(format!("v{n}"), Shape::vector(n)));
    calls.refused("clear in f16", || g.clear(half));
    calls.refused("clear nothing", || g.clear(empty));
    calls.refused("fill nothing", || g.fill(0, 1.0));
    calls.refused("sgd in f16", || g.sgd(step, half, half, half));
    calls.refused("sgd of nothing", || g.sgd(step, empty, empty, empty));

    for (name, o) in [
        ("groups 0", ConvOptions { groups: 0, ..ConvOptions::square(1, 1) }),
        ("groups 3", ConvOptions { groups: 3, ..ConvOptions::square(1, 1) }),
        ("groups usize::MAX", ConvOptions { groups: usize::MAX, ..ConvOptions::square(1, 1) }),
        ("stride 0", ConvOptions { stride: [0, 1], ..ConvOptions::square(1, 1) }),
        (
            "pad and stride beyond i32",
            ConvOptions { pad: [1 << 32; 2], stride: [1 << 32; 2], ..ConvOptions::square(1, 1) },
        ),
        ("pad usize::MAX", ConvOptions { pad: [usize::MAX, 1], ..ConvOptions::square(1, 1) }),
    ] {
        let (mut g, x, ..) = small();
        let w = g.state("w", Shape::filter(3, 3, 4, 8));
        calls.refused(&format!("conv2d {name}"), || g.conv2d(x, w, None, o));
    }
    let (mut g, x, y, _) = small();
    calls.refused("max_pool 0", || g.max_pool(x, PoolOptions::square(0, 1)));
    calls.refused("max_pool stride 2^32", || g.max_pool(x, PoolOptions::square(2, 1 << 32)));
    calls.refused("max_pool stride 0", || g.max_pool(x, PoolOptions::square(2, 0)));
    calls.refused("max_pool pad", || g.max_pool(x, PoolOptions::square(2, 1).padded(usize::MAX)));
    calls.refused("max_pool of usize::MAX", || g.max_pool(x, PoolOptions::square(usize::MAX, 1)));
    calls.refused("average_pool 0", || g.average_pool(x, PoolOptions::square(0, 1)));
    calls.refused("adaptive pool to 0", || g.adaptive_average_pool(x, [0, 1]));
    calls.refused("adaptive pool to usize::MAX", || g.adaptive_average_pool(x, [usize::MAX, usize::MAX]));
    calls.refused("channels beyond", || g.channels(x, 2, 9));
    calls.refused("channels that overflow", || g.channels(x, usize::MAX, 4));
    calls.refused("concat of nothing", || g.concat(&[]));
    calls.refused("slice beyond", || g.slice(x, 99));
    calls.refused("shortcut with stride 0", || g.add_shortcut(y, x, 0));
    calls.refused("fill of usize::MAX", || g.fill(usize::MAX, 1.0));
    calls
        .refused("lrn with NaN", || g.lrn(x, LrnOptions { size: 5, alpha: f32::NAN, beta: 0.75, bias: 1.0 }));
    calls.refused("preprocess with no deviation", || {
        let p = g.input("p", Shape::pixels(1, 8, 8));
        g.preprocess(p, [0.5; 3], [0.0; 3], Precision::F32)
    });
    for (name, shape) in [
        ("0 channels", Shape::image(1, 8, 8, 0)),
        ("usize::MAX pictures", Shape::image(usize::MAX, 8, 8, 4)),
        ("usize::MAX everything", Shape::image(usize::MAX, usize::MAX, usize::MAX, usize::MAX)),
        ("0 pictures", Shape::image(0, 8, 8, 4)),
    ] {
        let mut g = Graph::new();
        let x = g.input("x", shape);
        let planned = |g: &mut Graph, y: Result<Value>| {
            Plan::new(g, &[y?], &options(Limits::WEBGPU)).map(|plan| plan.memory().total())
        };
        calls.survives(&format!("relu of {name}"), || {
            let y = g.relu(x);
            planned(&mut g, y)
        });
        calls.survives(&format!("conv2d of {name}"), || {
            let w = g.state("w", Shape::filter(3, 3, 4, 8));
            let y = g.conv2d(x, w, None, ConvOptions::square(1, 1));
            planned(&mut g, y)
        });
        calls.survives(&format!("batch_norm of {name}"), || {
            let v = [g.state("a", Shape::vector(4)), g.state("b", Shape::vector(4))];
            let y = g.batch_norm_training(x, v, Running { mean: v[0], variance: v[1] }, 1e-5, 0.1);
            planned(&mut g, y)
        });
        calls.survives(&format!("pooling of {name}"), || {
            let y = g.max_pool(x, PoolOptions::square(2, 2));
            planned(&mut g, y)
        });
    }
    calls.done(50);
}

#[test]
fn shapes() {
    let mut calls = Calls::default();
    let half = Shape::image(1, 2, 2, 3).stored_as(Precision::F16);
    let huge = Shape::image(usize::MAX, usize::MAX, 2, 3);
    for shape in [Shape::image(1, 2, 2, 3), Shape::filter(1, 2, 3, 5), Shape::vector(7), half] {
        let (elements, stored) = (shape.elements().unwrap(), shape.stored().unwrap());
        for n in [0, 1, elements - 1, elements + 1, 100] {
            calls.refused(&format!("pad {n} of {shape:?}"), || shape.pad(&vec![1.0; n]));
        }
        for n in [0, 3, stored - 1, stored + 1] {
            calls.refused(&format!("unpad {n} of {shape:?}"), || shape.unpad(&vec![1.0; n]));
            calls.refused(&format!("export {n} of {shape:?}"), || export(&vec![1.0; n], shape));
        }
        let bytes = shape.bytes() as usize;
        for n in [0, 1, 7, bytes - 1, bytes + 1, bytes + 4] {
            calls.refused(&format!("decode {n} bytes of {shape:?}"), || shape.decode(&vec![0; n]));
        }
        assert_eq!(shape.unpad(&shape.pad(&vec![1.0; elements]).unwrap()).unwrap(), vec![1.0; elements]);
    }
    calls.refused("pad of what overflows", || huge.pad(&[1.0]));
    calls.refused("unpad of what overflows", || huge.unpad(&[1.0]));
    calls.refused("decode of what overflows", || huge.decode(&[1; 4]));
    calls.survives("names of what overflows", || {
        format!("{huge:?} {huge} {:?} {}", huge.stored(), huge.bytes())
    });
    let filter = Shape::filter(1, 2, 3, 5);
    calls.refused("import too few", || import(&[1.0; 29], filter));
    calls.refused("import of what overflows", || import(&[1.0; 29], huge));
    calls.refused("import into another length", || import_rows(&[1.0; 6], 0, filter, &mut [0.0; 3]));
    calls.refused("import rows beyond", || import_rows(&[1.0; 6], usize::MAX, filter, &mut [0.0; 64]));
    calls.done(60);
}

#[test]
fn devices_and_sessions() {
    let mut calls = Calls::default();
    let gpu = gpu();
    calls.refused("a buffer of u64::MAX", || gpu.buffer("huge", u64::MAX));
    calls.refused("staging of u64::MAX", || gpu.staging("huge", u64::MAX));
    let buffer = gpu.buffer("small", 64).unwrap();
    let staging = gpu.staging("small", 64).unwrap();
    calls.refused("a write that is too long", || gpu.write(&buffer, &[0; 65]));
    calls.refused("a download that is too long", || gpu.download(&buffer, 65));
    calls.refused("a download of u64::MAX", || gpu.download(&buffer, u64::MAX));
    calls.survives("a download of nothing", || gpu.download(&buffer, 0).unwrap());
    calls.refused("a part that is too long", || buffer.part(0..65));
    calls.refused("a part between alignments", || buffer.part(4..64));
    #[allow(clippy::reversed_empty_ranges)]
    calls.refused("a part backwards", || buffer.part(256..0));
    let submit = |bytes: u64| {
        let copies = [(buffer.clone(), staging.clone(), bytes)];
        gpu.submit(&CommandList { copies: &copies, ..CommandList::default() })
    };
    for bytes in [65, 68, u64::MAX, 3] {
        calls.refused(&format!("a copy of {bytes} bytes"), || submit(bytes));
    }
    let done = submit(64).unwrap();
    calls.refused("a read that is too long", || gpu.read(&staging, 65, &done));
    calls.refused("a read of u64::MAX", || gpu.read(&staging, u64::MAX, &done));
    calls.survives("a read of nothing", || gpu.read(&staging, 0, &done).unwrap());
    calls.survives("an adapter of an odd name", || {
        Gpu::open(&GpuOptions { adapter: Some("\u{202e}%s".to_owned()), ..GpuOptions::default() }).is_err()
    });

    let (graph, x, y, seed) = small();
    let foreign = foreign();
    for foreign in foreign {
        calls
            .refused("a plan of a foreign value", || Plan::new(&graph, &[foreign], &options(Limits::WEBGPU)));
    }
    for limits in [0, 1, 15] {
        let limits = Limits { binding_bytes: limits, buffer_bytes: limits };
        calls.refused("a plan without memory", || Plan::new(&graph, &[y], &options(limits)));
    }
    let plan = Plan::new(&graph, &[y], &PlanOptions::for_gpu(&gpu)).unwrap();
    let session = Session::new(gpu.clone(), plan, None).unwrap();
    calls.refused("an output before the first run", || session.output(y));
    for foreign in foreign {
        calls.refused("a foreign value written", || session.write(foreign, &[0.0; 256]));
        calls.refused("a foreign value read", || session.read(foreign));
    }
    calls.refused("too few numbers", || session.write(x, &[0.0; 255]));
    calls.refused("too many numbers", || session.write(x, &[0.0; 257]));
    calls.refused("too few bytes", || session.write_stored(x, &[0; 1020]));
    calls.refused("a value that is not in the plan", || session.write(seed, &[0.0; 256]));
    session.write(x, &[1.0; 256]).unwrap();
    let old = session.start().unwrap();
    calls.refused("an output that is none", || session.output_of(&old, x));
    for foreign in foreign {
        calls.refused("a foreign output", || session.output_of(&old, foreign));
    }
    for _ in 0..Session::UNDER_WAY {
        session.run().unwrap();
    }
    calls.refused("an output whose memory was used again", || session.output_of(&old, y));
    let (graph, _, y2, _) = small();
    let other =
        Session::new(gpu.clone(), Plan::new(&graph, &[y2], &PlanOptions::for_gpu(&gpu)).unwrap(), None)
            .unwrap();
    calls.refused("a run of another session", || {
        session.run()?;
        other.output_of(&session.start()?, y2)
    });
    assert_eq!(session.output(y).unwrap(), [1.0; 256], "the device goes on");
    assert!(!gpu.is_lost());
    calls.done(30);
}

#[test]
fn networks_and_steps() {
    let mut calls = Calls::default();
    calls.survives("a network of no name", || Arch::find("").is_err());
    for arch in ARCHS.iter().step_by(5) {
        for (name, settings) in [
            ("no pictures", arch.settings(0)),
            ("no classes", Settings { classes: 0, ..arch.settings(1) }),
            ("usize::MAX classes", Settings { classes: usize::MAX, ..arch.settings(1) }),
            ("no size", Settings { size: [0, 0], ..arch.settings(1) }),
            ("a size of usize::MAX", Settings { size: [usize::MAX, usize::MAX], ..arch.settings(1) }),
            ("usize::MAX pictures", arch.settings(usize::MAX)),
        ] {
            for mode in [Mode::Inference, Mode::Training] {
                calls.survives(&format!("{} with {name}", arch.name), || {
                    let network = arch.network(&settings, mode)?;
                    Plan::new(&network.graph, &[network.logits], &options(Limits::WEBGPU))
                });
            }
            calls.survives(&format!("a training step of {} with {name}", arch.name), || {
                TrainingGraph::new(
                    arch,
                    &settings,
                    TrainingOptions::default().with_accumulate(0).with_recompute(true),
                )?
                .plan(&options(Limits::WEBGPU))
            });
        }
    }
    let gpu = gpu();
    let arch = Arch::find("resnet20").unwrap();
    let settings = Settings { size: [8, 8], classes: 3, ..arch.settings(2) };
    let hyper = Hyper { lr: 0.1, momentum: 0.9, weight_decay: 0.0, average_share: 1e-3, noise: [0; 4] };
    let pixels = vec![9; 2 * 8 * 8 * 4];
    let evaluation = EvaluationStep::new(&gpu, arch, &settings, None).unwrap();
    let training = TrainingStep::new(&gpu, arch, &settings, TrainingOptions::default()).unwrap();
    let twice = TrainingOptions::default().with_accumulate(2);
    let twice = TrainingStep::new(&gpu, arch, &settings, twice).unwrap();
    for (name, pixels, labels) in [
        ("nothing", &[][..], &[][..]),
        ("no labels", &pixels, &[]),
        ("a label too few", &pixels, &[1]),
        ("a label too many", &pixels, &[1, 2, 0]),
        ("no pixels", &[], &[1, 2]),
        ("a byte too few", &pixels[1..], &[1, 2]),
        ("a class that there is not", &pixels, &[1, 3]),
        ("class u32::MAX", &pixels, &[u32::MAX, 0]),
    ] {
        calls.refused(&format!("evaluation with {name}"), || evaluation.run(pixels, labels));
        calls.refused(&format!("evaluation started with {name}"), || evaluation.start(pixels, labels));
        calls.refused(&format!("training with {name}"), || training.step(pixels, labels, &hyper));
        calls.refused(&format!("training fed with {name}"), || training.feed(pixels, labels, &hyper));
        calls.refused(&format!("two batches with {name}"), || twice.step(pixels, labels, &hyper));
    }
    calls.refused("one batch of two", || twice.step(&pixels, &[0, 1], &hyper));
    let network = arch.network(&settings, Mode::Inference).unwrap();
    let step = InferenceStep::new(&gpu, network, &PlanOptions::for_gpu(&gpu)).unwrap();
    calls.refused("inference with a byte too few", || step.start(&pixels[1..]));
    let inside = at_once(ActivationRecorder::new(&step)).unwrap();
    calls.refused("a look with a byte too many", || inside.run(&[&pixels[..], &[1]].concat()));
    calls.refused("a layer beyond", || at_once(inside.activations(usize::MAX)));
    training.step(&pixels, &[0, 1], &hyper).unwrap();
    evaluation.run(&pixels, &[2, 1]).unwrap();
    assert!(evaluation.outcome().unwrap().loss.iter().all(|x| x.is_finite()));
    calls.done(100);
}

#[test]
fn data_and_weights() {
    let mut calls = Calls::default();
    for bytes in [&b""[..], b"\xff\xd8", b"\x89PNG", b"GIF89a", b"RIFF1234WEBP", b"BM", b"II*\0", &[0xff; 64]]
    {
        calls.refused("a picture that is none", || decode(bytes));
    }
    let picture = Picture::from_rgba(2, 2, vec![1; 16]).unwrap();
    let normalization = Normalization { mean: [f32::NAN; 3], std: [0.0; 3] };
    for resize in [Resize::Cover, Resize::Shorter(0), Resize::Shorter(usize::MAX), Resize::Squash(usize::MAX)]
    {
        let how = Preprocessing { resize, order: ChannelOrder::Bgr, normalization };
        calls.refused("numbers that are none", || how.check());
        for (h, w) in [(0, 1), (usize::MAX, usize::MAX), (1, usize::MAX)] {
            calls.refused("a size that is none", || fit(picture.clone(), &how, h, w));
        }
        calls.survives("a strange scale", || fit(picture.clone(), &how, 3, 3));
    }
    calls.refused("NaN", || check_logits(&[f32::NAN], 0));
    calls.survives("more logits than classes", || most_probable(&[1.0, 2.0], &[], usize::MAX).unwrap());
    for bytes in [&b""[..], &[0xff; 8], &[0xff; 7], b"\x02\0\0\0\0\0\0\0{}x"] {
        calls.refused("a file that is none", || Safetensors::parse(bytes.to_vec()));
    }
    let tensor = |shape: &[usize], n: usize| Tensor { shape: shape.to_vec(), data: vec![1.0; n] };
    let folder = crate::support::fixtures::folder();
    for (name, tensor) in [
        ("too few numbers", tensor(&[2, 3], 5)),
        ("too many numbers", tensor(&[2, 3], 7)),
        ("sizes that overflow", tensor(&[usize::MAX, usize::MAX, 2], 2)),
        ("no size", tensor(&[], 3)),
    ] {
        let tensors = BTreeMap::from([("t".to_owned(), tensor)]);
        let path = folder.path().join("t.safetensors");
        calls.refused(&format!("written: {name}"), || write_tensors(&path, &tensors, &BTreeMap::new()));
        assert!(!path.exists(), "{name}");
        let source = InMemory::new(&tensors);
        for rows in [0..2, 1..usize::MAX, usize::MAX - 1..usize::MAX] {
            calls.survives(&format!("rows: {name}"), || source.rows("t", rows));
        }
        calls.refused("a tensor that is not there", || source.rows("u", 0..1));
    }
    calls.done(30);
}
