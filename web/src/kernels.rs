//! The kernels that a page uses: on a software adapter, kernels that compile quickly.

use ocelli::gpu::{AdapterKind, Gpu};
use ocelli::plan::PlanOptions;

/// The options of a plan for a page. On a browser's software adapter the visitor waits while kernels compile, and larger tiles compile
/// longer; a page classifies too few pictures to gain that time back. In Chromium with SwiftShader on two cores, for the first result and for a picture after
/// it, at 224x224: ResNet-18 takes 2.2 s and 1.00 s with tiles of 4 rows and 4 columns, 2.5 s and 1.25 s with 4 rows and 8 columns,
/// 2.9 s and 1.26 s with 16 rows and 4 columns, 2.7 s and 0.95 s with 16 rows and 8 columns.
pub fn options(gpu: &Gpu) -> PlanOptions {
    let usual = PlanOptions::for_gpu(gpu);
    match gpu.info().kind {
        AdapterKind::Cpu => usual.with_largest_tile(4),
        _ => usual,
    }
}
