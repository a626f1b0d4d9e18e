//! The roofline of an adapter, measured with kernels of this library.

use crate::error::Result;
use crate::gpu::Gpu;
use crate::graph::Graph;
use crate::kernels::{ConvOptions, KernelFamily};
use crate::plan::{KernelTime, Plan, PlanOptions, Session};
use crate::tensor::{Shape, Value};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// The highest rates that an adapter reaches. The field names are those of `ocelli bench --profile --json`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Roofline {
    /// The rate of the fastest product of square matrices, in 10^9 FLOP/s. A multiply-add counts as 2 FLOP.
    pub gflops_per_s: f64,
    /// The rate at which an elementwise kernel reads and writes, in 10^9 bytes/s.
    pub gbytes_per_s: f64,
}

/// The sides of the matrices. The largest matrix fits the smallest binding that WebGPU guarantees.
const SIDES: [usize; 5] = [256, 512, 1024, 2048, 4096];
/// A product that takes this long is as fast as a larger one.
const LONG_MS: f64 = 20.0;
/// The bytes that are copied: more than caches hold, and less than the smallest binding that WebGPU guarantees.
const COPIED: usize = 64 << 20;
const RUNS: usize = 5;

impl Roofline {
    /// The fraction of the roofline that a kernel reaches: of the product rate for a matrix product, of the copy rate
    /// for other kernels.
    pub fn reached_by(&self, kernel: &KernelTime) -> f64 {
        let (rate, best) = match kernel.gflops_per_s() {
            Some(rate) => (rate, self.gflops_per_s),
            None => (kernel.gbytes_per_s(), self.gbytes_per_s),
        };
        rate / best.max(1e-9)
    }

    /// The maximum of each rate.
    pub fn max(self, other: Self) -> Self {
        Self {
            gflops_per_s: self.gflops_per_s.max(other.gflops_per_s),
            gbytes_per_s: self.gbytes_per_s.max(other.gbytes_per_s),
        }
    }

    /// Measures both rates. It takes one or two seconds.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) if the memory does not suffice or the device fails.
    pub fn measure(gpu: &Arc<Gpu>) -> Result<Self> {
        let own = KernelFamily::for_adapter(gpu.info());
        let mut gflops_per_s = 0f64;
        for product in
            [own, KernelFamily::Direct].into_iter().take(if own == KernelFamily::Direct { 1 } else { 2 })
        {
            for side in SIDES {
                let ms = product_ms(gpu, product, side)?;
                gflops_per_s = gflops_per_s.max(2.0 * (side as f64).powi(3) / ms / 1e6);
                if ms > LONG_MS {
                    break;
                }
            }
        }
        let mut graph = Graph::new();
        let x = graph.input("x", Shape::image(1, 1 << 10, COPIED >> 14, 4));
        let y = graph.relu(x)?;
        let ms = best_ms(gpu, &graph, &[x], y, &PlanOptions::for_gpu(gpu))?;
        Ok(Self { gflops_per_s, gbytes_per_s: 2.0 * COPIED as f64 / ms / 1e6 })
    }
}

/// The time of a product of two square matrices in milliseconds.
fn product_ms(gpu: &Arc<Gpu>, product: KernelFamily, side: usize) -> Result<f64> {
    let mut graph = Graph::new();
    let a = graph.input("a", Shape::image(1, 16, side / 16, side));
    let b = graph.input("b", Shape::filter(1, 1, side, side));
    let c = graph.conv2d(a, b, None, ConvOptions::square(1, 0))?;
    let mut options = PlanOptions::new(product, gpu.limits());
    options.record.excluded = gpu.excluded();
    best_ms(gpu, &graph, &[a, b], c, &options)
}

/// The shortest time of several runs in milliseconds. The inputs are between -1 and 1, because zeros are faster on some
/// adapters.
fn best_ms(
    gpu: &Arc<Gpu>,
    graph: &Graph,
    inputs: &[Value],
    output: Value,
    options: &PlanOptions,
) -> Result<f64> {
    let session = Session::new(Arc::clone(gpu), Plan::new(graph, &[output], options)?, None)?;
    for input in inputs {
        let count = graph.shape(*input)?.elements().unwrap_or(0) as u32;
        let content: Vec<f32> =
            (0..count).map(|i| i.wrapping_mul(2_654_435_761) as i32 as f32 / 2f32.powi(31)).collect();
        session.write(*input, &content)?;
    }
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let ms = match session.run_timed()? {
            Some(times) => times.iter().sum(),
            None => {
                gpu.wait()?;
                let start = Instant::now();
                session.repeat(1)?;
                session.finish()?;
                start.elapsed().as_secs_f64() * 1e3
            }
        };
        best = best.min(ms);
    }
    Ok(best.max(1e-6))
}
