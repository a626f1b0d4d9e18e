//! 3x3 convolutions by Winograd's algorithm, with both tile sizes and each kernel family.

use crate::ops::harness::{Run, U, close, each, products, worst};
use crate::oracle::{self, Conv, Rng, T};
use ocelli::gpu::Limits;
use ocelli::graph::Graph;
use ocelli::kernels::{
    Algorithm, AlgorithmCache, ConvOptions, ConvProblem, Dispatch, KernelFamily, Pass, WinogradMode,
    WinogradTile,
};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::tensor::{Precision, Shape, Value};

/// The error rule of Winograd's algorithm: |got - want| <= F (8 + 2 sqrt(k)) 2^-24 S. The algorithm spreads the errors
/// of a tile over all its numbers. Therefore S is the largest sum |a b| in the tile of a number, including pixels
/// beyond the edge of the map. For dw, S is the largest sum of all taps by which a pixel of x and a pixel of dy in a
/// tile may be apart. An entry holds the mode, the tile size and F.
const RULES: [(WinogradMode, usize, f64); 2] = [(WinogradMode::F2x2, 2, 1.0), (WinogradMode::F4x4, 4, 3.0)];

struct Case {
    x: [usize; 4],
    k: usize,
    pad: [usize; 2],
}

impl Case {
    fn w(&self) -> [usize; 4] {
        [3, 3, self.x[3], self.k]
    }

    fn conv(&self) -> Conv {
        Conv { stride: [1, 1], pad: self.pad, groups: 1 }
    }

    fn y(&self) -> [usize; 4] {
        oracle::conv_shape(self.x, self.w(), self.conv())
    }

    fn random(rng: &mut Rng) -> Self {
        loop {
            let mut side = || rng.int(1, 15) as usize;
            let (h, w) = (side(), side());
            let x = [rng.int(1, 3) as usize, h, w, rng.pick(&[1, 3, 4, 5, 8, 13, 37])];
            let case =
                Self { x, k: rng.pick(&[1, 3, 4, 5, 12, 37]), pad: [0, 1].map(|_| rng.int(0, 2) as usize) };
            if case.x[1] + 2 * case.pad[0] >= 3 && case.x[2] + 2 * case.pad[1] >= 3 {
                return case;
            }
        }
    }
}

/// One tile or less, many tiles, many channels.
fn edge_cases() -> Vec<Case> {
    vec![
        Case { x: [1, 3, 3, 4], k: 4, pad: [0, 0] },
        Case { x: [1, 1, 1, 4], k: 8, pad: [1, 1] },
        Case { x: [2, 4, 4, 16], k: 16, pad: [1, 1] },
        Case { x: [1, 5, 9, 64], k: 65, pad: [1, 1] },
        Case { x: [2, 33, 35, 3], k: 20, pad: [1, 1] },
        Case { x: [1, 7, 7, 512], k: 12, pad: [1, 1] },
        Case { x: [3, 6, 5, 12], k: 384, pad: [2, 0] },
    ]
}

fn shape(d: [usize; 4]) -> Shape {
    Shape::image(d[0], d[1], d[2], d[3])
}

fn filter(d: [usize; 4]) -> Shape {
    Shape::filter(d[0], d[1], d[2], d[3])
}

fn names(run: &Run, outputs: &[Value]) -> Vec<&'static str> {
    run.session(outputs).plan().dispatches().iter().map(|d| d.kernel.name).collect()
}

/// y, dx and dw on the GPU. Asserts that only Winograd's kernels run.
fn on_gpu(
    product: KernelFamily,
    way: WinogradMode,
    case: &Case,
    x: &T,
    w: &T,
    bias: &[f64],
    dy: &T,
) -> [Vec<f64>; 3] {
    let mut run = Run::by(product, way);
    let [xv, dyv] = [x, dy].map(|t| run.input(shape(t.d), &t.v));
    let (wv, bv) = (run.input(filter(w.d), &w.v), run.input(Shape::vector(bias.len()), bias));
    let options = ConvOptions { stride: [1, 1], pad: case.pad, groups: 1 };
    let y = run.graph.conv2d(xv, wv, Some(bv), options).unwrap();
    let gradients = run.graph.gradients(y, dyv, &[xv, wv]).unwrap();
    let wanted = [y, gradients[0].unwrap(), gradients[1].unwrap()];
    let names = names(&run, &wanted);
    assert!(names.iter().all(|name| name.starts_with("winograd.")), "{names:?}");
    run.outputs(&wanted).try_into().unwrap()
}

#[test]
fn the_weight_gradient_adds_slices_of_a_large_batch() {
    // Many pixels and few columns, so that the reference is computed quickly.
    let case = Case { x: [1, 78, 85, 128], k: 3, pad: [1, 1] };
    let mut rng = Rng(105);
    let [x, w, dy] = [case.x, case.w(), case.y()].map(|d| rng.small_integers(d));
    let bias = vec![0.0; case.k];
    for product in products().into_iter().filter(|product| *product != KernelFamily::Tiled) {
        let mut options = PlanOptions::new(product, Limits::WEBGPU);
        options.record.winograd = WinogradMode::F2x2;
        let adding = |options: &PlanOptions| {
            let dispatches = planned(options, case.x, case.w(), ConvOptions::square(1, 1));
            let adds =
                |d: &&Dispatch| d.kernel.name == "winograd.dw" && d.kernel.constants.contains(&("ADD", 1));
            dispatches.iter().filter(adds).count()
        };
        assert_eq!(adding(&options), 1, "{product:?}");
        // Dispatches of a tenth of the multiply-adds.
        options.record.call_macs = 16 * 128 * 4 * (39 * 43 / 10);
        assert!((9..=11).contains(&adding(&options)), "{product:?}: {}", adding(&options));

        let [.., got] = on_gpu(product, WinogradMode::F2x2, &case, &x, &w, &bias, &dy);
        assert_eq!(got, oracle::conv2d_dw(&x, &dy, w.d, case.conv()).0.v, "{product:?}");
    }
}

/// For each element of a tensor of sizes `of`, the largest sum in its tile of `m` x `m` pixels. `sums` covers whole
/// tiles, so it may have more pixels than `of`.
fn largest_of_block(sums: &T, of: [usize; 4], m: usize) -> Vec<f64> {
    let mut at = [0; 4];
    T::new(of, || {
        let [n, i, j, c] = at;
        for axis in [3, 2, 1, 0] {
            at[axis] += 1;
            if at[axis] < of[axis] {
                break;
            }
            at[axis] = 0;
        }
        let (top, left) = (i / m * m, j / m * m);
        let pixels = (top..top + m).flat_map(|i| (left..left + m).map(move |j| (i, j)));
        pixels.map(|(i, j)| sums.at(n, i, j, c)).fold(0.0, f64::max)
    })
    .v
}

/// The scales of the errors of a convolution `from` -> `to`: the largest sums of whole tiles.
fn scales(from: &T, w: &T, bias: Option<&[f64]>, pad: [usize; 2], to: [usize; 4], m: usize) -> Vec<f64> {
    let more = [1, 2].map(|axis| to[axis].next_multiple_of(m) - to[axis]);
    let [n, h, width, c] = from.d;
    let mut whole = T::zeros([n, h + more[0], width + more[1], c]);
    for i in 0..n {
        for j in 0..h {
            let (at, line) = (whole.i(i, j, 0, 0), from.i(i, j, 0, 0));
            whole.v[at..at + width * c].copy_from_slice(&from.v[line..line + width * c]);
        }
    }
    let sums = oracle::conv2d(&whole, w, bias, Conv { stride: [1, 1], pad, groups: 1 }).1;
    largest_of_block(&sums, to, m)
}

/// Like [`scales`], but for dw.
fn scale_of_dw(x: &T, dy: &T, case: &Case, m: usize) -> Vec<f64> {
    let [.., c, k] = case.w();
    let taps = Conv { stride: [1, 1], pad: case.pad.map(|p| p + m - 1), groups: 1 };
    let sums = oracle::conv2d_dw(x, dy, [2 * m + 1, 2 * m + 1, c, k], taps).1;
    let largest = |i: usize| sums.v.chunks(c * k).map(|tap| tap[i]).fold(0.0, f64::max);
    (0..9 * c * k).map(|i| largest(i % (c * k))).collect()
}

/// The weights for the input gradient: taps flipped, C and K exchanged.
fn turned(w: &T) -> T {
    let [_, _, c, k] = w.d;
    let mut turned = T::zeros([3, 3, k, c]);
    for tap in 0..9 {
        for i in 0..c {
            for j in 0..k {
                let at = turned.i(tap / 3, tap % 3, j, i);
                turned.v[at] = w.at(2 - tap / 3, 2 - tap % 3, i, j);
            }
        }
    }
    turned
}

#[test]
fn blocks_are_within_their_error_rule() {
    let mut rng = Rng(101);
    let mut cases = edge_cases();
    cases.extend((0..16).map(|_| Case::random(&mut rng)));
    let mut largest = [[0.0f64; 3]; 2];
    for (i, case) in cases.iter().enumerate() {
        let (mut x, w, mut dy) = (rng.tensor(case.x), rng.tensor(case.w()), rng.tensor(case.y()));
        // Some are non-negative with zeros, as after ReLU; some are positive.
        match i % 3 {
            0 => [&mut x, &mut dy].into_iter().for_each(|t| t.v.iter_mut().for_each(|v| *v = v.max(0.0))),
            1 => [&mut x, &mut dy].into_iter().for_each(|t| t.v.iter_mut().for_each(|v| *v = v.abs())),
            _ => {}
        }
        let bias = rng.tensor([1, 1, 1, case.k]).v;
        let want = [
            oracle::conv2d(&x, &w, Some(&bias), case.conv()).0.v,
            oracle::conv2d_dx(&dy, &w, x.d, case.conv()).0.v,
            oracle::conv2d_dw(&x, &dy, w.d, case.conv()).0.v,
        ];
        for (rule, (way, m, allowed)) in RULES.into_iter().enumerate() {
            let scales = [
                scales(&x, &w, Some(&bias), case.pad, dy.d, m),
                scales(&dy, &turned(&w), None, case.pad.map(|p| 2 - p), x.d, m),
                scale_of_dw(&x, &dy, case, m),
            ];
            for product in products() {
                let got = on_gpu(product, way, case, &x, &w, &bias, &dy);
                let [n, p, q, _] = dy.d;
                for (j, depth) in [9 * case.x[3], 9 * case.k, n * p * q].into_iter().enumerate() {
                    let error = worst(&got[j], &want[j], &scales[j], depth);
                    largest[rule][j] = largest[rule][j].max(error);
                    assert!(
                        error <= allowed,
                        "{j} of x {:?} k {} {way:?} {product:?}: {error}",
                        case.x,
                        case.k
                    );
                }
            }
        }
    }
    println!(
        "winograd: largest error over (8 + 2 sqrt(k)) u S: {largest:.3?} of F(2x2) and F(4x4), y, dx and dw"
    );
}

#[test]
fn blocks_of_two_are_bit_exact_on_small_integers() {
    let mut rng = Rng(102);
    let mut cases = edge_cases();
    cases.extend((0..12).map(|_| Case::random(&mut rng)));
    for case in &cases {
        let [x, w, dy] = [case.x, case.w(), case.y()].map(|d| rng.small_integers(d));
        let bias: Vec<f64> = (0..case.k).map(|_| rng.int(-2, 2) as f64).collect();
        let want = [
            oracle::conv2d(&x, &w, Some(&bias), case.conv()).0.v,
            oracle::conv2d_dx(&dy, &w, x.d, case.conv()).0.v,
            oracle::conv2d_dw(&x, &dy, w.d, case.conv()).0.v,
        ];
        for product in products() {
            let got = on_gpu(product, WinogradMode::F2x2, case, &x, &w, &bias, &dy);
            for (name, (got, want)) in ["y", "dx", "dw"].iter().zip(got.iter().zip(&want)) {
                let wrong = got.iter().zip(want).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{name} of x {:?} k {} {:?} {product:?}", case.x, case.k, case.pad);
            }
        }
    }
}

#[test]
fn a_batch_of_n_is_n_batches_of_one() {
    let mut rng = Rng(103);
    let case = Case { x: [3, 9, 7, 5], k: 13, pad: [1, 2] };
    let [x, w, dy] = [case.x, case.w(), case.y()].map(|d| rng.tensor(d));
    let bias = rng.tensor([1, 1, 1, 13]).v;
    for (product, (way, ..)) in products().into_iter().flat_map(|p| RULES.map(|rule| (p, rule))) {
        let whole = on_gpu(product, way, &case, &x, &w, &bias, &dy);
        for n in 0..3 {
            let part = |t: &T| {
                let size = t.v.len() / 3;
                T { d: [1, t.d[1], t.d[2], t.d[3]], v: t.v[n * size..(n + 1) * size].to_vec() }
            };
            let one = on_gpu(product, way, &case, &part(&x), &w, &bias, &part(&dy));
            for (one, whole) in one.iter().zip(&whole).take(2) {
                assert_eq!(one[..], whole[n * one.len()..(n + 1) * one.len()]);
            }
        }
    }
}

#[test]
fn what_follows_is_done_in_the_last_kernel() {
    for (product, (way, ..)) in products().into_iter().flat_map(|p| RULES.map(|rule| (p, rule))) {
        let mut rng = Rng(104);
        let mut run = Run::by(product, way);
        let mut input = |run: &mut Run, shape: Shape| run.input(shape, &rng.tensor(shape.dims()).v);
        let image = |k| Shape::image(2, 7, 6, k);
        let [x, other, dy] = [8, 8, 20].map(|k| input(&mut run, image(k)));
        let w = [8, 12].map(|k| input(&mut run, Shape::filter(3, 3, 8, k)));
        let bias = input(&mut run, Shape::vector(8));
        // Two slices of one tensor. Their epilogues are bias, residual sum and ReLU, and ReLU alone.
        let options = ConvOptions::square(1, 1);
        let y = [
            run.graph.conv2d(x, w[0], Some(bias), options).unwrap(),
            run.graph.conv2d(x, w[1], None, options).unwrap(),
        ];
        let sum = run.graph.add(y[0], other).unwrap();
        let positive = [sum, y[1]].map(|v| run.graph.relu(v).unwrap());
        let joined = run.graph.concat(&positive).unwrap();
        assert!(names(&run, &[joined]).iter().all(|name| *name == "winograd.y"));
        let together = run.outputs(&[joined]);
        let apart = run.outputs(&[y[0], y[1], sum, positive[0], positive[1], joined]);
        assert_eq!(together[0], apart[5], "{product:?} {way:?}");

        // The epilogue is a sum of gradients and ReLU's mask, which is a slice of a wider tensor.
        let back = [8, 12].map(|c| input(&mut run, Shape::filter(3, 3, c, 20)));
        let branches = [0, 1].map(|i| run.graph.conv2d(positive[i], back[i], None, options).unwrap());
        let again = run.graph.conv2d(positive[0], back[0], None, options).unwrap();
        let out = run.graph.add(branches[0], branches[1]).unwrap();
        let out = run.graph.add(out, again).unwrap();
        let gradients = run.graph.gradients(out, dy, &[sum, y[1]]).unwrap();
        let gradients: Vec<Value> = gradients.into_iter().map(Option::unwrap).collect();
        let wanted = [&gradients[..], &[joined]].concat();
        let names = names(&run, &wanted);
        assert!(names.iter().all(|name| name.starts_with("winograd.")), "{names:?}");
        let all = run.graph.values().filter(|v| is_gradient(&run.graph, *v)).chain([joined]);
        let all: Vec<Value> = all.collect();
        let apart = run.outputs(&all);
        for (value, together) in wanted.iter().zip(run.outputs(&wanted)) {
            let apart = &apart[all.iter().position(|v| v == value).unwrap()];
            // A compiler may fuse the last factors of F(4x4) and a sum that follows into multiply-adds, which round
            // once.
            let allowed = if way == WinogradMode::F4x4 { 64.0 * U } else { 0.0 };
            close(&together, apart, allowed);
        }
    }
}

fn is_gradient(graph: &Graph, value: Value) -> bool {
    let node = graph.node(value).unwrap();
    node.kind == ocelli::graph::Kind::Gradient && node.shape.layout() == ocelli::tensor::Layout::Image
}

/// The dispatches for y, dx and dw of a convolution.
fn planned(options: &PlanOptions, x: [usize; 4], w: [usize; 4], conv: ConvOptions) -> Vec<Dispatch> {
    let mut graph = Graph::new();
    let [x, w] = [graph.input("x", shape(x)), graph.input("w", filter(w))];
    let y = graph.conv2d(x, w, None, conv).unwrap();
    let dy = graph.input("dy", graph.shape(y).unwrap());
    let gradients = graph.gradients(y, dy, &[x, w]).unwrap().into_iter().map(Option::unwrap);
    let outputs: Vec<Value> = std::iter::once(y).chain(gradients).collect();
    Plan::new(&graph, &outputs, options).unwrap().dispatches().to_vec()
}

#[test]
fn it_is_chosen_where_it_is_faster_and_possible() {
    // `reduce` adds the splits of dw.
    let all_by = |options: &PlanOptions, name: &str, x, w, conv| {
        planned(options, x, w, conv)
            .iter()
            .all(|d| d.kernel.name.starts_with(name) || d.kernel.name == "reduce")
    };
    let same = ConvOptions::square(1, 1);
    for product in [KernelFamily::Direct, KernelFamily::Subgroup] {
        let auto = PlanOptions::new(product, Limits::WEBGPU);
        assert!(all_by(&auto, "winograd.", [8, 28, 28, 128], [3, 3, 128, 128], same), "{product:?}");
        // Too few channels; one small map, where the filter transform would cost more than the GEMMs.
        assert!(all_by(&auto, "conv2d.", [8, 28, 28, 3], [3, 3, 3, 12], same), "{product:?}");
        assert!(all_by(&auto, "conv2d.", [1, 4, 4, 512], [3, 3, 512, 512], same), "{product:?}");
    }
    let mut tiled = PlanOptions::new(KernelFamily::Tiled, Limits::WEBGPU);
    assert!(all_by(&tiled, "conv2d.", [8, 28, 28, 128], [3, 3, 128, 128], same));
    // An explicit choice is used, unless Winograd's algorithm is turned off.
    let chosen = |block| {
        let (x, w, precision) = ([8, 28, 28, 128], [3, 3, 128, 128], Precision::F32);
        let of = |form| ConvProblem { pass: form, x, w, stride: [1; 2], pad: [1; 2], groups: 1, precision };
        let mut choices = AlgorithmCache::default();
        for form in [Pass::Forward, Pass::InputGrad, Pass::WeightGrad] {
            choices.insert(of(form), Algorithm::Winograd { tile: block });
        }
        choices
    };
    for block in [WinogradTile::F2x2, WinogradTile::F4x4] {
        let mut options = tiled.clone().with_algorithms(chosen(block));
        let kernels = planned(&options, [8, 28, 28, 128], [3, 3, 128, 128], same);
        assert!(kernels.iter().all(|d| d.kernel.name.starts_with("winograd.")), "{block}");
        let text = if block == WinogradTile::F2x2 { "// f2x2:" } else { "// f4x4:" };
        let sources = kernels.iter().filter(|d| d.kernel.entry.starts_with("transform"));
        assert!(sources.clone().count() > 3, "{block}");
        assert!(sources.clone().all(|d| d.kernel.sources.iter().any(|s| s.contains(text))), "{block}");
        options.record.winograd = WinogradMode::Off;
        assert!(all_by(&options, "conv2d.", [8, 28, 28, 128], [3, 3, 128, 128], same), "{block}");
    }
    for (way, ..) in RULES {
        tiled.record.winograd = way;
        assert!(all_by(&tiled, "winograd.", [1, 7, 7, 8], [3, 3, 8, 4], same));
        for (w, options) in [
            ([3, 3, 8, 4], ConvOptions::square(2, 1)),
            ([5, 5, 8, 4], same),
            ([3, 3, 4, 8], ConvOptions { groups: 2, ..same }),
        ] {
            assert!(all_by(&tiled, "conv2d.", [1, 7, 7, 8], w, options), "{w:?} {options:?}");
        }
        // The input gradient would need a negative padding.
        let dispatches = planned(&tiled, [1, 7, 7, 8], [3, 3, 8, 4], ConvOptions::square(1, 3));
        let dx = dispatches.iter().filter(|d| d.kernel.name == "conv2d.dx").count();
        assert_eq!(dx, 1, "{way:?}");
        // The transformed weights are larger than a binding.
        let narrow = Limits { binding_bytes: 1 << 20, ..Limits::WEBGPU };
        let narrow =
            PlanOptions { record: ocelli::kernels::RecordOptions { limits: narrow, ..tiled.record.clone() } };
        assert!(all_by(&narrow, "conv2d.", [1, 7, 7, 128], [3, 3, 128, 129], same), "{way:?}");
    }
}

#[test]
fn activations_in_half_precision_are_rounded_as_those_of_the_direct_product_are() {
    for (precision, product) in each(products()) {
        for d in [[2, 9, 7, 12], [1, 4, 6, 5]] {
            let run_by = |way: WinogradMode| {
                let rng = &mut Rng(77);
                let mut run = Run::by(product, way).storing(precision);
                let rounded = |rng: &mut Rng, d: [usize; 4]| rng.tensor(d).stored_as(precision).v;
                let y = [d[0], d[1], d[2], 8];
                let x = run.input(shape(d), &rounded(rng, d));
                let other = run.input(shape(y), &rounded(rng, y));
                let w = run.input(Shape::filter(3, 3, d[3], 8), &rng.tensor([3, 3, d[3], 8]).v);
                // The sum and the ReLU gradient are in the epilogue of the output transform.
                let positive = run.graph.relu(x).unwrap();
                let z = run.graph.conv2d(positive, w, None, ConvOptions::square(1, 1)).unwrap();
                let sum = run.graph.add(z, other).unwrap();
                let gradients = run.graph.gradients(sum, other, &[x, w]).unwrap();
                run.outputs(&[sum, gradients[0].unwrap(), gradients[1].unwrap()])
            };
            let direct = run_by(WinogradMode::Off);
            for way in [WinogradMode::F2x2, WinogradMode::F4x4] {
                for (got, want) in run_by(way).iter().zip(&direct) {
                    // The results may differ by one rounding to f16, or by errors of f32.
                    let last_bit = if precision == Precision::F16 { 1.0 / 1024.0 } else { 1e-5 };
                    close(got, want, last_bit);
                }
            }
        }
    }
}
