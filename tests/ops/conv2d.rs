//! All three passes of the convolution, with each GEMM kernel.

use super::harness::{Run, Variant, each, products, variants, worst_in};
use crate::oracle::{self, Conv, Rng, T};
use ocelli::gpu::Limits;
use ocelli::graph::Graph;
use ocelli::kernels::{ConvOptions, Dispatch, KernelFamily};
use ocelli::plan::{Plan, PlanOptions};
use ocelli::tensor::{Precision, Shape};

#[derive(Clone)]
struct Case {
    x: [usize; 4],
    w: [usize; 4],
    o: Conv,
}

fn shape(d: [usize; 4]) -> Shape {
    Shape::image(d[0], d[1], d[2], d[3])
}

fn filter(d: [usize; 4]) -> Shape {
    Shape::filter(d[0], d[1], d[2], d[3])
}

/// y, dx, dw, db, and y without bias, on the GPU. `None` if the variant forces a GEMM kernel that fits none of the
/// passes.
fn on_gpu(variant: Variant, case: &Case, x: &T, w: &T, bias: &[f64], dy: &T) -> Option<Vec<Vec<f64>>> {
    on_gpu_in(Precision::F32, variant, case, x, w, bias, dy)
}

/// Like [`on_gpu`], but x, y and their gradients are stored in `precision`.
fn on_gpu_in(
    precision: Precision,
    variant: Variant,
    case: &Case,
    x: &T,
    w: &T,
    bias: &[f64],
    dy: &T,
) -> Option<Vec<Vec<f64>>> {
    let mut run = Run::with(variant).storing(precision);
    let xv = run.input(shape(x.d), &x.v);
    let wv = run.input(filter(w.d), &w.v);
    let bv = run.input(Shape::vector(bias.len()), bias);
    let dyv = run.input(shape(dy.d), &dy.v);
    let options = ConvOptions { stride: case.o.stride, pad: case.o.pad, groups: case.o.groups };
    let y = run.graph.conv2d(xv, wv, Some(bv), options).unwrap();
    let plain = run.graph.conv2d(xv, wv, None, options).unwrap();
    let gradients = run.graph.gradients(y, dyv, &[xv, wv, bv]).unwrap();
    let mut outputs = vec![y];
    outputs.extend(gradients.into_iter().map(Option::unwrap));
    outputs.push(plain);
    run.applies(&outputs).then(|| run.outputs(&outputs))
}

fn random_case(rng: &mut Rng) -> Case {
    loop {
        let groups = rng.pick(&[1, 1, 1, 2, 3]);
        let c = rng.pick(&[1, 3, 4, 5, 8, 13]);
        let k = rng.pick(&[1, 3, 4, 5, 12, 13, 37]);
        let kernel = [rng.int(1, 5) as usize, rng.int(1, 5) as usize];
        let stride = [rng.int(1, 4) as usize, rng.int(1, 4) as usize];
        let pad = [rng.int(0, 2) as usize, rng.int(0, 2) as usize];
        let x = [rng.int(1, 3) as usize, rng.int(1, 17) as usize, rng.int(1, 17) as usize, c * groups];
        if x[1] + 2 * pad[0] >= kernel[0] && x[2] + 2 * pad[1] >= kernel[1] {
            return Case { x, w: [kernel[0], kernel[1], c, k * groups], o: Conv { stride, pad, groups } };
        }
    }
}

/// Shapes at the edges of the tiles: 32, 64 and 128 rows and columns, 4 and 8 rows, 8 and 16 lanes, 16 and 32 k.
fn edge_cases() -> Vec<Case> {
    let one = Conv { stride: [1, 1], pad: [0, 0], groups: 1 };
    let same = Conv { pad: [1, 1], ..one };
    vec![
        Case { x: [1, 8, 8, 64], w: [1, 1, 64, 64], o: one },
        Case { x: [1, 5, 13, 16], w: [1, 1, 16, 65], o: one },
        Case { x: [1, 9, 7, 12], w: [3, 3, 12, 63], o: same },
        Case { x: [3, 7, 6, 20], w: [3, 3, 20, 129], o: same },
        Case { x: [2, 8, 8, 16], w: [3, 3, 16, 16], o: same },
        Case { x: [2, 9, 9, 16], w: [3, 3, 16, 32], o: Conv { stride: [2, 2], ..same } },
        Case { x: [1, 23, 23, 3], w: [11, 11, 3, 8], o: Conv { stride: [4, 4], ..one } },
        Case { x: [2, 6, 6, 16], w: [5, 5, 8, 24], o: Conv { pad: [2, 2], groups: 2, ..one } },
        Case { x: [1, 6, 5, 4], w: [6, 5, 4, 10], o: one },
        Case { x: [1, 4, 4, 8], w: [2, 2, 1, 8], o: Conv { groups: 8, ..one } },
        Case { x: [1, 3, 3, 4], w: [1, 1, 4, 4], o: Conv { stride: [3, 2], ..one } },
        Case { x: [1, 13, 10, 31], w: [1, 1, 31, 33], o: one },
        // Few rows.
        Case { x: [4, 1, 1, 129], w: [1, 1, 129, 67], o: one },
        Case { x: [1, 3, 3, 40], w: [3, 3, 40, 132], o: one },
        Case { x: [3, 2, 2, 8], w: [2, 2, 4, 24], o: Conv { groups: 2, stride: [2, 2], ..one } },
        // Several k chunks of dw with each GEMM kernel.
        Case { x: [2, 29, 27, 64], w: [1, 1, 64, 40], o: one },
    ]
}

/// The edge cases with every variant, and random cases with the heuristics.
fn cases(rng: &mut Rng) -> Vec<(Case, Vec<Variant>)> {
    let tables: Vec<_> = variants().into_iter().filter(|variant| variant.forced.is_none()).collect();
    let edges = edge_cases().into_iter().map(|case| (case, variants()));
    let random: Vec<_> = (0..12).map(|_| (random_case(rng), tables.clone())).collect();
    edges.chain(random).collect()
}

#[test]
fn the_weight_gradient_of_many_pixels_comes_in_k_chunks_on_processors() {
    for (product, several) in
        [(KernelFamily::Direct, true), (KernelFamily::Subgroup, true), (KernelFamily::Tiled, false)]
    {
        let mut graph = Graph::new();
        let x = graph.input("x", shape([8, 56, 56, 256]));
        let w = graph.state("w", filter([1, 1, 256, 128]));
        let dy = graph.input("dy", shape([8, 56, 56, 128]));
        let y = graph.conv2d(x, w, None, ConvOptions::square(1, 0)).unwrap();
        let dw = graph.gradients(y, dy, &[w]).unwrap()[0].unwrap();
        let plan = Plan::new(&graph, &[dw], &PlanOptions::new(product, Limits::WEBGPU)).unwrap();
        let adds = |d: &&Dispatch| d.kernel.constants.contains(&("ADD", 1));
        assert_eq!(plan.dispatches().iter().filter(adds).count() > 0, several, "{product:?}");
    }
}

#[test]
fn products_are_bit_exact_on_small_integers() {
    let mut rng = Rng(11);
    for (precision, (case, variants)) in each(cases(&mut rng)) {
        let (x, w) = (rng.small_integers(case.x), rng.small_integers(case.w));
        let dy = rng.small_integers(oracle::conv_shape(case.x, case.w, case.o));
        let bias: Vec<f64> = (0..case.w[3]).map(|_| rng.int(-2, 2) as f64).collect();
        let want = [
            oracle::conv2d(&x, &w, Some(&bias), case.o).0.v,
            oracle::conv2d_dx(&dy, &w, x.d, case.o).0.v,
            oracle::conv2d_dw(&x, &dy, w.d, case.o).0.v,
            oracle::sum_rows(&dy).0,
            oracle::conv2d(&x, &w, None, case.o).0.v,
        ];
        // A GEMM kernel does not depend on the precision in which its operands are stored, so f16 needs only the
        // heuristics.
        for variant in variants.into_iter().filter(|v| precision == Precision::F32 || v.forced.is_none()) {
            let Some(got) = on_gpu_in(precision, variant, &case, &x, &w, &bias, &dy) else { continue };
            for (name, (got, want)) in
                ["y", "dx", "dw", "db", "y without bias"].iter().zip(got.iter().zip(&want))
            {
                let wrong = got.iter().zip(want).position(|(a, b)| a != b);
                assert_eq!(
                    wrong, None,
                    "{name} of x {:?} w {:?} {:?} {variant:?} {precision:?}",
                    case.x, case.w, case.o
                );
            }
        }
    }
}

#[test]
fn products_are_within_the_error_rule() {
    let mut rng = Rng(12);
    let mut largest = [0.0f64; 4];
    for (precision, (case, variants)) in each(cases(&mut rng)) {
        let (x, w) = (rng.tensor(case.x).stored_as(precision), rng.tensor(case.w));
        let dy = rng.tensor(oracle::conv_shape(case.x, case.w, case.o)).stored_as(precision);
        let bias: Vec<f64> = rng.tensor([1, 1, 1, case.w[3]]).v;
        let (y, dx) = (oracle::conv2d(&x, &w, Some(&bias), case.o), oracle::conv2d_dx(&dy, &w, x.d, case.o));
        let (dw, db) = (oracle::conv2d_dw(&x, &dy, w.d, case.o), oracle::sum_rows(&dy));
        let [r, s, c, k] = case.w;
        let pixels = dy.v.len() / k;
        let want = [
            (&y.0.v, &y.1.v, r * s * c),
            (&dx.0.v, &dx.1.v, r * s * k / case.o.groups),
            (&dw.0.v, &dw.1.v, pixels),
            (&db.0, &db.1, pixels),
        ];
        // A GEMM kernel does not depend on the precision in which its operands are stored, so f16 needs only the
        // heuristics.
        for variant in variants.into_iter().filter(|v| precision == Precision::F32 || v.forced.is_none()) {
            let Some(got) = on_gpu_in(precision, variant, &case, &x, &w, &bias, &dy) else { continue };
            for (i, (got, (want, sizes, depth))) in got.iter().zip(want).enumerate() {
                // Gradients of parameters are always f32.
                let stored = if i < 2 { precision } else { Precision::F32 };
                let error = worst_in(stored, got, want, sizes, depth);
                largest[i] = largest[i].max(error);
                assert!(
                    error <= 1.0,
                    "{i} of x {:?} w {:?} {:?} {variant:?} {precision:?}: {error}",
                    case.x,
                    case.w,
                    case.o
                );
            }
        }
    }
    println!(
        "conv2d: largest error over allowed error: y {:.3} dx {:.3} dw {:.3} db {:.3}",
        largest[0], largest[1], largest[2], largest[3]
    );
}

#[test]
fn gradients_are_adjoint_on_the_gpu() {
    // <conv(x,w), dy> = <x, dx> = <w, dw>, exactly, in integers.
    let mut rng = Rng(13);
    for case in edge_cases() {
        let (x, w) = (rng.small_integers(case.x), rng.small_integers(case.w));
        let dy = rng.small_integers(oracle::conv_shape(case.x, case.w, case.o));
        let bias = vec![0.0; case.w[3]];
        for product in products() {
            let variant = Variant::of(product);
            let got = on_gpu(variant, &case, &x, &w, &bias, &dy).unwrap();
            let dot = |a: &[f64], b: &T| a.iter().zip(&b.v).map(|(a, b)| a * b).sum::<f64>();
            let forward = dot(&got[0], &dy);
            assert_eq!(forward, dot(&got[1], &x), "dx of {:?} {:?}", case.x, case.w);
            assert_eq!(forward, dot(&got[2], &w), "dw of {:?} {:?}", case.x, case.w);
        }
    }
}

#[test]
fn a_batch_of_n_is_n_batches_of_one() {
    let mut rng = Rng(14);
    let case = Case { x: [3, 9, 7, 5], w: [3, 3, 5, 13], o: Conv { stride: [2, 1], pad: [1, 1], groups: 1 } };
    let (x, w) = (rng.tensor(case.x), rng.tensor(case.w));
    let dy = rng.tensor(oracle::conv_shape(case.x, case.w, case.o));
    let bias = rng.tensor([1, 1, 1, 13]).v;
    for product in products() {
        let variant = Variant::of(product);
        let whole = on_gpu(variant, &case, &x, &w, &bias, &dy).unwrap();
        for n in 0..3 {
            let part = |t: &T| {
                let size = t.v.len() / 3;
                T { d: [1, t.d[1], t.d[2], t.d[3]], v: t.v[n * size..(n + 1) * size].to_vec() }
            };
            let one = on_gpu(variant, &case, &part(&x), &w, &bias, &part(&dy)).unwrap();
            for i in 0..2 {
                let size = one[i].len();
                assert_eq!(one[i], whole[i][n * size..(n + 1) * size]);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut run = Run::new(KernelFamily::Direct);
    let x = run.input(Shape::image(1, 4, 4, 3), &[0.0; 48]);
    let mut refuse = |w: Shape, o: ConvOptions, words: &str| {
        let w = run.graph.input("w", w);
        let error = run.graph.conv2d(x, w, None, o).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refuse(Shape::filter(3, 3, 4, 8), ConvOptions::square(1, 1), "do not fit");
    refuse(Shape::filter(5, 5, 3, 8), ConvOptions::square(1, 0), "smaller than the kernel");
    refuse(Shape::filter(3, 3, 3, 8), ConvOptions::square(0, 1), "stride");
    refuse(
        Shape::filter(3, 3, 1, 8),
        ConvOptions { groups: 3, ..ConvOptions::square(1, 1) },
        "do not divide",
    );
    refuse(Shape::filter(3, 3, 3, 8), ConvOptions { groups: 0, ..ConvOptions::square(1, 1) }, "groups");
}
