//! Which kernels a page uses: on a software adapter those that are soon compiled.

use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::models::Network;
use ocelli::plan::{Plan, PlanOptions};

/// Above so many multiply-adds a picture takes long enough for larger tiles to be worth their compilation.
const LARGE: u64 = 500_000_000;

/// What suits a page. A browser's software adapter compiles each kernel while the visitor waits, the longer the larger its tile, and
/// a page has few pictures to win that back. In Chromium with SwiftShader, as processor time of two busy cores: ResNet-20 at 32x32
/// takes 1.8 s to the first result and 0.06 s a picture with tiles of 4 rows and 4 columns, 4.3 s and 0.05 s with the largest, of
/// 16 rows and 16 columns. ResNet-18 at 224x224 takes 4.9 s and 1.7 s with 16 rows and 8 columns, 5.8 s and 1.6 s with the largest,
/// 5.1 s and 2.1 s with 16 rows and 4 columns, 4.5 s and 1.8 s with the smallest.
pub fn options(gpu: &Gpu, network: &Network) -> ocelli::Result<PlanOptions> {
    let usual = PlanOptions::for_gpu(gpu);
    if gpu.info().kind != AdapterKind::Cpu {
        return Ok(usual);
    }
    let plan = Plan::new(&network.graph, &[network.logits], &usual)?;
    Ok(usual.with_largest_tile(if plan.macs() > LARGE { [16, 2] } else { [4, 1] }))
}
