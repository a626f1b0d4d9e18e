//! Reductions of batch norm in the epilogue of the convolution before it, with all GEMM kernels.

use crate::ops::harness::{Run, U, Variant, close_in, each, products, variants, worst};
use crate::oracle::{self, Rng, T};
use ocelli::kernels::{ConvOptions, GemmKernel, KernelFamily, WinogradMode};
use ocelli::ops::Running;
use ocelli::tensor::{Precision, Shape, Value};

/// A network of two convolutions, each with batch norm and the first with ReLU.
struct Network {
    run: Run,
    /// The result of the first convolution, and the gradients of its batch norm's result, gamma and beta.
    values: [Value; 4],
    running: Running,
    gamma: Vec<f64>,
    shape: [usize; 4],
}

fn network(variant: Variant, precision: Precision, d: [usize; 4], k: usize, stride: usize) -> Network {
    let mut rng = Rng(171);
    let mut run = Run::with(variant).storing(precision);
    let x = rng.tensor(d).stored_as(precision);
    let x = run.input(Shape::image(d[0], d[1], d[2], d[3]), &x.v);
    let vector = |run: &mut Run, values: &[f64]| run.input_as(Precision::F32, Shape::vector(k), values);
    // Far from zero, so that a difference of large squares would have a visible error.
    let bias: Vec<f64> = (0..k).map(|i| 40.0 + i as f64).collect();
    let bias = vector(&mut run, &bias);
    let gamma = rng.tensor([1, 1, 1, k]).v;
    let affine = [vector(&mut run, &gamma), vector(&mut run, &rng.tensor([1, 1, 1, k]).v)];
    let other = [vector(&mut run, &vec![1.0; k]), vector(&mut run, &vec![0.0; k])];
    let mut state = || run.state(Shape::vector(k), &vec![0.0; k]);
    let [running, last] = [0; 2].map(|_| Running { mean: state(), variance: state() });
    let mut filter = |c| {
        let shape = Shape::filter(3, 3, c, k);
        run.input_as(Precision::F32, shape, &rng.tensor(shape.dims()).v)
    };
    let [w, w2] = [filter(d[3]), filter(k)];
    let dy = [d[0], (d[1] - 1) / stride + 1, (d[2] - 1) / stride + 1, k];
    let dy = run.input(Shape::image(dy[0], dy[1], dy[2], k), &rng.tensor(dy).stored_as(precision).v);
    let graph = &mut run.graph;
    let y = graph.conv2d(x, w, Some(bias), ConvOptions::square(1, 1)).unwrap();
    let n = graph.batch_norm_training(y, affine, running, 1e-5, 1.0).unwrap();
    let z = graph.relu(n).unwrap();
    let y2 = graph.conv2d(z, w2, None, ConvOptions::square(stride, 1)).unwrap();
    let n2 = graph.batch_norm_training(y2, other, last, 1e-5, 1.0).unwrap();
    let gradients = graph.gradients(n2, dy, &[n, affine[0], affine[1]]).unwrap();
    let [dn, dgamma, dbeta] = [0, 1, 2].map(|i| gradients[i].unwrap());
    Network { run, values: [y, dn, dgamma, dbeta], running, gamma, shape: [d[0], d[1], d[2], k] }
}

/// Compares statistics and sums with those of the stored tensors. Returns how many of the four passes over a map were
/// left out.
fn check(variant: Variant, precision: Precision, d: [usize; 4], k: usize, stride: usize) -> Option<usize> {
    let Network { run, values, running, gamma, shape } = network(variant, precision, d, k, stride);
    if !run.applies(&values) {
        return None;
    }
    let session = run.session(&values);
    session.run().unwrap();
    let read = |v: Value| session.output(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    let [y, dn, dgamma, dbeta] = values.map(read);
    let (y, dn) = (T { d: shape, v: y }, T { d: shape, v: dn });
    let (mean, var) = oracle::batch_norm_stats(&y);
    let rows = y.v.len() / k;
    let state = |v: Value| session.read(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    close_in(Precision::F32, &state(running.mean), &mean, 8.0 * U);
    let unbiased: Vec<f64> = var.iter().map(|v| v * rows as f64 / (rows - 1) as f64).collect();
    // The mean is far from zero, so a difference to it has the rounding errors of large numbers.
    let scale = mean.iter().map(|m| m.abs()).fold(0.0, f64::max);
    close_in(Precision::F32, &state(running.variance), &unbiased, 64.0 * scale * U);
    let want = oracle::batch_norm_gradient(&y, &dn, &gamma, 1e-5);
    let least = var.iter().copied().fold(f64::MAX, f64::min).sqrt();
    let loose = |sizes: &[f64]| sizes.iter().map(|s| s * (8.0 + scale) / least.min(1.0)).collect::<Vec<_>>();
    let error = worst(&dgamma, &want.dgamma, &loose(&want.gamma_sizes), rows);
    assert!(error <= 1.0, "dgamma {variant:?} {d:?} {k} {stride}: {error}");
    let error = worst(&dbeta, &want.dbeta, &want.beta_sizes, rows);
    assert!(error <= 1.0, "dbeta {variant:?} {d:?} {k} {stride}: {error}");
    let passes = ["stats_of_chunks", "sums_of_chunks"];
    let passes = session.plan().dispatches().iter().filter(|d| passes.contains(&d.kernel.entry)).count();
    Some(4 - passes)
}

#[test]
fn what_batch_norm_sums_is_reduced_while_it_is_stored() {
    let cases = [
        // More than one tile of each GEMM kernel, with a partial last one; phases of the input gradient.
        ([2, 13, 11, 5], 21, 1),
        ([2, 13, 11, 5], 21, 2),
        // So many partials that they are merged in two passes.
        ([3, 36, 21, 3], 6, 1),
        ([1, 3, 3, 4], 70, 2),
    ];
    for (precision, (d, k, stride)) in each(cases) {
        // One of the GEMM kernels that cannot reduce is enough. The heuristic chooses the kernel where a forced one
        // does not fit.
        let looks = |core: GemmKernel| match core {
            GemmKernel::Direct { rows, cols4 } => rows == 16 || (rows == 4 && cols4 == 1),
            GemmKernel::Tiled { .. } | GemmKernel::Subgroup { .. } => true,
            GemmKernel::Rows { .. } | GemmKernel::Cooperative { .. } => false,
        };
        for variant in variants().into_iter().filter(|v| v.forced.is_none_or(looks)) {
            let Some(left_out) = check(variant, precision, d, k, stride) else { continue };
            // The gradient of the last batch norm is an input, which no kernel stores.
            match variant.forced {
                Some(GemmKernel::Direct { rows: 4, .. }) => {
                    assert_eq!(left_out, 0, "{variant:?} {d:?} {k} {stride}");
                }
                Some(_) => assert_eq!(left_out, 3, "{variant:?} {d:?} {k} {stride}"),
                None if variant.product == KernelFamily::Tiled && d[1] > 3 => {
                    assert_eq!(left_out, 3, "{d:?} {k} {stride}");
                }
                None => println!("{:?} {d:?} {k} {stride}: {left_out} of 3", variant.product),
            }
        }
        // Winograd's output transform reduces, whatever computes the GEMMs.
        for product in products().into_iter().take(1) {
            let by = |winograd| Variant { winograd, ..Variant::of(product) };
            let four = check(by(WinogradMode::F4x4), precision, d, k, stride).unwrap();
            assert!(four >= if stride == 1 { 3 } else { 1 }, "{product:?} {d:?} {k} {stride}: {four}");
            check(by(WinogradMode::F2x2), precision, d, k, stride).unwrap();
        }
    }
}

#[test]
fn two_batch_norms_with_one_gradient_have_each_their_own_sums() {
    for product in products() {
        let mut rng = Rng(172);
        let mut run = Run::new(product);
        let k = 8;
        let d = [2, 7, 6, k];
        let x = run.input(Shape::image(2, 7, 6, 5), &rng.tensor([2, 7, 6, 5]).v);
        let mut filter = |c| run.input(Shape::filter(1, 1, c, k), &rng.tensor([1, 1, c, k]).v);
        let [w, shortcut, next] = [filter(5), filter(5), filter(k)];
        let zero = run.input(Shape::vector(k), &vec![0.0; k]);
        let mut running = || {
            let mut state = || run.state(Shape::vector(k), &vec![0.0; k]);
            Running { mean: state(), variance: state() }
        };
        let [a, b] = [running(), running()];
        let gamma = [0; 2].map(|_| run.input(Shape::vector(k), &vec![1.0; k]));
        let dy = run.input(Shape::image(2, 7, 6, k), &rng.tensor(d).v);
        let graph = &mut run.graph;
        let options = ConvOptions::square(1, 0);
        let y = [w, shortcut].map(|w| graph.conv2d(x, w, None, options).unwrap());
        let na = graph.batch_norm_training(y[0], [gamma[0], zero], a, 1e-5, 1.0).unwrap();
        let nb = graph.batch_norm_training(y[1], [gamma[1], zero], b, 1e-5, 1.0).unwrap();
        let sum = graph.add(na, nb).unwrap();
        let z = graph.relu(sum).unwrap();
        let out = graph.conv2d(z, next, None, options).unwrap();
        let gradients = graph.gradients(out, dy, &[sum, gamma[0], gamma[1]]).unwrap();
        let gradients: Vec<Value> = gradients.into_iter().flatten().collect();
        let session = run.session(&[y[0], y[1], gradients[0], gradients[1], gradients[2]]);
        session.run().unwrap();
        let read = |v: Value| session.output(v).unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
        let dsum = T { d, v: read(gradients[0]) };
        for (y, dgamma) in y.into_iter().zip(&gradients[1..]) {
            let want = oracle::batch_norm_gradient(&T { d, v: read(y) }, &dsum, &vec![1.0; k], 1e-5);
            close_in(Precision::F32, &read(*dgamma), &want.dgamma, 400.0 * U);
        }
        let passes =
            session.plan().dispatches().iter().filter(|d| d.kernel.entry == "sums_of_chunks").count();
        assert_eq!(passes, 1, "{product:?}: of one they are seen, of the other one not");
    }
}

#[test]
fn groups_of_channels_are_reduced_at_their_places() {
    for product in products() {
        let mut rng = Rng(173);
        let mut run = Run::new(product);
        let d = [3, 9, 7, 16];
        let x = run.input(Shape::image(3, 9, 7, 8), &rng.tensor([3, 9, 7, 8]).v);
        let w = run.input(Shape::filter(3, 3, 4, 16), &rng.tensor([3, 3, 4, 16]).v);
        let affine = [1.0, 0.0].map(|v| run.input(Shape::vector(16), &[v; 16]));
        let [mean, variance] = [0; 2].map(|_| run.state(Shape::vector(16), &[0.0; 16]));
        let grouped = ConvOptions { groups: 2, ..ConvOptions::square(1, 1) };
        let y = run.graph.conv2d(x, w, None, grouped).unwrap();
        let n = run.graph.batch_norm_training(y, affine, Running { mean, variance }, 1e-5, 1.0).unwrap();
        let session = run.session(&[y, n]);
        session.run().unwrap();
        let read = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<_>>();
        let y = T { d, v: read(session.output(y).unwrap()) };
        let (want, var) = oracle::batch_norm_stats(&y);
        close_in(Precision::F32, &read(session.read(mean).unwrap()), &want, 8.0 * U);
        let unbiased: Vec<f64> = var.iter().map(|v| v * 189.0 / 188.0).collect();
        close_in(Precision::F32, &read(session.read(variance).unwrap()), &unbiased, 64.0 * U);
        assert!(
            session.plan().dispatches().iter().all(|d| d.kernel.entry != "stats_of_chunks"),
            "{product:?}"
        );
    }
}

/// A batch norm of `x` with gamma 1 and beta 0, and its gamma.
fn plain_norm(run: &mut Run, x: Value, c: usize) -> [Value; 2] {
    let affine = [1.0, 0.0].map(|v| run.input(Shape::vector(c), &vec![v; c]));
    let [mean, variance] = [0; 2].map(|_| run.state(Shape::vector(c), &vec![0.0; c]));
    let running = Running { mean, variance };
    [run.graph.batch_norm_training(x, affine, running, 1e-5, 0.1).unwrap(), affine[0]]
}

#[test]
fn what_was_reduced_is_not_taken_for_something_else() {
    let one = ConvOptions::square(1, 0);
    let d = [2, 8, 8, 8];
    for product in products() {
        let mut rng = Rng(174);
        let mut run = Run::new(product);
        let content = rng.tensor(d);
        let x = run.input(Shape::image(2, 8, 8, 8), &content.v);
        let w = run.input(Shape::filter(1, 1, 8, 8), &rng.tensor([1, 1, 8, 8]).v);
        let bias = run.input(Shape::vector(8), &rng.tensor([1, 1, 1, 8]).v);
        // The memory of y under another shape has another number of channels.
        let y = run.graph.conv2d(x, w, None, one).unwrap();
        let [narrow, _] = plain_norm(&mut run, y, 8);
        let wide = run.graph.reshape(y, Shape::image(2, 1, 1, 512)).unwrap();
        let [wide, _] = plain_norm(&mut run, wide, 512);
        // The gradient is the result of a convolution with a bias.
        let [n, gamma] = plain_norm(&mut run, x, 8);
        let dy = run.graph.conv2d(x, w, Some(bias), one).unwrap();
        let dgamma = run.graph.gradients(n, dy, &[gamma]).unwrap()[0].unwrap();
        let got = run.outputs(&[y, narrow, wide, dy, dgamma]);
        for (d, normalised) in [(d, &got[1]), ([2, 1, 1, 512], &got[2])] {
            let y = T { d, v: got[0].clone() };
            let (mean, var) = oracle::batch_norm_stats(&y);
            let want = oracle::batch_norm(&y, &mean, &var, &[1.0; 512], &[0.0; 512], 1e-5);
            close_in(Precision::F32, normalised, &want.v, 1e-4);
        }
        let want = oracle::batch_norm_gradient(&content, &T { d, v: got[3].clone() }, &[1.0; 8], 1e-5);
        close_in(Precision::F32, &got[4], &want.dgamma, 1e-4);
    }
}

#[test]
fn batches_in_several_buffers_are_reduced_by_batch_norm_itself() {
    let whole = network(Variant::of(KernelFamily::Tiled), Precision::F32, [4, 16, 16, 4], 64, 2);
    let entries = |bytes: u64| {
        let limits = ocelli::gpu::Limits { binding_bytes: bytes, buffer_bytes: bytes };
        let options = ocelli::plan::PlanOptions::new(KernelFamily::Tiled, limits);
        let plan = ocelli::plan::Plan::new(&whole.run.graph, &whole.values[2..], &options).unwrap();
        plan.dispatches().iter().filter(|d| d.kernel.entry == "stats_of_chunks").count()
    };
    assert_eq!(entries(1 << 30), 0);
    // The result of the first convolution has 256 KiB, half of it in each buffer. The second convolution reads them in
    // two dispatches.
    assert_eq!(entries(160 << 10), 3);
}
