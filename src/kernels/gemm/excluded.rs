//! Plans without the kernels that compute wrongly on an adapter ([`Excluded`](crate::gpu::Excluded)).

use super::algorithm::Algorithm;
use super::problem::{ConvProblem, Pass};
use super::tiles::GemmKernel;
use super::winograd_tiles::{WinogradConv, WinogradTile};
use crate::error::{Choice, Error, Result};
use crate::gpu::Kernel;
use crate::kernels::{KernelFamily, RecordOptions};
use crate::tensor::Precision;
use std::fmt::Display;
use std::mem::discriminant;

/// The name under which an algorithm of a matrix product is excluded: `core` is a GEMM kernel or a tile of Winograd's
/// algorithm.
pub(crate) fn core_name(core: &impl Display, pass: Pass, precision: Precision) -> String {
    format!("{} {core} {}", pass.kernel(), precision.wgsl())
}

/// The name under which a kernel that is no matrix product is excluded, whatever its constants are.
pub(crate) fn kernel_name(kernel: &Kernel) -> String {
    let precision = if kernel.is_half() { Precision::F16 } else { Precision::F32 };
    if kernel.name == kernel.entry {
        format!("{} {}", kernel.name, precision.wgsl())
    } else {
        format!("{} {} {}", kernel.name, kernel.entry, precision.wgsl())
    }
}

impl RecordOptions {
    /// Whether a core computes wrongly on the adapter.
    pub(super) fn excludes(&self, core: &impl Display, pass: Pass, precision: Precision) -> bool {
        !self.excluded.is_empty() && self.excluded.contains(&core_name(core, pass, precision))
    }

    /// Whether Winograd's algorithm, or every kernel for the products in it, computes wrongly on the adapter.
    pub(super) fn excludes_winograd(
        &self,
        conv: &WinogradConv,
        tile: WinogradTile,
        problem: &ConvProblem,
    ) -> bool {
        let inner = conv.inner_kernel(self, tile, conv.tiles(tile) as usize);
        self.excludes(&tile, problem.pass, problem.precision)
            || self.excludes(&inner, problem.pass, Precision::F32)
    }

    /// The kernel that is the most similar to `first` among those that compute a problem rightly: first of the same kind, then
    /// one without workgroup memory and barriers. `first` itself if there is none; [`RecordOptions::check`] refuses it.
    /// `pass` is that of the convolution: the products of Winograd's algorithm are problems of another one.
    pub(super) fn instead_of(&self, first: GemmKernel, problem: &ConvProblem, pass: Pass) -> GemmKernel {
        let is_right = |kernel: &GemmKernel| {
            self.has(*kernel, problem) && !self.excludes(kernel, pass, problem.precision)
        };
        if is_right(&first) {
            return first;
        }
        // The kernels for GPUs are very slow on processors.
        let own = |kernel: &GemmKernel| self.family == KernelFamily::Tiled || kernel.is_for_processors();
        let all: Vec<GemmKernel> = GemmKernel::all().filter(own).collect();
        let place = |kernel: &GemmKernel| all.iter().position(|k| k == kernel).unwrap_or(0);
        let is_direct = |kernel: &GemmKernel| matches!(kernel, GemmKernel::Direct { .. });
        let right = all.iter().filter(|kernel| is_right(kernel));
        let nearest = right.min_by_key(|kernel| {
            let other = discriminant(*kernel) != discriminant(&first);
            (other, other && !is_direct(kernel), place(kernel).abs_diff(place(&first)))
        });
        nearest.copied().unwrap_or(first)
    }

    /// Refuses an algorithm that computes wrongly on the adapter. The selection returns one only if no other is left.
    ///
    /// # Errors
    /// [`Error::Gpu`] that names it.
    pub(crate) fn check(&self, algorithm: Algorithm, problem: &ConvProblem) -> Result<()> {
        if self.excluded.is_empty() {
            return Ok(());
        }
        let name = match algorithm {
            Algorithm::Gemm(kernel) | Algorithm::SplitK { kernel, .. } => {
                core_name(&kernel, problem.pass, problem.precision)
            }
            Algorithm::Winograd { tile } => core_name(&tile, problem.pass, problem.precision),
        };
        self.refuse(&name)
    }

    /// Refuses a kernel that computes wrongly on the adapter.
    ///
    /// # Errors
    /// [`Error::Gpu`] that names it.
    pub(crate) fn check_kernel(&self, kernel: &Kernel) -> Result<()> {
        if self.excluded.is_empty() { Ok(()) } else { self.refuse(&kernel_name(kernel)) }
    }

    fn refuse(&self, name: &str) -> Result<()> {
        if !self.excluded.contains(name) {
            return Ok(());
        }
        Err(Error::gpu(format!(
            "the self-test found wrong results of the kernel `{name}` on this adapter, and no other kernel does its work"
        ))
        .hint(Choice::Adapter.after("update the adapter's driver and test it again, or ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_the_same_name_with_all_constants() {
        let kernel = Kernel::new("pool", &[], "max");
        assert_eq!(kernel_name(&kernel), "pool max f32");
        let mut half = Kernel::new("relu", &[], "relu").with("SLICED", 1);
        half.types.push(("Stored", "f16"));
        assert_eq!(kernel_name(&half), "relu f16");
    }
}
