//! Which kernels a page uses: on a software adapter those that are soon compiled.

use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::models::Network;
use ocelli::ops::{Choice, Choices, Core};
use ocelli::plan::{Plan, PlanOptions};

/// Above so many multiply-adds a picture takes long enough for larger tiles to be worth their compilation.
const LARGE: u64 = 500_000_000;

/// What suits a page. A browser's software adapter compiles a kernel with the largest tile of `gemm_direct.wgsl` for a second
/// or two, one with a small tile for a tenth of that, and the visitor waits for all of them. In Chromium with SwiftShader
/// ResNet-18 at 224x224 had its first result after 4.5 s instead of 9.9 s and took 0.88 s a picture instead of 0.74 s
/// afterwards; ResNet-20 at 32x32 1.9 s instead of 12.7 s, and 34 ms instead of 26 ms.
pub fn options(gpu: &Gpu, network: &Network) -> ocelli::Result<PlanOptions> {
    let usual = PlanOptions::for_gpu(gpu);
    if gpu.info().kind != AdapterKind::Cpu {
        return Ok(usual);
    }
    let plan = Plan::new(&network.graph, &[network.logits], &usual)?;
    let most_rows = if plan.macs() > LARGE { 16 } else { 4 };
    let mut choices = Choices::default();
    for (key, choice) in plan.products() {
        if let Choice::Core(Core::Direct { rows, .. }) = *choice {
            choices.insert(*key, Choice::Core(Core::Direct { rows: rows.min(most_rows), cols4: 1 }));
        }
    }
    Ok(usual.with_choices(choices))
}
