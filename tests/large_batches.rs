//! Batches whose activations are larger than a binding. They are stored in several buffers and computed one batch
//! chunk at a time.

use crate::ops::harness::{PRODUCTS, gpu, products};
use crate::oracle::Rng;
use crate::support::fixtures::skipped;
use ocelli::gpu::Limits;
use ocelli::graph::{Graph, Source};
use ocelli::kernels::{BufId, ConvOptions, Dispatch, KernelFamily, WinogradMode};
use ocelli::models::{Arch, Mode, Settings};
use ocelli::ops::{LrnOptions, PoolOptions, Running};
use ocelli::plan::{Plan, PlanOptions, Session};
use ocelli::tensor::{Layout, Precision, Shape, Value};
use ocelli::train::{TrainingGraph, TrainingOptions};
use std::collections::{HashMap, HashSet};

const N: usize = 7;
/// Image sizes. With 16 most images start at multiples of 256 bytes, with 15 they do not.
const SIZES: [usize; 2] = [16, 15];

/// Every operation on activations, between values that are chunked differently. The outputs are the loss and the
/// gradients of all parameters.
fn network(size: usize) -> (Graph, Vec<Value>) {
    network_in(Precision::F32, size)
}

fn network_in(precision: Precision, size: usize) -> (Graph, Vec<Value>) {
    let mut g = Graph::new();
    let one = ConvOptions::square(1, 0);
    let three = ConvOptions::square(1, 1);
    let pixels = g.input("pixels", Shape::pixels(N, size, size));
    let labels = g.input("labels", Shape::labels(N));
    let key = g.input("key", Shape::labels(4));
    let mut parameters = Vec::new();
    let mut state = |g: &mut Graph, shape: Shape| {
        parameters.push(g.state(format!("p{}", parameters.len()), shape));
        parameters[parameters.len() - 1]
    };
    let x = g.preprocess(pixels, [0.5; 3], [0.3; 3], precision).unwrap();
    let (w, b) = (state(&mut g, Shape::filter(3, 3, 3, 12)), state(&mut g, Shape::vector(12)));
    let y = g.conv2d(x, w, Some(b), three).unwrap();
    let y = g.lrn(y, LrnOptions { size: 5, alpha: 0.5, beta: 0.75, bias: 2.0 }).unwrap();
    let dropped = g.dropout(y, key, 0.3, 5).unwrap();
    let running = Running {
        mean: g.state("mean", Shape::vector(12)),
        variance: g.state("variance", Shape::vector(12)),
    };
    let scale = [state(&mut g, Shape::vector(12)), state(&mut g, Shape::vector(12))];
    let y = g.batch_norm_training(dropped, scale, running, 1e-5, 0.1).unwrap();
    let y = g.add(y, dropped).unwrap();
    let y = g.relu(y).unwrap();
    let w = state(&mut g, Shape::filter(1, 1, 12, 8));
    let left = g.conv2d(y, w, None, one).unwrap();
    let left = g.relu(left).unwrap();
    let right = g.max_pool(y, PoolOptions { pad: [[1; 2]; 2], ..PoolOptions::square(3, 1) }).unwrap();
    let joined = g.concat(&[left, right]).unwrap();
    let w = state(&mut g, Shape::filter(3, 3, 20, 20));
    let y = g.conv2d(joined, w, None, ConvOptions::square(2, 1)).unwrap();
    let y = g.add_shortcut(y, joined, 2).unwrap();
    let y = g.average_pool(y, PoolOptions::square(2, 1)).unwrap();
    let y = g.adaptive_average_pool(y, [2, 2]).unwrap();
    let flat = g.reshape(y, Shape::image(N, 1, 1, 80).stored_as(precision)).unwrap();
    let w = state(&mut g, Shape::filter(1, 1, 80, 5));
    let y = g.logits(flat, w, None).unwrap();
    let loss = g.softmax_cross_entropy(y, labels).unwrap();
    let ones = g.fill(N, 1.0).unwrap();
    let gradients = g.gradients(loss, ones, &parameters).unwrap();
    let mut outputs = vec![loss];
    outputs.extend(gradients.into_iter().map(Option::unwrap));
    (g, outputs)
}

/// Convolutions with all stages of the epilogue, with groups and with strides.
fn inference_network(size: usize) -> (Graph, Vec<Value>) {
    let mut g = Graph::new();
    let pixels = g.input("pixels", Shape::pixels(N, size, size));
    let x = g.preprocess(pixels, [0.5; 3], [0.3; 3], Precision::F32).unwrap();
    let w = g.state("w", Shape::filter(3, 3, 3, 12));
    let bias = g.state("bias", Shape::vector(12));
    let y = g.conv2d(x, w, Some(bias), ConvOptions::square(1, 1)).unwrap();
    let y = g.relu(y).unwrap();
    let w = g.state("w", Shape::filter(3, 3, 6, 24));
    let block = g.conv2d(y, w, None, ConvOptions { groups: 2, ..ConvOptions::square(2, 1) }).unwrap();
    let affine = [g.state("gamma", Shape::vector(24)), g.state("beta", Shape::vector(24))];
    let running = Running {
        mean: g.state("mean", Shape::vector(24)),
        variance: g.state("variance", Shape::vector(24)),
    };
    // The states are above -1.4, so the root is of a positive number.
    let block = g.batch_norm_inference(block, affine, running, 2.0).unwrap();
    let w = g.state("w", Shape::filter(1, 1, 12, 24));
    let shortcut = g.conv2d(y, w, None, ConvOptions::square(2, 0)).unwrap();
    let y = g.add(block, shortcut).unwrap();
    let y = g.relu(y).unwrap();
    // An output is stored in one buffer, and each of its images starts at a valid offset of a binding.
    let y = g.adaptive_average_pool(y, [2, 2]).unwrap();
    (g, vec![y])
}

/// Two convolutions that Winograd's algorithm computes, and their gradients.
fn network_of_winograd(size: usize) -> (Graph, Vec<Value>) {
    let mut g = Graph::new();
    let pixels = g.input("pixels", Shape::pixels(N, size, size));
    let labels = g.input("labels", Shape::labels(N));
    let x = g.preprocess(pixels, [0.5; 3], [0.3; 3], Precision::F32).unwrap();
    let w = [Shape::filter(3, 3, 3, 12), Shape::filter(3, 3, 12, 16), Shape::filter(1, 1, 64, 5)];
    let w = w.map(|shape| g.state("w", shape));
    let y = g.conv2d(x, w[0], None, ConvOptions::square(1, 1)).unwrap();
    let y = g.relu(y).unwrap();
    let y = g.conv2d(y, w[1], None, ConvOptions::square(1, 1)).unwrap();
    let y = g.adaptive_average_pool(y, [2, 2]).unwrap();
    let flat = g.reshape(y, Shape::image(N, 1, 1, 64)).unwrap();
    let y = g.conv2d(flat, w[2], None, ConvOptions::square(1, 0)).unwrap();
    let loss = g.softmax_cross_entropy(y, labels).unwrap();
    let ones = g.fill(N, 1.0).unwrap();
    let gradients = g.gradients(loss, ones, &w).unwrap();
    (g, std::iter::once(loss).chain(gradients.into_iter().map(Option::unwrap)).collect())
}

/// The plan options for a kernel family and a Winograd mode.
fn options((product, winograd): (KernelFamily, WinogradMode), limits: Limits) -> PlanOptions {
    let mut options = PlanOptions::new(product, limits);
    options.record.winograd = winograd;
    options
}

/// Whether a dispatch works on a batch chunk.
fn partial(dispatch: &Dispatch) -> bool {
    dispatch.buffers.iter().any(|(buf, _)| matches!(buf.id, BufId::Chunk(..)))
}

fn run(options: &PlanOptions, (graph, outputs): (Graph, Vec<Value>)) -> (Plan, Vec<Vec<f32>>) {
    let plan = Plan::new(&graph, &outputs, options).unwrap();
    plan.dispatches().iter().for_each(crate::shaders::check);
    let session = Session::new(gpu(), plan.clone(), None).unwrap();
    session.poison().unwrap();
    let mut rng = Rng(3);
    for value in graph.values() {
        let node = graph.node(value).unwrap();
        if matches!(node.source, Source::Op(_)) || !session.has(value) {
            continue;
        }
        let count = (node.shape.bytes() / 4) as usize;
        match node.shape.layout() {
            Layout::Labels => {
                session.write_stored(value, bytemuck::cast_slice(&[1u32, 2, 0, 4, 3, 1, 2][..count]))
            }
            Layout::Pixels => {
                let words: Vec<u32> = (0..count).map(|_| rng.next() as u32).collect();
                session.write_stored(value, bytemuck::cast_slice(&words))
            }
            _ => {
                let numbers: Vec<f32> =
                    (0..node.shape.elements().unwrap()).map(|_| rng.unit() as f32 - 0.4).collect();
                session.write(value, &numbers)
            }
        }
        .unwrap();
    }
    session.run().unwrap();
    let results = outputs.iter().map(|v| session.output(*v).unwrap()).collect();
    (plan, results)
}

/// Runs a network with the limits of WebGPU and with `options`. The outputs differ at most by the order of sums over
/// the batch.
fn same(options: &PlanOptions, network: impl Fn() -> (Graph, Vec<Value>)) -> [Plan; 2] {
    same_within(2e-6, options, network)
}

fn same_within(
    tolerance: f32,
    options: &PlanOptions,
    network: impl Fn() -> (Graph, Vec<Value>),
) -> [Plan; 2] {
    let way = (options.record.family, options.record.winograd);
    let (whole, want) = run(&self::options(way, Limits::WEBGPU), network());
    let (plan, got) = run(options, network());
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let norm = want.iter().map(|x| x * x).sum::<f32>().sqrt();
        let error = got.iter().zip(want).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(norm > 0.0 && error <= tolerance * norm, "{way:?}: output {i} is off by {error} of {norm}");
    }
    [whole, plan]
}

/// Like [`same`], but with bindings of at most `binding_bytes`.
fn same_in_pieces(
    way: (KernelFamily, WinogradMode),
    binding_bytes: u64,
    network: impl Fn() -> (Graph, Vec<Value>),
) -> Plan {
    let limits = Limits { binding_bytes, buffer_bytes: 1 << 20 };
    let [whole, plan] = same(&options(way, limits), network);
    assert!(!whole.dispatches().iter().any(partial));
    for dispatch in plan.dispatches() {
        for (buf, _) in &dispatch.buffers {
            assert!(buf.bytes <= limits.binding_bytes && buf.offset + buf.bytes <= buf.room);
        }
    }
    plan
}

fn products_of(plan: &Plan) -> usize {
    plan.dispatches().iter().filter(|d| d.product).count()
}

#[test]
fn long_calls_are_cut_into_calls_of_some_pictures() {
    for product in products() {
        let mut options = options((product, WinogradMode::Off), Limits::WEBGPU);
        // Two images of the first layer have more.
        options.record.call_macs = 150_000;
        for network in [network, inference_network] {
            let [whole, plan] = same(&options, || network(SIZES[0]));
            let (before, after) = (products_of(&whole), products_of(&plan));
            assert!(after > before && after as u64 >= plan.macs() / options.record.call_macs);
            assert_eq!(plan.submissions().iter().sum::<usize>(), plan.dispatches().len());
            assert!(plan.submissions().len() > whole.submissions().len());
        }
    }
}

#[test]
fn no_call_of_a_large_network_lasts_long() {
    let arch = Arch::find("vgg16").unwrap();
    let graph = TrainingGraph::new(arch, &arch.settings(128), TrainingOptions::default()).unwrap();
    // Software adapters have no watchdog and another kernel family.
    let mut options = PlanOptions::new(KernelFamily::Tiled, Limits::WEBGPU);
    options.record.call_macs = 10_000_000_000;
    let plan = graph.plan(&options).unwrap();
    let mut calls = HashMap::new();
    for dispatch in plan.dispatches().iter().filter(|d| d.product) {
        *calls.entry((dispatch.kernel.name, dispatch.value)).or_insert(0u64) += 1;
    }
    // The largest layers have 1.85 G multiply-adds per image: five images per dispatch.
    let most = calls.values().max().copied().unwrap_or(0);
    assert!((26..=64).contains(&most), "{most} calls of one layer");
    assert!(products_of(&plan) as u64 >= plan.macs() / options.record.call_macs);
}

#[test]
fn a_batch_in_half_precision_is_cut_into_larger_pieces() {
    if let Err(reason) = gpu().check_half() {
        return skipped("a_batch_in_half_precision_is_cut_into_larger_pieces", &reason.to_string());
    }
    for (product, size) in products().into_iter().flat_map(|product| SIZES.map(|size| (product, size))) {
        // Four images of either size fit in f16, two in f32.
        let limits = Limits { binding_bytes: 40 << 10, buffer_bytes: 1 << 20 };
        let options = PlanOptions::new(product, limits);
        // Statistics that are summed in another order round some activations differently.
        let [whole, plan] = same_within(2e-3, &options, || network_in(Precision::F16, size));
        assert!(!whole.dispatches().iter().any(partial));
        let cut: HashSet<&str> =
            plan.dispatches().iter().filter(|d| partial(d)).map(|d| d.kernel.name).collect();
        for name in ["conv2d.y", "conv2d.dw", "conv2d.dx", "batch_norm", "lrn.dx", "reduce"] {
            assert!(cut.contains(name), "{name} {product:?} {size}");
        }
        assert!(
            plan.dispatches().iter().flat_map(|d| &d.buffers).all(|(b, _)| b.bytes <= limits.binding_bytes)
        );
    }
}

#[test]
fn batch_chunks_give_what_the_whole_batch_gives() {
    for (product, size) in products().into_iter().flat_map(|product| SIZES.map(|size| (product, size))) {
        // Four images of 16x16x12 numbers fit, or two of 16x16x20.
        let plan = same_in_pieces((product, WinogradMode::Off), 60 << 10, || network(size));
        let cut: HashSet<&str> =
            plan.dispatches().iter().filter(|d| partial(d)).map(|d| d.kernel.name).collect();
        for name in [
            "conv2d.y",
            "conv2d.dx",
            "conv2d.dw",
            "reduce",
            "lrn",
            "lrn.dx",
            "dropout",
            "batch_norm",
            "batch_norm.statistics",
            "batch_norm.sums",
            "batch_norm.dx",
            "relu.dx",
            "add",
            "max_pool",
            "max_pool.dx",
            "add_shortcut",
            "add_shortcut.dx",
        ] {
            assert!(cut.contains(name), "{name} is not among {cut:?}");
        }
    }
}

#[test]
fn batch_chunks_are_inferred_as_the_whole_batch_is() {
    for (product, size) in products().into_iter().flat_map(|product| SIZES.map(|size| (product, size))) {
        let plan = same_in_pieces((product, WinogradMode::Off), 26 << 10, || inference_network(size));
        let constant =
            |d: &Dispatch, name: &str| d.kernel.constants.iter().any(|(n, value)| *n == name && *value != 0);
        let all = ["AFFINE", "RESIDUAL", "RELU"];
        let fused = |d: &&Dispatch| partial(d) && all.iter().all(|name| constant(d, name));
        assert!(plan.dispatches().iter().filter(fused).count() >= 2, "{product:?}: no kernel has it all");
    }
}

#[test]
fn blocks_of_winograd_come_in_slices_of_batch_chunks() {
    for (product, size) in products().into_iter().flat_map(|product| SIZES.map(|size| (product, size))) {
        for way in [WinogradMode::F2x2, WinogradMode::F4x4] {
            let plan = same_in_pieces((product, way), 60 << 10, || network_of_winograd(size));
            for name in ["winograd.y", "winograd.dx"] {
                let calls = |entry: &str| {
                    let here = |d: &&Dispatch| d.kernel.name == name && d.kernel.entry == entry;
                    plan.dispatches().iter().filter(here).count()
                };
                // One filter transform per batch chunk, and several slices per batch chunk.
                let [pieces, slices] = [calls("transform_filter"), calls("transform_product")];
                assert!(slices > pieces && pieces > 1, "{name} {way:?}: {slices} slices of {pieces} pieces");
            }
            // All slices of all batch chunks add to one sum.
            let of_dw = |d: &&Dispatch| d.kernel.name == "winograd.dw";
            let count = |is: &dyn Fn(&Dispatch) -> bool| {
                plan.dispatches().iter().filter(of_dw).filter(|d| is(d)).count()
            };
            let sums = count(&|d| d.kernel.entry == "transform_sums");
            let slices = count(&|d| d.kernel.entry == "transform_gradient");
            let adds = count(&|d| d.kernel.constants.contains(&("ADD", 1)));
            assert!(sums > 0 && slices > 2 * sums, "{way:?}: {slices} slices for {sums} gradients");
            assert_eq!(adds, slices - sums, "{way:?}");
        }
    }
}

#[test]
fn large_batches_of_large_networks_fit_the_limits_of_webgpu() {
    // With odd sizes, only every sixteenth image of 4 channels (16 bytes per pixel) starts at a multiple of 256 bytes.
    for (name, batch, size) in [
        ("vgg16", 64, 224),
        ("vgg16", 21, 225),
        ("vgg11-bn", 9, 299),
        ("resnet50", 64, 224),
        ("resnet50", 33, 299),
        ("googlenet", 128, 224),
        ("googlenet", 131, 231),
        ("zfnet", 128, 224),
        ("zfnet", 129, 225),
        ("alexnet", 512, 227),
        ("alexnet", 513, 231),
    ] {
        let arch = Arch::find(name).unwrap();
        let settings = Settings { size: [size; 2], ..arch.settings(batch) };
        for product in PRODUCTS {
            let options = PlanOptions::new(product, Limits::WEBGPU);
            let graph = TrainingGraph::new(arch, &settings, TrainingOptions::default()).unwrap();
            let network = arch.network(&settings, Mode::Inference).unwrap();
            let inference = Plan::new(&network.graph, &[network.logits], &options).unwrap();
            for plan in [graph.plan(&options).unwrap(), inference] {
                assert!(plan.dispatches().iter().any(partial), "{name}");
                for (buf, _) in plan.dispatches().iter().flat_map(|d| &d.buffers) {
                    assert!(buf.bytes <= Limits::WEBGPU.binding_bytes, "{name}: {buf:?}");
                    assert!(buf.room <= Limits::WEBGPU.buffer_bytes, "{name}: {buf:?}");
                    assert!(buf.offset.is_multiple_of(256) && buf.offset + buf.bytes <= buf.room, "{buf:?}");
                }
            }
        }
    }
}
