//! The kernels with cooperative matrices, on adapters without them: in their text a matrix of operands becomes the place of its
//! numbers in workgroup memory, and a matrix of sums is divided among the invocations. This tests everything but the matrix
//! instructions.

#[cfg(test)]
mod tests {
    use crate::gpu::{Gpu, GpuOptions};
    use crate::graph::Graph;
    use crate::kernels::{Algorithm, AlgorithmCache, ConvOptions, GemmKernel, KernelFamily};
    use crate::plan::{Plan, PlanOptions, Session};
    use crate::tensor::{Precision, Shape, Value};
    use std::sync::Arc;

    /// What takes the place of the built-in functions. Number i of a matrix of sums belongs to invocation i % THREADS.
    const MATRICES: &str = "
alias Sums = array<f32, 8>;
struct Operand { first: u32, of_row: u32, of_column: u32 }
var<private> lane: u32;
fn by_columns(first: u32, stride: u32) -> Operand { return Operand(first, 1u, stride); }
fn by_rows(first: u32, stride: u32) -> Operand { return Operand(first, stride, 1u); }
fn multiply_add(a: Operand, b: Operand, c: Sums) -> Sums {
    var sums = c;
    for (var j = 0u; j < 256u / THREADS; j++) {
        let i = lane + j * THREADS;
        for (var k = 0u; k < 16u; k++) {
            sums[j] += f32(sh_a[a.first + i / 16u * a.of_row + k * a.of_column])
                * f32(sh_b[b.first + k * b.of_row + i % 16u * b.of_column]);
        }
    }
    return sums;
}
fn store_rows(c: Sums, first: u32, stride: u32) {
    var sums = c;
    for (var j = 0u; j < 256u / THREADS; j++) {
        let i = lane + j * THREADS;
        sh_c[first + i / 16u * stride + i % 16u] = sums[j];
    }
}
";

    /// The text without matrices.
    fn emulated(text: &str) -> String {
        let line = |line: &str| {
            // Lines of matrices only: others have brackets of arrays.
            if line.starts_with("//") || !(line.contains("coop") || line.starts_with("fn multiply(")) {
                return line.to_owned();
            }
            let mut line = line.to_owned();
            for (from, to) in [
                ("coopLoad<coop_mat16x16<f16, A>>(&sh_a[", "by_columns("),
                ("coopLoadT<coop_mat16x16<f16, A>>(&sh_a[", "by_rows("),
                ("coopLoad<coop_mat16x16<f16, B>>(&sh_b[", "by_columns("),
                ("coopLoadT<coop_mat16x16<f16, B>>(&sh_b[", "by_rows("),
                ("coopMultiplyAdd(", "multiply_add("),
                ("coopStoreT(", "store_rows("),
                ("&sh_c[", ""),
                ("], ", ", "),
                ("coop_mat16x16<f32, C>", "Sums"),
                ("coop_mat16x16<f16, A>", "Operand"),
                ("coop_mat16x16<f16, B>", "Operand"),
                // The corner of an invocation tells which one it is.
                (
                    "fn multiply(m4: u32, n4: u32) {",
                    "fn multiply(m4: u32, n4: u32) { lane = m4 * COLS4 + n4;",
                ),
            ] {
                line = line.replace(from, to);
            }
            line
        };
        text.lines().map(|l| line(l) + "\n").collect::<String>() + MATRICES
    }

    /// A convolution with all three of its products: the results, and their operands.
    fn graph(x: [usize; 4], w: [usize; 4], options: ConvOptions) -> (Graph, Vec<Value>, Vec<Value>) {
        let mut graph = Graph::new();
        let [n, height, width, c] = x;
        let half = |shape: Shape| shape.stored_as(Precision::F16);
        let x = graph.input("x", half(Shape::image(n, height, width, c)));
        let w = graph.input("w", Shape::filter(w[0], w[1], w[2], w[3]));
        let y = graph.conv2d(x, w, None, options).unwrap();
        let dy = graph.input("dy", graph.shape(y).unwrap());
        let gradients = graph.gradients(y, dy, &[x, w]).unwrap();
        let outputs = [y].into_iter().chain(gradients.into_iter().map(Option::unwrap)).collect();
        (graph, outputs, vec![x, w, dy])
    }

    /// The results on small integers, by one kernel for all products.
    fn results(
        gpu: &Arc<Gpu>,
        (graph, outputs, operands): &(Graph, Vec<Value>, Vec<Value>),
        kernel: GemmKernel,
    ) -> Vec<Vec<u32>> {
        let mut options = PlanOptions::for_gpu(gpu);
        options.record.family = KernelFamily::Tiled;
        options.record.cooperative = kernel.cooperative_lanes();
        let plain = Plan::new(graph, outputs, &options).unwrap();
        let mut algorithms = AlgorithmCache::default();
        for (problem, chosen) in plain.products() {
            let algorithm = match *chosen {
                Algorithm::SplitK { .. } => Algorithm::SplitK { kernel, splits: 2, k_chunk: u32::MAX },
                _ => Algorithm::Gemm(kernel),
            };
            assert!(options.record.supports(algorithm, problem), "{algorithm} of {problem}");
            algorithms.insert(*problem, algorithm);
        }
        let mut plan = Plan::new(graph, outputs, &options.with_algorithms(algorithms)).unwrap();
        let mut replaced = 0;
        for dispatch in &mut plan.dispatches {
            for source in dispatch.kernel.sources.iter_mut().filter(|text| text.contains("coop_mat")) {
                *source = String::leak(emulated(source));
                replaced += 1;
            }
        }
        assert_eq!(replaced > 0, kernel.cooperative_lanes().is_some());
        let session = Session::new(gpu.clone(), plan, None).unwrap();
        for operand in operands {
            let count = graph.shape(*operand).unwrap().elements().unwrap() as u32;
            let integer = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 16) % 5) as f32 - 2.0;
            session.write(*operand, &(0..count).map(integer).collect::<Vec<_>>()).unwrap();
        }
        session.poison().unwrap();
        session.run().unwrap();
        let bits = |v: &Value| session.output(*v).unwrap().into_iter().map(f32::to_bits).collect();
        outputs.iter().map(bits).collect()
    }

    #[test]
    fn cooperative_matrices_compute_what_the_reference_does() {
        let gpu = Arc::new(Gpu::open(&GpuOptions::default()).unwrap());
        if !gpu.info().f16 {
            println!("SKIPPED: {} has no half precision", gpu.info().name);
            return;
        }
        let [by_32, by_64] = GemmKernel::COOPERATIVE;
        for (x, w, options, kernel) in [
            ([1, 9, 7, 12], [3, 3, 12, 36], ConvOptions::square(1, 1), by_32),
            ([2, 6, 6, 16], [3, 3, 8, 24], ConvOptions { groups: 2, ..ConvOptions::square(1, 1) }, by_64),
            ([2, 8, 4, 16], [1, 1, 16, 40], ConvOptions::square(1, 0), by_64),
        ] {
            let graph = graph(x, w, options);
            let want = results(&gpu, &graph, GemmKernel::REFERENCE);
            let got = results(&gpu, &graph, kernel);
            for (name, (got, want)) in ["y", "dx", "dw"].into_iter().zip(got.iter().zip(&want)) {
                let wrong = got.iter().zip(want).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{name} of x {x:?} w {w:?} {options:?} by {kernel}");
            }
        }
    }
}
